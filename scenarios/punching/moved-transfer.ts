/** A transfer between two NATs that begins on a relay and ends on the direct path, and what either carried. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Testnet } from '../harness/runtime.ts'
import type { PunchTransport } from './expected.ts'
import type { PeerFacts } from './peer.types.ts'
import { closeRound, openRound, type SwarmContext, swarmRelays } from './swarm-round.ts'

export interface TransferCase {
  name: string
  transport: PunchTransport
  /** Hosts: who asks, and who has it. */
  hosts: [asking: string, serving: string]
  bytes: number
  /** Bytes, both ways together, after which the relay that is used cuts a circuit. */
  circuitBytes: number
  /** Through the relay that cuts soon, with the direct path closed until it did: the transfer has to outlive cuts first. */
  isCut: boolean
}

export interface TransferRow extends Record<string, unknown> {
  transfer: string
  bytes: number
  tookMs: number
  /** Both ends computed the same. */
  sha256: string
  isIntact: boolean
  beganRelayed: boolean
  /** Relayed connections, and bytes on the fullest of them, both ways together, as the two peers saw them. */
  circuits: number
  fullestCircuit: number
  circuitLimit: number
  /** Bytes that came to the asking peer through relays, and on its interface by no relay; packet headers are in the latter. */
  byRelay: number
  byDirect: number
  /** What came in at all relays' interfaces meanwhile. */
  intoRelays: number
  /** Bytes through relays while the last eighth came. */
  relayedInLast: number
  moves: number
  resumes: number
}

const WITHIN_MS = 180_000
const LOOK_EVERY_MS = 50
/** Streams of other protocols go on through a relay for a moment: identify, pings, goodbyes. */
const STRAY_BYTES = 64 * 1024

/** @throws what a peer said when the transfer did not come to its end */
export async function playTransfer(
  context: SwarmContext,
  testnet: Testnet,
  { name, transport, hosts, bytes, circuitBytes, isCut }: TransferCase,
  id: string
): Promise<TransferRow> {
  const [asking, serving] = hosts
  const relays = swarmRelays(context.plan, [transport], isCut)
  const heal = isCut
    ? await testnet.dropBetween([
        { from: asking, to: serving },
        { from: serving, to: asking }
      ])
    : async (): Promise<void> => undefined
  const round = await openRound({ ...context, transportsOf: () => [transport] }, hosts, id, { relays })
  try {
    const [a, b] = [round.peers.get(asking)!, round.peers.get(serving)!]
    const [toB, toA] = [b.opened.peerId, a.opened.peerId]
    const relayHosts = context.plan.hosts.filter(({ role }) => role === 'relay').map(({ name }) => name)
    const into = async (names: string[]): Promise<number> => {
      const texts = await Promise.all(names.map(async each => await context.host(each).exec(['cat', '/proc/net/dev'])))
      return texts.reduce((sum, { stdout }) => sum + receivedBytes(stdout), 0)
    }
    const before = { asking: await into([asking]), relays: await into(relayHosts) }
    const via = b.opened.addresses.filter(address => address.includes('/p2p-circuit'))
    const over = new AbortController()
    const moving = a.client.moving({ id, peerId: toB, via, bytes, withinMs: WITHIN_MS }).finally(() => over.abort())
    const healing = (async () => {
      const wasCut = async (): Promise<boolean> => circuitsOf(await a.client.facts({ id, peerId: toB })).length > 1
      while (isCut && !over.signal.aborted && !(await wasCut())) await delay(LOOK_EVERY_MS)
      await heal()
    })()
    const [moved] = await Promise.all([moving, healing])
    const after = { asking: await into([asking]), relays: await into(relayHosts) }
    const wanted = await b.client.pattern({ bytes })
    const circuits = bothWays(await a.client.facts({ id, peerId: toB }), await b.client.facts({ id, peerId: toA }))
    return {
      transfer: `${name}, ${transport}`,
      bytes,
      tookMs: Math.round(moved.tookMs),
      sha256: moved.sha256,
      isIntact: moved.sha256 === wanted.sha256,
      beganRelayed: moved.beganRelayed,
      circuits: circuits.length,
      fullestCircuit: Math.max(0, ...circuits),
      circuitLimit: circuitBytes,
      byRelay: moved.relayedBytes,
      byDirect: after.asking - before.asking - moved.relayedBytes,
      intoRelays: after.relays - before.relays,
      relayedInLast: moved.relayedBytesInLast,
      moves: moved.moves,
      resumes: moved.resumes
    }
  } finally {
    await heal()
    await closeRound(round)
  }
}

/** Why a transfer is not what is promised; empty when it is. Pure. */
export function transferFaults(row: TransferRow, isCut: boolean): string[] {
  const faults: Array<[fault: boolean, why: string]> = [
    [!row.isIntact, 'the two ends have different bytes'],
    [!row.beganRelayed || row.byRelay <= 0, 'it did not begin on a relay'],
    [row.moves < 1, 'it was never moved to a direct connection'],
    [row.relayedInLast > STRAY_BYTES, `${row.relayedInLast} bytes of its last eighth came through a relay`],
    [row.byRelay + row.byDirect < row.bytes, 'less came in than it has bytes'],
    [row.byDirect < row.bytes / 8, `${row.byDirect} bytes only came directly`],
    [row.fullestCircuit > row.circuitLimit, `a circuit carried ${row.fullestCircuit} bytes of ${row.circuitLimit}`],
    [isCut && row.circuits < 2, 'no circuit was cut at its limit']
  ]
  return faults.filter(([fault]) => fault).map(([, why]) => why)
}

/** What came in by all interfaces but loopback, of the text of /proc/net/dev. Pure. */
export function receivedBytes(text: string): number {
  return text
    .split('\n')
    .map(line => /^\s*([^\s:]+):\s*(\d+)/.exec(line))
    .filter(match => match !== null && match[1] !== 'lo')
    .reduce((sum, match) => sum + Number(match![2]), 0)
}

/** Bytes of each relayed connection, in the order in which they were opened. */
function circuitsOf({ connections }: PeerFacts): number[] {
  return connections.filter(({ isDirect }) => !isDirect).map(({ bytesSinceMark }) => bytesSinceMark)
}

/** What came in at either end of each circuit. The two see the same ones in the same order. */
export function bothWays(a: PeerFacts, b: PeerFacts): number[] {
  const [atA, atB] = [circuitsOf(a), circuitsOf(b)]
  const count = Math.max(atA.length, atB.length)
  return Array.from({ length: count }, (_, n) => (atA[n] ?? 0) + (atB[n] ?? 0))
}
