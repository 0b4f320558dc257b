/** Every NAT of a testnet looked at from inside, by a prober and two reflectors on the internet. */
import { type NatRow, natRow, routersOf } from './expect-nats.ts'
import { type NatObservation, probeNat, reflectNat } from './nat-programs.ts'
import { classify } from './nat-words.ts'
import { nodeProgram } from './probe-programs.ts'
import type { Host, Testnet } from './runtime.ts'

/** Ports that no role uses. */
const REFLECTOR_PORTS: [number, number] = [46_011, 46_012]
const REFLECTORS = 2
const REFLECT_FOR_MS = 120_000
const START_WITHIN_MS = 30_000
/** Fresh endpoints that tell how ports are given out. */
const FRESH = 12
/** Probers at one time: each is a process that must be scheduled in time. */
const PROBERS_AT_ONCE = 6

/** One row for each network behind a NAT that has a host to look from; empty where there is none. */
export async function proveNats(testnet: Testnet, signal: AbortSignal): Promise<NatRow[]> {
  const hosts = testnet.hosts()
  const probers = hosts.filter(
    ({ planned }, index) =>
      planned.nat !== null && hosts.findIndex(other => other.planned.nat === planned.nat) === index
  )
  if (probers.length === 0) return []
  return await withReflectors(
    testnet,
    signal,
    async reflectors => await inTurns(probers, async host => await proveNat(testnet, host, reflectors, signal))
  )
}

async function withReflectors<T>(
  testnet: Testnet,
  signal: AbortSignal,
  act: (addresses: string[]) => Promise<T>
): Promise<T> {
  // The chain only where there is no other: it has the most to do.
  const reflectors = testnet
    .hosts()
    .filter(({ planned }) => planned.nat === null)
    .sort((a, b) => rank(a) - rank(b))
    .slice(0, REFLECTORS)
  const addresses = reflectors.map(({ planned }) => planned.attachment.address)
  const ending = new AbortController()
  const reflecting = reflectors.map((host, index) => {
    const peer = addresses[1 - index] ?? null
    const argv = nodeProgram(reflectNat, { ports: REFLECTOR_PORTS, peer, forMs: REFLECT_FOR_MS })
    return host.exec(argv, { signal: AbortSignal.any([signal, ending.signal]) }).catch(() => undefined)
  })
  try {
    return await act(addresses)
  } finally {
    ending.abort()
    await Promise.all(reflecting)
  }
}

function rank({ planned: { role, link } }: Host): number {
  return (role === 'chain' ? 2 : 0) + (link.up !== null || link.down !== null ? 1 : 0)
}

async function proveNat(testnet: Testnet, host: Host, reflectors: string[], signal: AbortSignal): Promise<NatRow> {
  const config = { reflectors, ports: REFLECTOR_PORTS, fresh: FRESH, startWithinMs: START_WITHIN_MS }
  const { code, stdout, stderr } = await host.exec(nodeProgram(probeNat, config), { signal })
  const { planned } = host
  if (code !== 0) throw new Error(`the NAT prober in ${planned.name} ended with ${code}: ${stderr}`)
  if (process.env.NAT_DEBUG) console.error(planned.name, stdout)
  const words = classify(JSON.parse(stdout) as NatObservation, planned.attachment.address)
  return natRow(
    testnet.plan,
    planned,
    words,
    routersOf(testnet.plan, planned).map(() => null)
  )
}

async function inTurns<T, R>(items: T[], act: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const rest = items.entries()
  const worker = async (): Promise<void> => {
    for (const [index, item] of rest) results[index] = await act(item)
  }
  await Promise.all(Array.from({ length: PROBERS_AT_ONCE }, worker))
  return results
}
