/** Metadata of the copies read last, so that a blob read often does not have its `meta.json` read and checked each time. */
import type { OpenedMeta } from './seal.ts'

/** Most kept; about a KiB each. */
export const OPENED_METAS_MAX = 2048

export interface OpenedMetas<Copy> {
  get: (copy: Copy) => OpenedMeta | undefined
  note: (copy: Copy, opened: OpenedMeta) => void
  /** The copy is gone. */
  forget: (copy: Copy) => void
  readonly size: number
}

/** @param max only tests ask for another one */
export function createOpenedMetas<Copy extends object>(max = OPENED_METAS_MAX): OpenedMetas<Copy> {
  /** Those used last at the end. */
  const known = new Map<Copy, OpenedMeta>()
  return {
    get(copy) {
      const opened = known.get(copy)
      if (opened === undefined) return undefined
      known.delete(copy)
      known.set(copy, opened)
      return opened
    },
    note(copy, opened) {
      known.delete(copy)
      if (known.size >= max) known.delete(known.keys().next().value!)
      known.set(copy, opened)
    },
    forget(copy) {
      known.delete(copy)
    },
    get size() {
      return known.size
    }
  }
}
