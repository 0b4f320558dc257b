/** A round of the swarm: every peer is opened anew, pairs meet one after another or all at once, connections end, peers are closed. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Plan } from '../../netem/index.ts'
import type { Host } from '../harness/runtime.ts'
import type { PunchTransport } from './expected.ts'
import { relaysFor } from './lab.ts'
import type { Held, Opened, PeerFacts } from './peer.types.ts'
import { type PeerClient, peerClient } from './peer-client.ts'
import { timeToDirect } from './run.ts'
import { type PairResult, SMALL_RELAY, type SwarmPair, socketCount } from './swarm.ts'

export interface SwarmContext {
  plan: Plan
  host: (name: string) => Host
  /** Of each host. */
  transportsOf: (host: string) => PunchTransport[]
  signal: AbortSignal
}

/** What every process of the swarm holds, by host. */
export type Census = Map<string, Held>

export interface Round {
  id: string
  peers: Map<string, { client: PeerClient; opened: Opened }>
}

const OPEN_WITHIN_MS = 45_000
/** Peers that start at once: each is a second's work. */
const OPENING_AT_ONCE = 8
/** From the relayed connection on, with all others beside it. */
const DIRECT_WITHIN_MS = 60_000
/** Of a dial to a relay: a hundred at once are a minute's work for two cores, and here it is punches that are counted. */
const DIAL_WITHIN_MS = 60_000
const BOTH_WITHIN_MS = 5000
/** Sockets of a connection that ended may take so long to go: QUIC waits for what is late. */
const SETTLE_WITHIN_MS = 30_000
const LOOK_EVERY_MS = 500
/** Processes that collect their garbage at once: it is work. */
const COLLECTING_AT_ONCE = 2
/** Looks that must show the same for a peer to have settled. */
const SAME_LOOKS = 6

/** @param punchesAtOnce of one host, where it is to have a cap of its own */
export async function openRound(
  { plan, host, transportsOf, signal }: SwarmContext,
  hosts: readonly string[],
  id: string,
  own: { relays?: string[]; punchesAtOnce?: { host: string; most: number } } = {}
): Promise<Round> {
  const peers: Round['peers'] = new Map()
  await eachOf(hosts, OPENING_AT_ONCE, async name => {
    const client = peerClient(host(name), signal)
    const most = own.punchesAtOnce?.host === name ? { punchesAtOnce: own.punchesAtOnce.most } : {}
    const transports = transportsOf(name)
    const opened = await client.open({
      id,
      stack: 'warren',
      transports,
      family: 4,
      role: 'peer',
      relays: own.relays ?? swarmRelays(plan, transports),
      withinMs: OPEN_WITHIN_MS,
      dialWithinMs: DIAL_WITHIN_MS,
      ...most
    })
    peers.set(name, { client, opened })
  })
  return { id, peers }
}

/** The relays that serve as the product ships; the small one apart. */
export function swarmRelays(plan: Plan, transports: readonly PunchTransport[], isSmall = false): string[] {
  const small = plan.hosts.find(({ name }) => name === SMALL_RELAY)!.identity!.peerId
  return relaysFor(plan, transports).filter(address => address.includes(small) === isSmall)
}

/**
 * Never rejects but when the signal aborts: whatever else goes wrong is the pair's `problem`.
 * @param far where B is of another round, and how long it waits for A when A gave up
 */
export async function meetPair(
  { id, peers }: Round,
  pair: SwarmPair,
  signal: AbortSignal,
  far: { round?: Round; waitMs?: number } = {}
): Promise<PairResult> {
  const [a, b] = [peers.get(pair.a)!, (far.round?.peers ?? peers).get(pair.b)!]
  const farId = far.round?.id ?? id
  try {
    const via = b.opened.addresses.filter(address => address.includes('/p2p-circuit'))
    const met = await a.client.meet({ id, peerId: b.opened.peerId, via, withinMs: DIRECT_WITHIN_MS })
    const withinMs = met.connections.some(({ isDirect }) => isDirect) ? BOTH_WITHIN_MS : (far.waitMs ?? 0)
    const atB = await b.client.direct({ id: farId, peerId: a.opened.peerId, withinMs })
    const atA = await a.client.facts({ id, peerId: b.opened.peerId })
    const directMs = timeToDirect(atA, atB)
    const attempts = [atA, atB].flatMap(each => each.attempts ?? [])
    return {
      pair,
      directMs,
      by: directMs === null ? null : transportOf(atA),
      attempts: attempts.length === 0 ? null : Math.max(...attempts),
      failures: [atA, atB].flatMap(({ failures }) => failures)
    }
  } catch (error) {
    signal.throwIfAborted()
    return { pair, directMs: null, by: null, attempts: null, failures: [], problem: (error as Error).message }
  }
}

/** End what peers of the round have with each other; what they have with relays stays. */
export async function partRound({ id, peers }: Round): Promise<void> {
  const all = [...peers.values()]
  const peerIds = all.map(({ opened }) => opened.peerId)
  await Promise.all(all.map(async ({ client }) => await client.part({ id, peerIds })))
}

export async function closeRound({ id, peers }: Round): Promise<void> {
  await Promise.all([...peers.values()].map(async ({ client }) => await client.close({ id })))
}

/**
 * What every process holds, once its sockets are no more than wanted, or have stopped to change, or are not waited for
 * any longer.
 */
export async function takeCensus(
  { host, signal }: SwarmContext,
  hosts: readonly string[],
  wanted: Census | null
): Promise<Census> {
  const census: Census = new Map()
  const deadline = performance.now() + SETTLE_WITHIN_MS
  await Promise.all(
    hosts.map(async name => {
      const client = peerClient(host(name), signal)
      let [last, same] = [-1, 0]
      while (performance.now() < deadline && same < SAME_LOOKS) {
        const now = socketCount(await client.sockets())
        if (wanted !== null && now <= socketCount(wanted.get(name)!.sockets)) break
        same = wanted === null && now === last ? same + 1 : 0
        last = now
        await delay(LOOK_EVERY_MS, undefined, { signal })
      }
    })
  )
  await eachOf(hosts, COLLECTING_AT_ONCE, async name => {
    census.set(name, await peerClient(host(name), signal).held())
  })
  return census
}

async function eachOf<T>(all: readonly T[], atOnce: number, act: (one: T) => Promise<void>): Promise<void> {
  const waiting = [...all]
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await act(next)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

function transportOf({ connections }: PeerFacts): 'tcp' | 'quic' | null {
  const direct = connections.find(({ isDirect }) => isDirect)
  if (direct === undefined) return null
  return direct.address.includes('/quic-v1') ? 'quic' : 'tcp'
}
