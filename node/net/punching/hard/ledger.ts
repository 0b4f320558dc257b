/**
 * Who may begin a hard punch now: one at a time, so many an hour with one peer, and not so many questions about it.
 * No I/O; bounded whatever peers do.
 */

export type LedgerRefusal = 'busy' | 'too-often'

export interface Ledger {
  /** A question of this peer, which may cost an observation: refused when it asks without end. */
  asked: (peerId: string) => LedgerRefusal | null
  /** Take the one place there is; whoever got it must `end`. Nothing is counted yet. */
  begin: (peerId: string) => LedgerPlace | null
}

export interface LedgerPlace {
  /**
   * Count an attempt, which may send from now on. The first one from another pair of networks than the one before is
   * free of the hourly cap: `networks` names them as they were observed, not as anybody claims.
   */
  count: (networks: string) => LedgerRefusal | null
  end: () => void
}

const HOUR_MS = 3_600_000
/** Peers remembered; whoever is forgotten has not been heard of for longest. */
const MAX_PEERS = 4096
/** Questions of one peer an hour: they are cheap, but not nothing. */
const ASKS_PER_HOUR = 30
/** Attempts with one peer an hour, those after network changes included. */
const MOST_PER_HOUR = 12

interface Account {
  asksAtMs: number[]
  /** Of those that count, and of all. */
  countedAtMs: number[]
  begunAtMs: number[]
  networks: string | undefined
}

export function createLedger(init: { perPairPerHour: number; nowMs?: () => number }): Ledger {
  const nowMs = init.nowMs ?? (() => performance.now())
  const accounts = new Map<string, Account>()
  let busy = false

  function account(peerId: string): Account {
    const known = accounts.get(peerId) ?? { asksAtMs: [], countedAtMs: [], begunAtMs: [], networks: undefined }
    accounts.delete(peerId)
    accounts.set(peerId, known)
    for (const oldest of accounts.keys()) {
      if (accounts.size <= MAX_PEERS) break
      accounts.delete(oldest)
    }
    for (const times of [known.asksAtMs, known.countedAtMs, known.begunAtMs]) {
      while (times.length > 0 && times[0]! <= nowMs() - HOUR_MS) times.shift()
    }
    return known
  }

  function count(peerId: string, networks: string): LedgerRefusal | null {
    const own = account(peerId)
    const isElsewhere = own.networks !== undefined && own.networks !== networks
    if (own.begunAtMs.length >= Math.max(MOST_PER_HOUR, init.perPairPerHour)) return 'too-often'
    if (!isElsewhere && own.countedAtMs.length >= init.perPairPerHour) return 'too-often'
    if (!isElsewhere) own.countedAtMs.push(nowMs())
    own.begunAtMs.push(nowMs())
    own.networks = networks
    return null
  }

  return {
    asked(peerId) {
      const { asksAtMs } = account(peerId)
      if (asksAtMs.length >= ASKS_PER_HOUR) return 'too-often'
      asksAtMs.push(nowMs())
      return null
    },
    begin(peerId) {
      if (busy) return null
      busy = true
      let isOver = false
      return {
        count: networks => count(peerId, networks),
        end() {
          if (!isOver) busy = false
          isOver = true
        }
      }
    }
  }
}
