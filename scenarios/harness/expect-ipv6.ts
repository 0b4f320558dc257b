/** What a plan claims of IPv6 behind a router, and whether what was seen agrees. Pure. */
import { nat64Address, type Plan, type PlannedHost } from '../../netem/index.ts'
import type { NatRow } from './expect-nats.ts'
import type { Ipv6Observation } from './ipv6-programs.ts'

/**
 * Judge one host's IPv6.
 * @param reflector an internet host with both families, whose name was asked for where there is DNS64
 */
export function ipv6Row(plan: Plan, host: PlannedHost, reflector: PlannedHost, seen: Ipv6Observation): NatRow {
  const router = plan.routers.find(({ nat }) => nat === host.nat)
  const edge = router?.ipv6
  const own = host.attachment.ipv6 ?? 'none'
  const isOpen = edge === undefined || edge.filter === 'none'
  const hasNat64 = edge?.nat64 != null
  const texts = (udp: string, tcp: string, open: boolean, nat64: string, name: string): string =>
    [
      `UDP as ${udp}, TCP as ${tcp}, what nobody asked for ${open ? 'passes' : 'is dropped'}`,
      ...(hasNat64 ? [`IPv4 hosts see UDP as ${nat64}, ${name}`] : [])
    ].join('; ')
  const outer = router?.outside.address ?? 'none'
  const answers = [reflector.attachment.ipv6 ?? nat64Address(reflector.attachment.address)]
  const claimed = texts(own, own, isOpen, `${outer} and TCP as ${outer}`, `the name is ${answers.join(', ')}`)
  const observed = texts(
    seen.udp ?? 'nobody',
    seen.tcp ?? 'nobody',
    seen.unasked,
    `${seen.nat64.udp ?? 'nobody'} and TCP as ${seen.nat64.tcp ?? 'nobody'}`,
    `the name is ${[seen.name ?? 'not answered'].flat().join(', ')}`
  )
  const kind = edge === undefined ? 'IPv6' : hasNat64 ? 'IPv6 only, NAT64' : `dual stack, IPv6 ${edge.filter}`
  return { kind: `${kind} (${host.nat ?? host.attachment.network})`, claimed, observed, proved: claimed === observed }
}
