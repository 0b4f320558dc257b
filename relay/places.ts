/**
 * Places for circuits: so many in all, of one peer and of one host, because identities are free. When all are taken,
 * one of a host that has more of them makes room, so that whoever takes most pays and nobody is pushed out by a crowd.
 */

/** Why there is no place. */
export type PlaceRefusal = 'circuits-full' | 'peer-circuits-full' | 'host-circuits-full'

export interface Place {
  /** Something happened on the circuit: it is not idle. */
  touch: () => void
  /** Gives the place back. A second time it does nothing. */
  leave: () => void
}

/** Of a circuit that has a place. */
export interface Tenant {
  /** Ends the circuit; called when its place went to another. */
  reclaim: () => void
  /** Whether bytes wait in it: silent or not, it is in use. */
  hasWaiting: () => boolean
}

export interface Places {
  /** A place for a circuit of this peer, or why there is none. */
  take: (peerId: string, host: string, tenant: Tenant) => Place | PlaceRefusal
  /** Places that are taken. */
  taken: () => number
}

/** A circuit in use is cut when its host has so many times the circuits of the newcomer's: bytes now and then keep none. */
const CROWD_FACTOR = 2

interface Held extends Tenant {
  peerId: string
  host: string
  /** When something happened last. */
  atMs: number
}

/**
 * @param options.idleMs how long nothing must have happened on a circuit before its place may go to another
 * @param options.staleMs the same before it may go to a host that has none, even where each host has but one
 * @param options.nowMs for tests
 */
export function createPlaces(options: {
  total: number
  perPeer: number
  perHost: number
  idleMs: number
  staleMs: number
  nowMs?: () => number
}): Places {
  const { total, perPeer, perHost, idleMs, staleMs, nowMs = () => performance.now() } = options
  const held = new Set<Held>()
  const ofPeer = new Map<string, number>()
  const ofHost = new Map<string, number>()

  function release(place: Held): void {
    if (!held.delete(place)) return
    add(ofPeer, place.peerId, -1)
    add(ofHost, place.host, -1)
  }

  /** Make room for one more of this host. */
  function reclaim(host: string): void {
    const goes = whoGoes(host)
    if (goes === undefined) return
    release(goes)
    goes.reclaim()
  }

  /**
   * The longest silent: an idle one of the biggest host, an idle one of the same host, one of a crowd, and for a host that
   * has none a stale one of whomever: hosts that sit on one each would keep it out for as long as circuits last.
   */
  function whoGoes(host: string): Held | undefined {
    const now = nowMs()
    /** With the one that is to be taken. */
    const own = crowdOf(host) + 1
    let idle: Held | undefined
    let idleOwn: Held | undefined
    let crowding: Held | undefined
    let stale: Held | undefined
    for (const place of held) {
      if (place.hasWaiting()) place.atMs = now
      const crowd = crowdOf(place.host)
      if (crowd >= CROWD_FACTOR * own) crowding = rather(crowding, place)
      if (place.atMs > now - idleMs) continue
      if (crowd > own) idle = rather(idle, place)
      // The host has as many after as before: no other pays.
      else if (place.host === host) idleOwn = rather(idleOwn, place)
      else if (own === 1 && place.atMs <= now - staleMs) stale = rather(stale, place)
    }
    return idle ?? idleOwn ?? crowding ?? stale
  }

  const crowdOf = (host: string) => ofHost.get(host) ?? 0

  /** Which of two makes room: of the bigger host, else the one silent for longer. */
  function rather(one: Held | undefined, other: Held): Held {
    if (one === undefined) return other
    const more = crowdOf(other.host) - crowdOf(one.host)
    return more > 0 || (more === 0 && other.atMs < one.atMs) ? other : one
  }

  return {
    take(peerId, host, tenant) {
      if ((ofPeer.get(peerId) ?? 0) >= perPeer) return 'peer-circuits-full'
      if ((ofHost.get(host) ?? 0) >= perHost) return 'host-circuits-full'
      if (held.size >= total) reclaim(host)
      if (held.size >= total) return 'circuits-full'
      const place: Held = { peerId, host, atMs: nowMs(), ...tenant }
      held.add(place)
      add(ofPeer, peerId, 1)
      add(ofHost, host, 1)
      return {
        touch() {
          place.atMs = nowMs()
        },
        leave: () => release(place)
      }
    },
    taken: () => held.size
  }
}

function add(counts: Map<string, number>, key: string, change: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + change
  if (count > 0) counts.set(key, count)
  else counts.delete(key)
}
