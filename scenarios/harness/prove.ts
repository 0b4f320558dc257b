/** The lab proves itself before anything is judged in it: every NAT has its kind, every impairment its size. */
import type { LinkRow } from './expect-links.ts'
import type { NatRow } from './expect-nats.ts'
import { proveIpv6 } from './prove-ipv6.ts'
import { proveLinks } from './prove-links.ts'
import { proveNats } from './prove-nats.ts'
import type { Testnet } from './runtime.ts'

export interface Proof {
  ok: boolean
  nats: NatRow[]
  links: LinkRow[]
}

/** NATs first, then links: what measures time wants the machine for itself. */
export async function proveLab(testnet: Testnet, signal: AbortSignal): Promise<Proof> {
  const nats = [...(await proveNats(testnet, signal)), ...(await proveIpv6(testnet, signal))]
  const links = await proveLinks(testnet, signal)
  return { ok: nats.every(({ proved }) => proved) && links.every(({ ok }) => ok), nats, links }
}
