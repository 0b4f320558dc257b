/** What is before us, seen once for everybody who wants to know, and not again before there is a reason to. */
import { untilAborted } from '../../../until-aborted.ts'
import { type NatSeen, observeNat, type ReflectorPlace } from './observe.ts'
import { HardPunchError } from './reasons.ts'
import type { ReflectorClient } from './reflector-client.ts'

export interface OwnNat {
  /**
   * By all reflectors we know, those of `relay` first. One observation for all who ask at the same time; `signal` ends the
   * waiting, not the observation.
   * @throws HardPunchError `no-reflector`, or the signal's reason
   */
  see: (relay: string | undefined, signal: AbortSignal) => Promise<NatSeen & { places: readonly ReflectorPlace[] }>
  /** What was seen last; undefined before that, and after the network changed. */
  known: () => NatSeen['kind'] | undefined
  /** The network changed. */
  forget: () => void
}

/** What was seen is believed so long, or until the network changes. */
const NAT_TTL_MS = 600_000
/** After reflectors were silent nobody asks them again for so long, or until the network changes. */
export const SILENCE_MS = 30_000

/** @param init.signal ends observations that are under way */
export function createOwnNat(init: {
  places: ReflectorClient['places']
  signal: AbortSignal
  nowMs?: () => number
}): OwnNat {
  const { signal: stopping, nowMs = () => performance.now() } = init
  let nat: { seen: Promise<NatSeen>; untilMs: number; places: number } | undefined
  let known: NatSeen['kind'] | undefined

  function observe(reflectors: readonly ReflectorPlace[]): Promise<NatSeen> {
    const seen = observeNat({ reflectors, signal: stopping })
    const fresh = { seen, untilMs: nowMs() + NAT_TTL_MS, places: reflectors.length }
    nat = fresh
    seen.then(
      ({ kind, facts }) => {
        if (nat === fresh) known = kind
        // What could not be told now may be told later.
        if (facts.mappings === 0) fresh.untilMs = nowMs() + SILENCE_MS
      },
      () => {
        if (nat === fresh) nat = undefined
      }
    )
    return seen
  }

  return {
    async see(relay, signal) {
      const places = await init.places({ signal, ...(relay === undefined ? {} : { first: relay }) })
      if (places.length === 0) throw new HardPunchError('no-reflector')
      // Another reflector may tell what the ones before could not; there are only so many.
      const isKnown = nat !== undefined && nat.untilMs > nowMs() && nat.places >= places.length
      const seen = isKnown ? nat!.seen : observe(places)
      return { ...(await untilAborted(seen, signal)), places }
    },
    known: () => known,
    forget() {
      nat = undefined
      known = undefined
    }
  }
}
