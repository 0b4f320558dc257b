/** Every NAT of a testnet looked at from inside, by a prober and two reflectors on the internet. */
import { setTimeout as delay } from 'node:timers/promises'
import { isShaped } from '../../netem/index.ts'
import { type NatRow, natBlindRow, natRow, routersOf } from './expect-nats.ts'
import { awaitTcp } from './host-programs.ts'
import { type NatObservation, probeNat } from './nat-prober.ts'
import { reflectNat } from './nat-reflector.ts'
import { conntrackArgv, holdFlows, type SeenTimeouts, seenTimeouts } from './nat-timeouts.ts'
import { classify, type NatWords } from './nat-words.ts'
import { nodeProgram } from './probe-programs.ts'
import type { Host, Testnet } from './runtime.ts'

/** Ports that no role uses. */
export const REFLECTOR_PORTS: [number, number, number] = [46_011, 46_012, 46_013]
const HELD_PORT = REFLECTOR_PORTS[2]
const REFLECTORS = 2
const REFLECT_FOR_MS = 180_000
const REFLECTORS_WITHIN_MS = 30_000
/** The reflectors are there by then: whoever cannot reach them has no way out. */
const REACHED_WITHIN_MS = 5000
const PROBE_WITHIN_MS = 60_000
/** Fresh endpoints that tell how ports are given out. */
const FRESH = 12
/** Luck of random ports and a crowded machine pass; a NAT that is not what it claims stays so. */
const ATTEMPTS = 3
/** Probers at one time: each is a process that must be scheduled in time. */
const PROBERS_AT_ONCE = 6
/** Linux takes a UDP flow for a stream when it is answered after 2 s still. */
const TABLES_WITHIN_MS = 6000
const LOOK_EVERY_MS = 100

/** One row for each network behind a NAT that has a host to look from; empty where there is none. */
export async function proveNats(testnet: Testnet, signal: AbortSignal): Promise<NatRow[]> {
  // This proof is IPv4's: who has none meets another edge.
  const hosts = testnet.hosts().filter(({ planned }) => planned.nat !== null && planned.isIpv6Only !== true)
  const probers = hosts.filter(
    ({ planned }, index) => hosts.findIndex(other => other.planned.nat === planned.nat) === index
  )
  if (probers.length === 0) return []
  const [meeting] = reflectorsOf(testnet)
  if (meeting === undefined) throw new Error('no host is on the internet, from where a NAT could be looked at')
  const ending = new AbortController()
  const flows = nodeProgram(holdFlows, {
    address: meeting.planned.attachment.address,
    port: HELD_PORT,
    forMs: REFLECT_FOR_MS
  })
  // Before anybody reflects: their tables are the last that is looked at.
  const holding = probers.map(host => background(host, flows, AbortSignal.any([signal, ending.signal])))
  try {
    return await withReflectors(testnet, signal, async reflectors => {
      return await inTurns(probers, async host => {
        for (let attempt = 1; ; attempt++) {
          const seen = await wordsSeen(host, reflectors, signal)
          if ('blind' in seen) return natBlindRow(testnet.plan, host.planned, seen.blind)
          const row = await rowOf(testnet, host, seen, signal)
          if (row.proved || attempt === ATTEMPTS) return row
        }
      })
    })
  } finally {
    ending.abort()
    await Promise.all(holding)
  }
}

/** The chain only where there is no other: it has the most to do. */
function reflectorsOf(testnet: Testnet): Host[] {
  const rank = ({ planned: { role, link } }: Host): number => (role === 'chain' ? 2 : 0) + (isShaped(link) ? 1 : 0)
  return testnet
    .hosts()
    .filter(({ planned }) => planned.nat === null && planned.isIpv6Only !== true)
    .sort((a, b) => rank(a) - rank(b))
    .slice(0, REFLECTORS)
}

/** Two reflectors on the internet while `act` lasts. */
export async function withReflectors<T>(
  testnet: Testnet,
  signal: AbortSignal,
  act: (addresses: string[]) => Promise<T>
): Promise<T> {
  const reflectors = reflectorsOf(testnet)
  const addresses = reflectors.map(({ planned }) => planned.attachment.address)
  const ending = new AbortController()
  const running = reflectors.map((host, index) => {
    const peer = addresses[1 - index] ?? null
    const argv = nodeProgram(reflectNat, { ports: REFLECTOR_PORTS, peer, forMs: REFLECT_FOR_MS })
    return background(host, argv, AbortSignal.any([signal, ending.signal]))
  })
  try {
    await reflecting(reflectors, addresses, signal)
    return await act(addresses)
  } finally {
    ending.abort()
    await Promise.all(running)
  }
}

/** Resolves when the reflectors answer each other's network. */
async function reflecting([first]: Host[], addresses: string[], signal: AbortSignal): Promise<void> {
  if (first === undefined) return
  const argv = nodeProgram(awaitTcp, addresses, HELD_PORT, REFLECTORS_WITHIN_MS)
  const { code, stderr } = await first.exec(argv, { signal })
  if (code !== 0) throw new Error(`the reflectors do not answer on the internet: ${stderr}`)
}

/** Ended by the signal, which is no failure. */
async function background(host: Host, argv: string[], signal: AbortSignal): Promise<void> {
  await host.exec(argv, { signal }).catch(() => undefined)
}

/** What a prober saw, or why it saw nothing: a NAT that lets nobody out must not stop the others from being proved. */
async function wordsSeen(host: Host, reflectors: string[], signal: AbortSignal): Promise<NatWords | { blind: string }> {
  const config = {
    reflectors,
    ports: REFLECTOR_PORTS,
    fresh: FRESH,
    startWithinMs: REACHED_WITHIN_MS,
    endWithinMs: PROBE_WITHIN_MS
  }
  const { code, stdout, stderr } = await host.exec(nodeProgram(probeNat, config), { signal })
  if (code !== 0) return { blind: stderr.trim() || `the prober ended with ${code}` }
  return classify(JSON.parse(stdout) as NatObservation, host.planned.attachment.address)
}

/** The row as soon as the routers' tables show what is claimed; else the last one. */
async function rowOf(testnet: Testnet, { planned }: Host, words: NatWords, signal: AbortSignal): Promise<NatRow> {
  const routers = routersOf(testnet.plan, planned)
  const deadline = performance.now() + TABLES_WITHIN_MS
  for (;;) {
    const timeouts = await Promise.all(routers.map(async ({ name }) => await tableOf(testnet, name, signal)))
    const row = natRow(testnet.plan, planned, words, timeouts)
    if (row.timeoutsProved || performance.now() > deadline) return row.row
    await delay(LOOK_EVERY_MS, undefined, { signal })
  }
}

/** null where the kernel shows no table. */
async function tableOf(testnet: Testnet, router: string, signal: AbortSignal): Promise<SeenTimeouts | null> {
  const { code, stdout } = await testnet.router(router).exec(conntrackArgv(HELD_PORT), { signal })
  // grep: 1 is no line, 2 is no file.
  return code > 1 ? null : seenTimeouts(stdout, HELD_PORT)
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
