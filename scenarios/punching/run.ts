/** One run of one pair: two peers with fresh identities meet through a relay, and what comes of it. */
import type { Plan } from '../../netem/index.ts'
import type { Host } from '../harness/runtime.ts'
import { behaviourAt, type Place, type PunchTransport, type Stack } from './expected.ts'
import { hostAt, relaysFor } from './lab.ts'
import type { OpenRequest, PeerFacts, SeenConnection } from './peer.types.ts'
import { type PeerClient, peerClient } from './peer-client.ts'

export interface PairRun {
  a: Place
  b: Place
  transport: PunchTransport
  stack: Stack
}

export interface RunResult {
  /** From the relayed connection being open at the dialler to the direct one being open at both; null: never direct. */
  directMs: number | null
  /** Punches begun, where the stack tells. */
  attempts: number | null
  /** Bytes on relayed connections of the two while a transfer ran between them directly. */
  relayBytesAfter: number
  /** Named causes of punches that failed. */
  failures: string[]
  /** What went wrong beside the pair: the run counts as failed. */
  problem?: string
}

export interface RunContext {
  plan: Plan
  host: (name: string) => Host
  signal: AbortSignal
  /** How long a relayed connection may take to become direct. */
  directWithinMs: number
  /** Multiaddr with peer id of the stock relay, by transport. */
  stockRelays: Partial<Record<PunchTransport, string>>
}

const OPEN_WITHIN_MS = 20_000
/** The far end may be one round trip and a handshake behind. */
const BOTH_WITHIN_MS = 3000
const TRANSFER_BYTES = 256 * 1024
const TRANSFER_WITHIN_MS = 20_000
/** A relayed connection that nothing uses any more may take this long to be closed. */
const SETTLE_WITHIN_MS = 4000
const LOOK_EVERY_MS = 100
/** Where a peer listens that tells its address. */
const PUBLIC_PORT = 42_001
const PUBLIC_PORTS = 8000

/** Never rejects but when the signal aborts: whatever goes wrong is the run's `problem`. */
export async function runPair(context: RunContext, pair: PairRun, number: number): Promise<RunResult> {
  const { host, signal } = context
  const id = `run-${number}`
  const a = peerClient(host(hostAt('a', pair.a)), signal)
  const b = peerClient(host(hostAt('b', pair.b)), signal)
  try {
    const [openedA, openedB] = await Promise.all([
      a.open(opening(context, pair, 'a', number, id)),
      b.open(opening(context, pair, 'b', number, id))
    ])
    const via = openedB.addresses.filter(address => address.includes('/p2p-circuit'))
    const atA = await a.meet({ id, peerId: openedB.peerId, via, withinMs: context.directWithinMs })
    const withinMs = isDirect(atA) ? BOTH_WITHIN_MS : 0
    const atB = await b.direct({ id, peerId: openedA.peerId, withinMs })
    const directMs = timeToDirect(atA, atB)
    const other = otherTransport([...atA.connections, ...atB.connections], pair.transport)
    if (other !== undefined) throw new Error(`it is direct by ${other}`)
    if (directMs === null || pair.stack === 'stock') return { directMs, relayBytesAfter: 0, ...punchesOf([atA, atB]) }
    // Closing takes bytes too, which are no traffic: both have to be through with it.
    await Promise.all([
      settled(a, { id, peerId: openedB.peerId }, signal),
      settled(b, { id, peerId: openedA.peerId }, signal)
    ])
    await Promise.all([a.mark({ id }), b.mark({ id })])
    const transfer = { id, peerId: openedB.peerId, bytes: TRANSFER_BYTES, withinMs: TRANSFER_WITHIN_MS }
    const { isIntact } = await a.transfer(transfer)
    const after = await Promise.all([a.facts({ id, peerId: openedB.peerId }), b.facts({ id, peerId: openedA.peerId })])
    const relayBytesAfter = after.reduce((sum, facts) => sum + relayedBytes(facts), 0)
    // Asked late: a punch is reported when both sides are done with it.
    return {
      directMs,
      relayBytesAfter,
      ...punchesOf(after),
      ...(isIntact ? {} : { problem: 'the transfer came out otherwise' })
    }
  } catch (error) {
    signal.throwIfAborted()
    return { directMs: null, attempts: null, relayBytesAfter: 0, failures: [], problem: (error as Error).message }
  } finally {
    await Promise.allSettled([a.close({ id }), b.close({ id })])
  }
}

function opening(context: RunContext, pair: PairRun, side: 'a' | 'b', number: number, id: string): OpenRequest {
  const { plan, stockRelays } = context
  const { transport, stack } = pair
  const place = pair[side]
  const { address } = plan.hosts.find(({ name }) => name === hostAt(side, place))!.attachment
  const isBlocked = behaviourAt(place).udpBlocked
  return {
    id,
    stack,
    transports: [transport],
    family: 4,
    role: 'peer',
    relays: stack === 'stock' ? [stockRelays[transport]!] : relaysFor(plan, [transport], { isUdpBlocked: isBlocked }),
    ...(place === 'public' ? { publicAddress: address, port: PUBLIC_PORT + (number % PUBLIC_PORTS) } : {}),
    withinMs: OPEN_WITHIN_MS
  }
}

/** Resolves when nothing relayed is open to the peer any more, or no longer waited for. */
async function settled(peer: PeerClient, about: { id: string; peerId: string }, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + SETTLE_WITHIN_MS
  while (performance.now() < deadline) {
    const { connections } = await peer.facts(about)
    if (connections.every(each => each.isDirect || each.closedAtMs !== null)) return
    signal.throwIfAborted()
    await new Promise(resolve => setTimeout(resolve, LOOK_EVERY_MS))
  }
}

const isDirect = ({ connections }: PeerFacts): boolean => connections.some(each => each.isDirect)

/** The address of a direct connection by another transport than the cell is about. */
function otherTransport(connections: readonly SeenConnection[], transport: PunchTransport): string | undefined {
  const own = transport === 'tcp' ? /\/tcp\/\d+(\/p2p\/|$)/ : /\/quic-v1(\/|$)/
  return connections.find(({ isDirect, address }) => isDirect && !own.test(address))?.address
}

/** From A's first relayed connection to the later of both sides' first direct one; the clock is the machine's. */
export function timeToDirect(a: PeerFacts, b: PeerFacts): number | null {
  const first = ({ connections }: PeerFacts, direct: boolean): SeenConnection | undefined =>
    connections.find(each => each.isDirect === direct)
  const [relayed, directA, directB] = [first(a, false), first(a, true), first(b, true)]
  if (relayed === undefined || directA === undefined || directB === undefined) return null
  return Math.round((Math.max(directA.openAtMs, directB.openAtMs) - relayed.openAtMs) * 10) / 10
}

/** Whichever side counts attempts; the other sees what it was asked for. */
function punchesOf(sides: readonly PeerFacts[]): Pick<RunResult, 'attempts' | 'failures'> {
  const told = sides.flatMap(({ attempts }) => attempts ?? [])
  return {
    attempts: told.length === 0 ? null : Math.max(...told),
    failures: sides.flatMap(({ failures }) => failures)
  }
}

function relayedBytes({ connections }: PeerFacts): number {
  return connections.filter(each => !each.isDirect).reduce((sum, each) => sum + each.bytesSinceMark, 0)
}
