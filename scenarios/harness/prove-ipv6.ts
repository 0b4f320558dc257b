/** IPv6 of a testnet looked at from inside every network behind a router that has it. */
import { LAB_ZONE, nat64Address } from '../../netem/index.ts'
import { ipv6Row } from './expect-ipv6.ts'
import type { NatRow } from './expect-nats.ts'
import { type Ipv6Observation, probeIpv6, reflectIpv6 } from './ipv6-programs.ts'
import { nodeProgram } from './probe-programs.ts'
import type { Host, Testnet } from './runtime.ts'

/** Ports that no role uses. */
const PORT = 46_081
const REFLECT_FOR_MS = 60_000
/** The reflector may start later than the prober asks. */
const WITHIN_MS = 4000
const QUIET_MS = 1000
const ATTEMPTS = 3

/** One row for each network behind a router that has IPv6 and a host to look from; empty where there is none. */
export async function proveIpv6(testnet: Testnet, signal: AbortSignal): Promise<NatRow[]> {
  const hosts = testnet.hosts()
  const probers = hosts.filter(({ planned: { nat, ipv6 } }, index) => {
    return nat !== null && ipv6 !== undefined && hosts.findIndex(other => other.planned.nat === nat) === index
  })
  if (probers.length === 0) return []
  const reflector = hosts.find(
    ({ planned: { nat, ipv6, role } }) => nat === null && ipv6 !== undefined && role !== 'chain'
  )
  if (reflector === undefined) {
    return probers.map(({ planned }) => {
      const observed = 'nothing: no host with IPv6 is on the internet, from where it could be looked at'
      return { kind: `IPv6 (${planned.nat})`, claimed: 'IPv6', observed, proved: false }
    })
  }
  const ending = new AbortController()
  const reflecting = reflector
    .exec(nodeProgram(reflectIpv6, PORT, REFLECT_FOR_MS), { signal: AbortSignal.any([signal, ending.signal]) })
    .catch(() => undefined)
  try {
    return await Promise.all(
      probers.map(async host => {
        for (let attempt = 1; ; attempt++) {
          const row = ipv6Row(testnet.plan, host.planned, reflector.planned, await look(host, reflector, signal))
          if (row.proved || attempt === ATTEMPTS) return row
        }
      })
    )
  } finally {
    ending.abort()
    await reflecting
  }
}

async function look(host: Host, { planned: reflector }: Host, signal: AbortSignal): Promise<Ipv6Observation> {
  const gateway = host.planned.ipv6?.defaultGateway ?? null
  const hasNat64 = host.planned.isIpv6Only === true && gateway !== null
  const config = {
    reflector: reflector.attachment.ipv6!,
    port: PORT,
    nat64: hasNat64 ? nat64Address(reflector.attachment.address) : null,
    name: hasNat64 ? { server: gateway, name: `${reflector.name}.${LAB_ZONE}` } : null,
    withinMs: WITHIN_MS,
    quietMs: QUIET_MS
  }
  const { code, stdout, stderr } = await host.exec(nodeProgram(probeIpv6, config), { signal })
  if (code !== 0) throw new Error(`the IPv6 prober in ${host.planned.name} ended with ${code}: ${stderr}`)
  return JSON.parse(stdout) as Ipv6Observation
}
