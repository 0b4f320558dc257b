/** From what is known to whether and where others can dial us. Pure; its table of cases is its test. */
import { isPrivateIp } from '@libp2p/utils'
import type { NatKindSeen } from '../punching/hard/kinds.ts'
import { hostOf, portOf } from './address-parts.ts'
import type { Judgement, ReachabilityFacts, Sighting } from './reachability.types.ts'

/** The strongest evidence decides: configuration, then what was proved from outside, then what peers see. */
export function judgeReachability(facts: ReachabilityFacts): Judgement {
  const { announced, relayed, mapped, listening, ownHosts } = facts
  const kind = kindOf(facts)
  const reached = facts.dialledBack.filter(verdict => verdict.reached).map(({ address }) => address)
  if (announced.length > 0) return { ...PUBLIC, kind: null, addresses: [...announced], why: 'addresses are configured' }
  if (mapped.length > 0) {
    return {
      ...PUBLIC,
      kind,
      addresses: [...mapped, ...relayed],
      why: 'the router maps a port, and a peer sees us there'
    }
  }
  if (reached.length > 0)
    return { ...PUBLIC, kind: null, addresses: [...reached, ...relayed], why: 'autonat dialled back' }

  const untranslated = publicHosts(facts.sightings).filter(host => ownHosts.includes(host))
  const own = listening.filter(address => untranslated.includes(hostOf(address) ?? ''))
  const refused = facts.dialledBack.filter(({ address }) => own.includes(address))
  if (own.length > refused.length) {
    const open = own.filter(address => !refused.some(verdict => verdict.address === address))
    return { ...PUBLIC, kind: null, addresses: [...open, ...relayed], why: 'peers see an own address, untranslated' }
  }
  if (refused.length > 0) return { ...PRIVATE, kind, addresses: [...relayed], why: 'autonat could not dial back' }

  const translated = publicHosts(facts.sightings).filter(host => !ownHosts.includes(host))
  if (translated.length > 0) {
    return { ...PRIVATE, kind: kind ?? UNSEEN, addresses: [...relayed], why: 'peers see an address that is not ours' }
  }
  // Endpoint-independent mapping alone is also what a host without any NAT has.
  if (kind !== null && !['unknown', 'endpoint-independent'].includes(kind.mapping)) {
    return { ...PRIVATE, kind, addresses: [...relayed], why: 'reflectors see a NAT' }
  }
  return { state: 'unknown', kind: null, addresses: [...relayed], why: 'no peer told yet how it sees us' }
}

const PUBLIC = { state: 'public' } as const
const PRIVATE = { state: 'private' } as const
const UNSEEN: NatKindSeen = { mapping: 'unknown', allocation: 'unknown', filtering: 'unknown' }

/** What reflectors told, else what two peers tell by the ports they see. Null when nothing shows a NAT's kind. */
function kindOf({ natKind, sightings }: ReachabilityFacts): NatKindSeen | null {
  if (natKind !== null && natKind.mapping !== 'unknown') return natKind
  const mapping = mappingOf(sightings)
  if (mapping === 'unknown') return natKind
  return { ...UNSEEN, ...natKind, mapping }
}

/**
 * One own port seen by peers in different places: the same outer port everywhere is endpoint-independent mapping.
 * Different ones are address-dependent at least; peers on one host with two ports would be needed to tell more.
 */
function mappingOf(sightings: readonly Sighting[]): NatKindSeen['mapping'] {
  const seen = new Map<string, Map<string, string>>()
  for (const { address, observer, fromOwnPort } of sightings) {
    const host = hostOf(address)
    if (!fromOwnPort || host === null || isPrivateIp(host) !== false) continue
    // The same own port is translated for each transport and family by itself.
    const line = `${host.includes(':') ? 6 : 4} ${address.includes('/udp/') ? 'udp' : 'tcp'}`
    const ofLine = seen.get(line) ?? new Map<string, string>()
    ofLine.set(observer, `${host} ${portOf(address)}`)
    seen.set(line, ofLine)
  }
  const compared = [...seen.values()].filter(byObserver => byObserver.size > 1)
  if (compared.length === 0) return 'unknown'
  const isSame = compared.every(byObserver => new Set(byObserver.values()).size === 1)
  return isSame ? 'endpoint-independent' : 'address-dependent'
}

function publicHosts(sightings: readonly Sighting[]): string[] {
  const hosts = sightings.map(({ address }) => hostOf(address)).filter(host => host !== null)
  return [...new Set(hosts)].filter(host => isPrivateIp(host) === false)
}
