/** The product's own node, composed by its own door, with blobs that are computed instead of stored. */
import { createHash } from 'node:crypto'
import { isPrivate } from '@libp2p/utils'
import {
  createNetwork,
  createNetworkNode,
  ephemeralIdentity,
  GENEROUS_HARD_PUNCH_LIMITS,
  GENEROUS_LIMITS,
  type HardPunchOutcome,
  type NetworkHandlers,
  type PunchReport,
  silentLog
} from '../../node/index.ts'
import type { OpenRequest } from './peer.types.ts'
import { ANY, type LabPeer, ownAddresses } from './peer-stack.ts'
import { mostAtOnce, type Span } from './spans.ts'
import { clockMs, watchConnections } from './watch.ts'

const BLOCK_BYTES = 64 * 1024
/** A peer listens and punches by its transports alone, though it dials relays by others too. */
const PROTOCOL = { tcp: /\/tcp\/\d+(\/p2p\/[^/]+)?$/, quic: /\/quic-v1(\/p2p\/[^/]+)?$/ } as const
/** For the reflectors' answers; a peer that does not know its NAT's kind begins as if it were an ordinary one. */
const KIND_WITHIN_MS = 8000
/** Of one run; a punch ends after some attempts. */
const MAX_REPORTS = 1024
/** Outcomes of attempts that left the two directly connected. */
const WON: Array<PunchReport['outcome']> = ['direct', 'overtaken', 'unilateral', 'hard', 'met']

export async function createWarrenPeer(options: OpenRequest): Promise<LabPeer> {
  const { family, relays, publicAddress } = options
  const own = (address: string): string[] => ownAddresses(options, address)
  const announce = publicAddress === undefined ? [] : own(publicAddress)
  const identity = await ephemeralIdentity()
  const log = silentLog()
  const reports: PunchReport[] = []
  const outcomes: HardPunchOutcome[] = []
  const spans: Span[] = []
  const limits = {
    ...GENEROUS_LIMITS,
    ...(options.punchesAtOnce === undefined ? {} : { punchesAtOnce: options.punchesAtOnce }),
    ...(options.dialWithinMs === undefined
      ? {}
      : { dialTimeoutMs: options.dialWithinMs, addressDialTimeoutMs: options.dialWithinMs })
  }
  const node = await createNetworkNode({
    role: 'node',
    identity,
    listen: own(ANY[family]),
    announce,
    relays,
    enableDht: false,
    punching: {
      isUsable: address =>
        !isPrivate(address) &&
        `${address}`.startsWith(`/ip${family}/`) &&
        options.transports.some(transport => PROTOCOL[transport].test(`${address}`)),
      onReport: report => {
        if (reports.length >= MAX_REPORTS) return
        reports.push(report)
        const { transport, elapsedMs, peerId: who } = report
        const toMs = clockMs()
        // Others ended before a slot was theirs, or need none.
        if (transport === 'tcp' || transport === 'quic-v1') spans.push({ who, fromMs: toMs - elapsedMs, toMs })
      },
      onOutcome: outcome => {
        if (outcomes.length < MAX_REPORTS) outcomes.push(outcome)
      }
    },
    // By UDP: what it opened would be no answer to what TCP can do.
    hardPunch: {
      enabled: options.transports.includes('quic') && options.hardPunch !== false,
      limits: GENEROUS_HARD_PUNCH_LIMITS
    },
    limits,
    log
  })
  const { libp2p, anchors } = node
  const network = createNetwork({
    node,
    identity,
    own: null,
    members: null,
    limits,
    announced: announce,
    log
  })
  const watch = watchConnections(libp2p)
  return {
    libp2p,
    watch,
    network,
    facts: peerId => {
      const about = reports.filter(report => report.peerId === peerId)
      return {
        // Only who opened the stream counts attempts; the other side has one each time.
        attempts: about.length === 0 ? null : Math.max(...about.map(({ attempt }) => attempt)),
        failures: [
          ...about
            .filter(({ outcome }) => !WON.includes(outcome))
            .map(({ outcome, transport }) => `${outcome} (${transport})`),
          ...outcomes
            .filter(({ peerId: of, result }) => of === peerId && result !== 'direct')
            .map(({ result, method }) => `${result} (hard, ${method ?? 'undecided'})`)
        ]
      }
    },
    isReady: () =>
      anchors
        .states()
        .some(({ relay, connected, reserved }) => relay && connected && (reserved || publicAddress !== undefined)) &&
      (publicAddress !== undefined ||
        relays.length === 0 ||
        libp2p.getMultiaddrs().some(address => `${address}`.includes('/p2p-circuit'))),
    isPunching: () => (node.dcutr?.active() ?? 0) > 0,
    mostPunches: () => mostAtOnce(spans),
    async start() {
      await network.serve(patterns)
      await network.start()
    },
    async settle() {
      if (options.transports.includes('quic'))
        await node.hardPunch?.detect(AbortSignal.timeout(KIND_WITHIN_MS)).catch(() => null)
    },
    stop: async () => await network.stop()
  }
}

/** Name of a blob of so many bytes that every peer can compute. */
export function patternName(sizeBytes: number): string {
  return `pattern-${sizeBytes}`
}

/** Its hash, computed here, not heard from anybody. */
export function patternHash(sizeBytes: number): string {
  const hash = createHash('sha256')
  for (const chunk of pattern(0, sizeBytes)) hash.update(chunk)
  return hash.digest('hex')
}

/** Blocks that differ, so that a missing, doubled or moved one shows. */
function* pattern(from: number, to: number): Generator<Uint8Array> {
  for (let at = from; at < to; ) {
    const index = Math.floor(at / BLOCK_BYTES)
    const block = Buffer.alloc(BLOCK_BYTES, createHash('sha256').update(String(index)).digest())
    const begin = at - index * BLOCK_BYTES
    const end = Math.min(BLOCK_BYTES, to - index * BLOCK_BYTES)
    yield block.subarray(begin, end)
    at = index * BLOCK_BYTES + end
  }
}

const refuse = async (): Promise<never> => {
  throw new Error('this peer stores nothing')
}

const patterns: NetworkHandlers = {
  put: refuse,
  putReplica: refuse,
  async get(name, { offset = 0, length }) {
    const size = /^pattern-(\d{1,10})$/.exec(name)?.[1]
    if (size === undefined) throw new Error(`${name} is no pattern`)
    const sizeBytes = Number(size)
    const end = length === undefined ? sizeBytes : Math.min(sizeBytes, offset + length)
    return {
      sizeBytes,
      mimeType: 'application/octet-stream',
      bytes: (async function* () {
        yield* pattern(offset, end)
      })()
    }
  },
  health: () => ({ status: 'healthy', storedBlobs: 0, totalSize: 0 })
}
