/**
 * Copies here that are about to go because others have theirs. While one is, this node does not vouch for it: two
 * holders that give theirs up at the same moment would otherwise each trust in the copy of the other, and both would go.
 * Whoever drops a copy enters here first, asks the others then, and deletes only after that; so of two that rely on each
 * other at least one finds the other here, or its copy gone.
 */
export interface Leaving {
  has: (cid: string) => boolean
  /** Do `work` while the copy is not vouched for; null, and nothing done, while another part of this node is at it. */
  run: <T>(cid: string, work: () => Promise<T>) => Promise<T | null>
}

export function createLeaving(): Leaving {
  const going = new Set<string>()
  return {
    has: cid => going.has(cid),
    async run(cid, work) {
      if (going.has(cid)) return null
      going.add(cid)
      try {
        return await work()
      } finally {
        going.delete(cid)
      }
    }
  }
}
