/**
 * Who may begin a hard punch now: one at a time, so many an hour with one peer, to one address and in all, and not so many
 * questions about it. No I/O; bounded whatever peers do.
 */

export type LedgerRefusal = 'busy' | 'too-often'

export interface Ledger {
  /** A question of this peer or to it, which may cost an observation: refused when there is no end of them. */
  asked: (peerId: string) => LedgerRefusal | null
  /** Whether somebody has the one place there is. */
  isTaken: () => boolean
  /**
   * Take the one place; whoever got it must `end`. Nothing is counted yet.
   * @param asker the address of a peer that asks, by the relay's word: one that takes the place again and again and never
   * comes to send keeps it from others, under however many names. Left out where we ask
   */
  begin: (peerId: string, asker?: string) => LedgerPlace | LedgerRefusal
}

/**
 * An attempt's networks are named by the addresses of both sides, own first; the first attempt from another pair of
 * networks than the one before is free of the hourly cap of the peer. `host` is the address that would be sent to.
 */
export interface LedgerPlace {
  /** Why `count` would refuse now; nothing is counted. */
  refusal: (networks: string, host: string) => LedgerRefusal | null
  /** Count an attempt, which may send to `host` from now on: an address that the relay confirmed, not what a peer claims. */
  count: (networks: string, host: string) => LedgerRefusal | null
  end: () => void
}

const HOUR_MS = 3_600_000
/** Peers remembered; whoever is forgotten has not been heard of for longest. */
const MAX_PEERS = 4096
/** Addresses remembered, likewise. */
const MAX_HOSTS = 4096
/** Questions of one peer and to it an hour: they are cheap, but not nothing. */
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

export function createLedger(init: {
  perPairPerHour: number
  perHostPerHour: number
  perHour: number
  nowMs?: () => number
}): Ledger {
  const { perPairPerHour, perHostPerHour, perHour, nowMs = () => performance.now() } = init
  const accounts = new Map<string, Account>()
  const hosts = new Map<string, number[]>()
  /** Places that askers gave back without an attempt that counts, by their address. */
  const wasted = new Map<string, number[]>()
  const allAtMs: number[] = []
  let busy = false

  /** Without those that are an hour old. */
  function recent(times: number[]): number[] {
    while (times.length > 0 && times[0]! <= nowMs() - HOUR_MS) times.shift()
    return times
  }

  function account(peerId: string): Account {
    const fresh = (): Account => ({ asksAtMs: [], countedAtMs: [], begunAtMs: [], networks: undefined })
    const known = remembered(accounts, peerId, MAX_PEERS, fresh)
    for (const times of [known.asksAtMs, known.countedAtMs, known.begunAtMs]) recent(times)
    return known
  }

  function refusal(peerId: string, networks: string, host: string): LedgerRefusal | null {
    const own = account(peerId)
    const mayCome =
      recent(allAtMs).length < perHour &&
      recent(hosts.get(host) ?? []).length < perHostPerHour &&
      own.begunAtMs.length < Math.max(MOST_PER_HOUR, perPairPerHour) &&
      (isElsewhere(own, networks) || own.countedAtMs.length < perPairPerHour)
    return mayCome ? null : 'too-often'
  }

  function count(peerId: string, networks: string, host: string): LedgerRefusal | null {
    const refused = refusal(peerId, networks, host)
    if (refused !== null) return refused
    const own = account(peerId)
    const times = [own.begunAtMs, allAtMs, remembered(hosts, host, MAX_HOSTS, () => [])]
    if (!isElsewhere(own, networks)) times.push(own.countedAtMs)
    for (const each of times) each.push(nowMs())
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
    isTaken: () => busy,
    begin(peerId, asker) {
      if (busy) return 'busy'
      if (asker !== undefined && recent(wasted.get(asker) ?? []).length >= perHostPerHour) return 'too-often'
      busy = true
      let isOver = false
      let isCounted = false
      let isRefused = false
      return {
        refusal(networks, host) {
          const refused = refusal(peerId, networks, host)
          isRefused ||= refused !== null
          return refused
        },
        count(networks, host) {
          const refused = count(peerId, networks, host)
          isCounted ||= refused === null
          isRefused ||= refused !== null
          return refused
        },
        end() {
          if (isOver) return
          isOver = true
          busy = false
          // What we refused ourselves wasted nobody's time, and neighbours of the asker have their own turns.
          if (asker !== undefined && !isCounted && !isRefused)
            remembered(wasted, asker, MAX_HOSTS, () => []).push(nowMs())
        }
      }
    }
  }
}

function isElsewhere({ networks: before }: Account, networks: string): boolean {
  return before !== undefined && before !== networks
}

/** What is kept under the key, which becomes the last to be forgotten. */
function remembered<V>(all: Map<string, V>, key: string, most: number, fresh: () => V): V {
  const known = all.get(key) ?? fresh()
  all.delete(key)
  all.set(key, known)
  for (const oldest of all.keys()) {
    if (all.size <= most) break
    all.delete(oldest)
  }
  return known
}
