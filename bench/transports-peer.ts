/**
 * One end of a connection that `transports.ts` measures, as a process of its own: told what to do by messages, so
 * that nothing else of the benchmark runs in it.
 */
import { quic } from '@chainsafe/libp2p-quic'
import type { Connection, Libp2p } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { type PunchingTransport, punchingQuic, punchingTcp, punchingTransport } from '../node/index.ts'
import { obeyOrders } from './peers.ts'

/** What is measured; `plain` is configured as hosts that are reached directly are, `punched` as hosts behind a NAT. */
export type Kind = 'quic-native' | 'quic-plain' | 'quic-to-shared' | 'quic-punched' | 'tcp-native' | 'tcp-punching'

export type Order =
  | { do: 'start'; kind: Kind; listens: boolean }
  | { do: 'dial'; address: string }
  | { do: 'punch'; address: string; initiator: boolean }
  | { do: 'pour'; bytes: number }
  | { do: 'cpu' }
  | { do: 'end' }

export type Answer = { address?: string; ms?: number; cpuS?: number }

const PROTOCOL = '/warren/bench-pour/1.0.0'
const CHUNK = new Uint8Array(65_536).fill(7)
const PUNCH_LIMIT_MS = 10_000

type Transports = NonNullable<Parameters<typeof createLibp2p>[0]>['transports']

let libp2p: Libp2p
let connection: Connection
let punching: PunchingTransport | undefined
let cpuBefore = process.cpuUsage()

async function transportOf(kind: Kind, listens: boolean): Promise<(components: never) => unknown> {
  switch (kind) {
    case 'quic-native':
      return quic()
    case 'quic-plain':
      return punchingQuic({ listen: 'native', fromPunchPort: () => false })
    case 'quic-to-shared':
      return punchingQuic({ fromPunchPort: () => listens })
    case 'quic-punched':
      return punchingQuic()
    case 'tcp-native':
      return tcp()
    case 'tcp-punching':
      return punchingTcp()
  }
}

async function start(kind: Kind, listens: boolean): Promise<Answer> {
  const make = await transportOf(kind, listens)
  const address = kind.startsWith('tcp') ? '/ip4/127.0.0.1/tcp/0' : '/ip4/127.0.0.1/udp/0/quic-v1'
  libp2p = await createLibp2p({
    addresses: { listen: listens || kind === 'quic-punched' ? [address] : [] },
    transports: [
      components => {
        const made = make(components as never) as PunchingTransport
        if (punchingTransport in made) punching = made
        return made
      }
    ] as Transports,
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false }
  })
  await libp2p.handle(PROTOCOL, async stream => {
    for await (const chunk of stream) void chunk.byteLength
    await stream.close()
  })
  return { address: libp2p.getMultiaddrs()[0]?.toString() ?? `/p2p/${libp2p.peerId.toString()}` }
}

async function pour(bytes: number): Promise<Answer> {
  const begun = performance.now()
  const stream = await connection.newStream(PROTOCOL)
  for (let sent = 0; sent < bytes; sent += CHUNK.length) {
    if (stream.send(CHUNK)) continue
    // Not `onDrain`, which resolves for ever after the first drain.
    await new Promise<void>(resolve => stream.addEventListener('drain', () => resolve(), { once: true }))
  }
  await stream.close()
  // The far end closes when it has read everything.
  for await (const chunk of stream) void chunk
  return { ms: performance.now() - begun }
}

function cpu(): Answer {
  const { user, system } = process.cpuUsage(cpuBefore)
  cpuBefore = process.cpuUsage()
  return { cpuS: (user + system) / 1e6 }
}

async function obey(order: Order): Promise<Answer> {
  switch (order.do) {
    case 'start':
      return await start(order.kind, order.listens)
    case 'dial':
      connection = await libp2p.dial(multiaddr(order.address))
      return {}
    case 'punch': {
      const address: Multiaddr = multiaddr(order.address)
      const options = { initiator: order.initiator, signal: AbortSignal.timeout(PUNCH_LIMIT_MS) }
      connection = await punching!.punch(address, options)
      return {}
    }
    case 'pour':
      return await pour(order.bytes)
    case 'cpu':
      return cpu()
    case 'end':
      await libp2p?.stop()
      return {}
  }
}

obeyOrders(obey)
