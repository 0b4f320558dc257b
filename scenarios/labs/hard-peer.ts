/**
 * One peer of `hard-pairs.ts`, run inside a host: round after round with a fresh identity and fresh sockets it meets its
 * counterpart through the relay and tries the hard punch alone, without DCUtR before it. Prints one JSON line a round.
 */
import { createHash } from 'node:crypto'
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import type { Connection } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p, type Libp2p } from 'libp2p'
import { createHardPunch, GENEROUS_HARD_PUNCH_LIMITS, type HardPunchOutcome, punchingQuic } from '../../node/index.ts'

export interface HardPeerConfig {
  seed: string
  /** The listener reserves, hears the dialler come in and asks it, as DCUtR has it. */
  part: 'listener' | 'dialler'
  /** With peer ids; the first carries the circuits. */
  relays: string[]
  /** Number of the first round, and how many. */
  first: number
  runs: number
  /** For one round, the wait for the other side included. */
  roundMs: number
}

export interface HardPeerRound extends Pick<HardPunchOutcome, 'result' | 'method' | 'side' | 'packets' | 'tookMs'> {
  run: number
  /** Round trip over the connection that came of it; null: none came, or it does not carry. */
  pingMs: number | null
  /** What went wrong beneath the reason. */
  why?: string
}

const RETRY_MS = 300
const PING_MS = 5000
const LEAVE_AFTER_MS = 1500
const PING_PROTOCOL = '/ipfs/ping/1.0.0'
const PING_BYTES = 32

const keyOf = async (seed: string, part: string, run: number) =>
  await generateKeyPairFromSeed('Ed25519', createHash('sha256').update(`${seed} ${part} ${run}`).digest())

async function round(config: HardPeerConfig, run: number): Promise<HardPeerRound> {
  const { seed, part, relays, roundMs } = config
  const [relay] = relays as [string]
  const signal = AbortSignal.timeout(roundMs)
  const quic: { transport?: ReturnType<ReturnType<typeof punchingQuic>> } = {}
  const make = punchingQuic()
  const node = (await createLibp2p({
    privateKey: await keyOf(seed, part, run),
    addresses: {
      listen: ['/ip4/0.0.0.0/udp/0/quic-v1', ...(part === 'listener' ? [`${relay}/p2p-circuit`] : [])]
    },
    transports: [
      tcp(),
      components => {
        quic.transport = make(components as never)
        return quic.transport
      },
      circuitRelayTransport()
    ],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { identify: identify({ runOnLimitedConnection: true }), ping: ping() },
    start: false
  })) as unknown as Libp2p
  const ended = Promise.withResolvers<HardPunchOutcome>()
  signal.addEventListener('abort', () => ended.reject(new Error('nobody came in time')), { once: true })
  ended.promise.catch(() => undefined)
  const hard = createHardPunch({
    libp2p: node,
    transport: quic.transport!,
    isRelay: peerId => relays.some(each => each.endsWith(`/p2p/${peerId}`)),
    limits: GENEROUS_HARD_PUNCH_LIMITS,
    onOutcome: outcome => ended.resolve(outcome)
  })
  // From before the reservation on: whoever comes in while the second relay is dialled is not missed.
  const comer = part === 'listener' ? cameIn(node, signal) : null
  comer?.catch(() => undefined)
  try {
    await node.start()
    await hard.start()
    await Promise.all(relays.map(each => node.dial(multiaddr(each), { signal })))
    const relayed = await (comer ?? dialled(node, config, run, signal))
    if (part === 'listener') void hard.punch({ connection: relayed, role: 'responder', signal })
    const { result, method, side, packets, tookMs, cause: failure } = await ended.promise
    const direct = node.getConnections(relayed.remotePeer).find(connection => connection.direct)
    let unheard: unknown
    const pingMs =
      direct === undefined
        ? null
        : await echo(direct).catch(error => {
            unheard = new Error(`no echo over ${direct.remoteAddr}, ${direct.status}: ${textOf(error)}`)
            return null
          })
    // The other side measures too before either leaves.
    await new Promise(resolve => setTimeout(resolve, LEAVE_AFTER_MS))
    const cause = failure ?? unheard
    return {
      run,
      result,
      method,
      side,
      packets,
      tookMs,
      pingMs,
      ...(cause === undefined ? {} : { why: textOf(cause) })
    }
  } catch (error) {
    return { run, result: 'system', method: null, side: null, packets: 0, tookMs: 0, pingMs: null, why: textOf(error) }
  } finally {
    await hard.stop()
    await node.stop()
  }
}

/** Round trip over this very connection, ms. */
async function echo(connection: Connection): Promise<number> {
  const signal = AbortSignal.timeout(PING_MS)
  const stream = await connection.newStream(PING_PROTOCOL, { signal })
  const beganMs = performance.now()
  const heard = new Promise<void>((resolve, reject) => {
    stream.addEventListener('message', () => resolve(), { once: true })
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  stream.send(new Uint8Array(PING_BYTES))
  await heard
  await stream.close({ signal })
  return performance.now() - beganMs
}

function textOf(error: unknown): string {
  const { message, cause } = error as Error
  return cause === undefined ? message : `${message} ${textOf(cause)}`
}

async function dialled(
  node: Libp2p,
  { seed, relays }: HardPeerConfig,
  run: number,
  signal: AbortSignal
): Promise<Connection> {
  const peer = peerIdFromPrivateKey(await keyOf(seed, 'listener', run))
  for (;;) {
    try {
      return await node.dial(multiaddr(`${relays[0]}/p2p-circuit/p2p/${peer}`), { signal })
    } catch (error) {
      if (signal.aborted) throw error
      await new Promise(resolve => setTimeout(resolve, RETRY_MS))
    }
  }
}

function cameIn(node: Libp2p, signal: AbortSignal): Promise<Connection> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(new Error('nobody came in time')), { once: true })
    node.addEventListener('connection:open', ({ detail }) => {
      if (!detail.direct) resolve(detail)
    })
  })
}

const config = JSON.parse(process.argv[2] ?? '{}') as HardPeerConfig
for (let nth = 0; nth < config.runs; nth++) {
  process.stdout.write(`${JSON.stringify(await round(config, config.first + nth))}\n`)
}
process.exit(0)
