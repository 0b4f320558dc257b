/** What is remembered of the copies read last, so that a blob read often costs less. */
import type { OpenedMeta } from './seal.ts'

/** Most copies remembered; about 2 KiB each. */
export const RECENT_COPIES_MAX = 2048
/** So long after a read a small file is taken to be in the page cache still. */
const WARM_MS = 10_000

/** When a file was read last. */
export interface Warmth {
  note: () => void
  /** Whether that was lately. */
  isWarm: () => boolean
}

/** What is remembered of one copy. */
export interface RecentCopy {
  /** Its metadata: the text that was checked, and what it said. As long as the file has this text, it is not checked again. */
  checked: { text: Buffer; opened: OpenedMeta } | null
  readonly metaRead: Warmth
  /** All of the data. */
  readonly dataRead: Warmth
}

export interface RecentCopies<Copy> {
  /** The memory of a copy, begun if there is none. */
  of: (copy: Copy) => RecentCopy
  /** The copy is gone. */
  forget: (copy: Copy) => void
  readonly size: number
}

/** @param max only tests ask for another one @param nowMs for tests */
export function createRecentCopies<Copy extends object>(
  max = RECENT_COPIES_MAX,
  nowMs = () => performance.now()
): RecentCopies<Copy> {
  /** Those asked for last at the end. */
  const known = new Map<Copy, RecentCopy>()
  return {
    of(copy) {
      const recent = known.get(copy) ?? { checked: null, metaRead: createWarmth(nowMs), dataRead: createWarmth(nowMs) }
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

function createWarmth(nowMs: () => number): Warmth {
  let readMs = Number.NEGATIVE_INFINITY
  return {
    note() {
      readMs = nowMs()
    },
    isWarm: () => nowMs() - readMs < WARM_MS
  }
}
