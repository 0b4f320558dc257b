/** How many there are of each name; of names that have none nothing is kept. */
export interface Tally {
  of: (name: string) => number
  add: (name: string) => void
  remove: (name: string) => void
}

export function createTally(): Tally {
  const counts = new Map<string, number>()
  return {
    of: name => counts.get(name) ?? 0,
    add: name => void counts.set(name, (counts.get(name) ?? 0) + 1),
    remove(name) {
      const left = (counts.get(name) ?? 1) - 1
      if (left === 0) counts.delete(name)
      else counts.set(name, left)
    }
  }
}
