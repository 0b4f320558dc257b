/** Real networks on loopback for tests: nodes, a relay, and blobs kept in memory. */
import { createHash } from 'node:crypto'
import { ephemeralIdentity, type Identity } from '../identity.ts'
import { silentLog } from '../log.ts'
import { createNetworkNode, type NetworkNode, type NetworkNodeOptions } from './libp2p.ts'
import type { LifeLimits } from './life/life.ts'
import type { LivenessLimits } from './life/liveness.ts'
import { DEFAULT_RELAY_LIMITS, GENEROUS_LIMITS, type RelayLimits } from './limits.ts'
import { createNetwork, type MemberSource, type Network, type NetworkHandlers, type OwnFacts } from './network.ts'
import type { Timings } from './timings.ts'

const LOOPBACK = '/ip4/127.0.0.1/tcp/0'

export interface TestPeer extends AsyncDisposable {
  identity: Identity
  node: NetworkNode
  network: Network
  /** What it stored, by the name it got. */
  blobs: Map<string, Uint8Array>
}

/** Handlers over a map; a blob's name is the hash of its bytes, or what the sender calls it. */
export function memoryHandlers(blobs: Map<string, Uint8Array>): NetworkHandlers {
  const collect = async (source: AsyncIterable<Uint8Array>) => {
    const chunks: Uint8Array[] = []
    for await (const chunk of source) chunks.push(chunk)
    return Buffer.concat(chunks)
  }
  return {
    async put(source) {
      const bytes = await collect(source)
      const cid = createHash('sha256').update(bytes).digest('hex')
      blobs.set(cid, bytes)
      return { cid, sizeBytes: bytes.byteLength }
    },
    async putReplica(cid, _mimeType, source) {
      if (blobs.has(cid)) return { alreadyStored: true }
      blobs.set(cid, await collect(source))
      return { alreadyStored: false }
    },
    async get(cid, { offset = 0, length }) {
      const bytes = blobs.get(cid)
      if (bytes === undefined) throw new Error('absent')
      const range = bytes.subarray(offset, length === undefined ? undefined : offset + length)
      return {
        sizeBytes: bytes.byteLength,
        mimeType: 'text/plain',
        bytes: (async function* () {
          for (let at = 0; at < range.byteLength; at += 65_536) yield range.subarray(at, at + 65_536)
        })()
      }
    },
    health: () => ({ status: 'healthy', storedBlobs: blobs.size, totalSize: 0 })
  }
}

/** A started peer with role node on loopback. */
export async function startPeer(
  options: Partial<NetworkNodeOptions> & {
    handlers?: (blobs: Map<string, Uint8Array>) => NetworkHandlers
    members?: MemberSource
    /** What it says of itself where that is not as usual. */
    own?: OwnFacts
    timings?: Partial<Timings>
    life?: LifeLimits
    liveness?: LivenessLimits
    readInterfaces?: () => string[]
  } = {}
): Promise<TestPeer> {
  const {
    handlers = memoryHandlers,
    members = null,
    timings,
    life,
    liveness,
    readInterfaces,
    own: said,
    ...rest
  } = options
  const identity = rest.identity ?? (await ephemeralIdentity())
  const log = silentLog()
  const node = await createNetworkNode({
    role: 'node',
    listen: [LOOPBACK],
    limits: GENEROUS_LIMITS,
    log,
    ...rest,
    identity
  })
  const own: OwnFacts = said ?? {
    nodeId: identity.publicKey,
    owner: '',
    shards: [{ start: 0, end: 1023 }],
    shardCount: 1024,
    failureGroup: 'here'
  }
  const stores = node.libp2p !== undefined && (rest.role ?? 'node') === 'node'
  const network = createNetwork({
    node,
    identity,
    own: stores ? own : null,
    members,
    limits: rest.limits ?? GENEROUS_LIMITS,
    log,
    ...(timings ? { timings } : {}),
    ...(life ? { life } : {}),
    ...(liveness ? { liveness } : {}),
    ...(readInterfaces ? { readInterfaces } : {})
  })
  const blobs = new Map<string, Uint8Array>()
  if (stores) await network.serve(handlers(blobs))
  await network.start()
  return { identity, node, network, blobs, [Symbol.asyncDispose]: () => network.stop() }
}

/** A relay on loopback, over TCP and QUIC; its addresses carry its peer id. */
export async function startRelay(
  options: { limits?: Partial<RelayLimits>; identity?: Identity; port?: number } = {}
): Promise<
  { node: NetworkNode; identity: Identity; address: string; quicAddress: string; port: number } & AsyncDisposable
> {
  const identity = options.identity ?? (await ephemeralIdentity())
  const node = await createNetworkNode({
    role: 'relay',
    identity,
    listen: [`/ip4/127.0.0.1/tcp/${options.port ?? 0}`, '/ip4/127.0.0.1/udp/0/quic-v1'],
    limits: GENEROUS_LIMITS,
    relayLimits: { ...DEFAULT_RELAY_LIMITS, ...options.limits },
    log: silentLog()
  })
  await node.start()
  const addresses = node.libp2p.getMultiaddrs().map(String)
  const address = addresses.find(text => text.includes('/tcp/')) ?? ''
  const quicAddress = addresses.find(text => text.includes('/quic-v1')) ?? ''
  const port = Number(/tcp\/(\d+)/.exec(address)?.[1])
  return { node, identity, address, quicAddress, port, [Symbol.asyncDispose]: () => node.stop() }
}

const POLL_MS = 20

/** Waits until `fact` is true (or gives something), at most `deadlineMs`. */
export async function eventually<T>(fact: () => T | Promise<T>, what: string, deadlineMs = 20_000): Promise<T> {
  const end = performance.now() + deadlineMs
  for (;;) {
    const value = await fact()
    if (value) return value
    if (performance.now() > end) throw new Error(`still not: ${what}`)
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
  }
}
