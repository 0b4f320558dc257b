/**
 * Places for circuits: so many in all, of one peer and of one host, because identities are free. When all are taken, a
 * circuit on which nothing happens makes room: of the host that has most of them the one silent for longest.
 */

/** Why there is no place. */
export type PlaceRefusal = 'circuits-full' | 'peer-circuits-full' | 'host-circuits-full'

export interface Place {
  /** Something happened on the circuit: it is not idle. */
  touch: () => void
  /** Gives the place back. A second time it does nothing. */
  leave: () => void
}

export interface Places {
  /**
   * A place for a circuit of this peer, or why there is none.
   * @param reclaim ends the circuit; called when its place went to another, never while it is in use
   */
  take: (peerId: string, host: string, reclaim: () => void) => Place | PlaceRefusal
  /** Places that are taken. */
  taken: () => number
}

interface Held {
  peerId: string
  host: string
  /** When something happened last. */
  atMs: number
  reclaim: () => void
}

/**
 * @param options.idleMs how long nothing must have happened on a circuit before its place may go to another
 * @param options.nowMs for tests
 */
export function createPlaces(options: {
  total: number
  perPeer: number
  perHost: number
  idleMs: number
  nowMs?: () => number
}): Places {
  const { total, perPeer, perHost, idleMs, nowMs = () => performance.now() } = options
  const held = new Set<Held>()
  const ofPeer = new Map<string, number>()
  const ofHost = new Map<string, number>()

  function release(place: Held): void {
    if (!held.delete(place)) return
    add(ofPeer, place.peerId, -1)
    add(ofHost, place.host, -1)
  }

  function reclaim(): void {
    const latestMs = nowMs() - idleMs
    let goes: Held | undefined
    let most = 0
    for (const place of held) {
      const crowd = ofHost.get(place.host) ?? 0
      if (place.atMs > latestMs || crowd < most) continue
      if (goes === undefined || crowd > most || place.atMs < goes.atMs) goes = place
      most = crowd
    }
    if (goes === undefined) return
    release(goes)
    goes.reclaim()
  }

  return {
    take(peerId, host, end) {
      if ((ofPeer.get(peerId) ?? 0) >= perPeer) return 'peer-circuits-full'
      if ((ofHost.get(host) ?? 0) >= perHost) return 'host-circuits-full'
      if (held.size >= total) reclaim()
      if (held.size >= total) return 'circuits-full'
      const place: Held = { peerId, host, atMs: nowMs(), reclaim: end }
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
