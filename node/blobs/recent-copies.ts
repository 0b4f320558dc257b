/** What is remembered of the copies read last, so that a blob read often costs less: its metadata, and when it was read. */
import type { OpenedMeta } from './seal.ts'

/** Most copies remembered; about a KiB each. */
export const RECENT_COPIES_MAX = 2048
/** So long after a read a small file is taken to be in the page cache still. */
const WARM_MS = 10_000

/** What is remembered of one copy. */
export interface RecentCopy {
  /** Its metadata, once that held. */
  opened: OpenedMeta | null
  /** All of its data was read just now. */
  noteRead: () => void
  /** Whether that was lately. */
  isWarm: () => boolean
}

export interface RecentCopies<Copy> {
  /** The memory of a copy, begun if there is none. */
  of: (copy: Copy) => RecentCopy
  /** The copy is gone. */
  forget: (copy: Copy) => void
  readonly size: number
}

/** @param max only tests ask for another one */
export function createRecentCopies<Copy extends object>(max = RECENT_COPIES_MAX): RecentCopies<Copy> {
  /** Those asked for last at the end. */
  const known = new Map<Copy, RecentCopy>()
  return {
    of(copy) {
      const recent = known.get(copy) ?? createRecentCopy()
      known.delete(copy)
      if (known.size >= max) known.delete(known.keys().next().value!)
      known.set(copy, recent)
      return recent
    },
    forget(copy) {
      known.delete(copy)
    },
    get size() {
      return known.size
    }
  }
}

function createRecentCopy(): RecentCopy {
  let readMs = Number.NEGATIVE_INFINITY
  return {
    opened: null,
    noteRead() {
      readMs = performance.now()
    },
    isWarm: () => performance.now() - readMs < WARM_MS
  }
}
