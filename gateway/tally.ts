/** How many there are of each name. Names that have none are not remembered. */
export interface Tally {
  of: (name: string) => number
  /** One more; what it answers takes that one off again, once. */
  add: (name: string) => () => void
}

export function createTally(): Tally {
  const counts = new Map<string, number>()
  return {
    of: name => counts.get(name) ?? 0,
    add(name) {
      counts.set(name, (counts.get(name) ?? 0) + 1)
      let isIn = true
      return () => {
        if (!isIn) return
        isIn = false
        const left = (counts.get(name) ?? 1) - 1
        if (left > 0) counts.set(name, left)
        else counts.delete(name)
      }
    }
  }
}
