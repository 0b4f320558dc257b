/** How much of the children each database has had lately, so that who has had little goes before who has had much. */
import { SQL_NICE_AFTER_MS, SQL_SHARE_HALF_LIFE_MS, SQL_SHARES_MAX } from './limits.ts'

export interface Share {
  /** Time of all its jobs, ms, of which half is forgotten in a half-life. */
  allMs: number
  /** The same of what each took beyond SQL_NICE_AFTER_MS. */
  longMs: number
}

export interface Shares {
  /** A job took so long. */
  spent: (database: string, tookMs: number) => void
  of: (database: string) => Share
  readonly size: number
}

/** @param now ms, of any beginning */
export function createShares(now: () => number = () => performance.now(), max = SQL_SHARES_MAX): Shares {
  /** The longest unused first: it is the first to have had nothing. */
  const known = new Map<string, Share & { atMs: number }>()

  function of(database: string): Share {
    const share = known.get(database)
    if (share === undefined) return { allMs: 0, longMs: 0 }
    const left = 0.5 ** ((now() - share.atMs) / SQL_SHARE_HALF_LIFE_MS)
    return { allMs: share.allMs * left, longMs: share.longMs * left }
  }

  return {
    of,
    spent(database, tookMs) {
      const { allMs, longMs } = of(database)
      known.delete(database)
      known.set(database, {
        allMs: allMs + tookMs,
        longMs: longMs + Math.max(0, tookMs - SQL_NICE_AFTER_MS),
        atMs: now()
      })
      if (known.size > max) known.delete(known.keys().next().value as string)
    },
    get size() {
      return known.size
    }
  }
}
