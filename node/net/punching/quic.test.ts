import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { identify } from '@libp2p/identify'
import type { Connection, ConnectionGater, Libp2p, PrivateKey, Stream } from '@libp2p/interface'
import { ping } from '@libp2p/ping'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { eventually } from '../testing.ts'
import { punchDatagram } from './datagrams.ts'
import { PunchFailedError } from './errors.ts'
import type { AdoptingTransport } from './punch.types.ts'
import { type PunchingQuicInit, punchingQuic } from './quic.ts'

const PROTOCOL = '/test/bulk/1.0.0'
const MIB = 1024 * 1024

interface Peer {
  libp2p: Libp2p
  transport: AdoptingTransport
  /** First listening address, without the peer id. */
  address: Multiaddr
  full: Multiaddr
}

const started: Libp2p[] = []

async function startPeer(
  listen: string[],
  init: PunchingQuicInit = {},
  privateKey?: PrivateKey,
  connectionGater: ConnectionGater = {}
): Promise<Peer> {
  let transport: AdoptingTransport | undefined
  const make = punchingQuic(init)
  const libp2p = await createLibp2p({
    ...(privateKey === undefined ? {} : { privateKey }),
    addresses: { listen },
    transports: [
      components => {
        transport = make(components as never)
        return transport
      }
    ],
    connectionGater,
    connectionMonitor: { enabled: false },
    connectionManager: { inboundConnectionThreshold: 1000 },
    services: { identify: identify(), ping: ping() }
  })
  started.push(libp2p)
  const address = libp2p.getMultiaddrs()[0]?.decapsulateCode(421) ?? multiaddr('/ip4/127.0.0.1/udp/1/quic-v1')
  return {
    libp2p,
    transport: transport!,
    address,
    full: address.encapsulate(`/p2p/${libp2p.peerId.toString()}`)
  }
}

const listenOn = (host: string) => [`/${host.includes(':') ? 'ip6' : 'ip4'}/${host}/udp/0/quic-v1`]

const portOf = (address: Multiaddr): number => Number(address.getComponents().find(({ name }) => name === 'udp')?.value)
const hostOf = (address: Multiaddr): string => address.getComponents()[0]?.value ?? ''

const connectionsTo = (peer: Peer, other: Peer): Connection[] => peer.libp2p.getConnections(other.libp2p.peerId)

setFlagsFromString('--expose-gc')
/** The package closes its client's sockets when they are collected. */
const collect = runInNewContext('gc') as () => void

/** UDP sockets of this process, native ones included. */
async function udpSockets(): Promise<number> {
  collect()
  const tables = await Promise.all(['udp', 'udp6'].map(name => readFile(`/proc/self/net/${name}`, 'utf8')))
  const rows = tables.flatMap(table => table.trim().split('\n').slice(1))
  const inodes = new Set(rows.map(row => row.trim().split(/\s+/)[9]))
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map(fd => readlink(`/proc/self/fd/${fd}`).catch(() => ''))
  )
  return links.filter(link => inodes.has(/^socket:\[(\d+)\]$/.exec(link)?.[1] ?? 'none')).length
}

/** Not `onDrain`, which resolves for ever after the first drain. */
const drained = (stream: Stream): Promise<void> =>
  new Promise(resolve => stream.addEventListener('drain', () => resolve(), { once: true }))

async function send(stream: Stream, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; at += 65_536) {
    if (!stream.send(bytes.subarray(at, at + 65_536))) await drained(stream)
  }
  await stream.close()
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Both directions at once over one connection. */
async function exchange(from: Peer, connection: Connection, to: Peer): Promise<void> {
  const [ours, theirs] = [randomBytes(8 * MIB), randomBytes(8 * MIB)]
  let received = ''
  await to.libp2p.handle(
    PROTOCOL,
    async stream => {
      const sent = send(stream, theirs)
      const hash = createHash('sha256')
      for await (const chunk of stream) hash.update(chunk.subarray())
      received = hash.digest('hex')
      await sent
    },
    { force: true }
  )
  const stream = await connection.newStream(PROTOCOL)
  const sent = send(stream, ours)
  const hash = createHash('sha256')
  for await (const chunk of stream) hash.update(chunk.subarray())
  await sent
  assert.equal(hash.digest('hex'), hashOf(theirs))
  await eventually(() => received === hashOf(ours), 'all received')
  assert.equal(from.libp2p.peerId.equals(to.libp2p.peerId), false)
}

const addressAt = (host: string, port: number, peer: Peer): Multiaddr =>
  multiaddr(`/ip4/${host}/udp/${port}/quic-v1/p2p/${peer.libp2p.peerId.toString()}`)

const failure = (reason: string) => (error: unknown) => error instanceof PunchFailedError && error.reason === reason

async function boundSocket(host: string): Promise<Socket> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  await new Promise<void>(resolve => socket.bind(0, host, resolve))
  return socket
}

/** Both sides punch; answers both connections. */
const punchBoth = (client: Peer, server: Peer, signal = AbortSignal.timeout(10_000)): Promise<Connection[]> =>
  Promise.all([
    client.transport.punch(server.full, { initiator: true, signal }),
    server.transport.punch(client.full, { initiator: false, signal })
  ])

describe('QUIC that can be punched', () => {
  afterEach(async () => {
    await Promise.all(started.splice(0).map(libp2p => libp2p.stop()))
  })

  for (const [name, one, two] of [
    ['IPv4', '127.0.0.1', '127.0.0.2'],
    ['IPv6', '::1', '::1']
  ] as const) {
    describe(name, () => {
      it('dials from the port it listens on, and shows each side the other’s own address', async () => {
        const [a, b] = await Promise.all([startPeer(listenOn(one)), startPeer(listenOn(two))])
        const connection = await a.libp2p.dial(b.full)
        assert.equal(connection.remoteAddr.toString(), b.full.toString())
        assert.equal(connection.direct, true)
        await eventually(() => connectionsTo(b, a).length === 1, 'connected as told')
        const seen = connectionsTo(b, a)[0]!.remoteAddr
        assert.equal(portOf(seen), portOf(a.address))
        assert.equal(hostOf(seen).startsWith('127.') || hostOf(seen) === '::1', true)
        assert.equal(a.transport.dialledFromPunchPort(connection), true)
        assert.equal(b.transport.dialledFromPunchPort(connectionsTo(b, a)[0]!), false)
      })

      it('carries 8 MiB intact in both directions at once', async () => {
        const [a, b] = await Promise.all([startPeer(listenOn(one)), startPeer(listenOn(two))])
        await exchange(a, await a.libp2p.dial(b.full), b)
      })

      it('connects both when both dial each other at once', async () => {
        const [a, b] = await Promise.all([startPeer(listenOn(one)), startPeer(listenOn(two))])
        const [ab, ba] = await Promise.all([a.libp2p.dial(b.full), b.libp2p.dial(a.full)])
        await Promise.all([
          (a.libp2p.services.ping as ReturnType<ReturnType<typeof ping>>).ping(b.libp2p.peerId),
          (b.libp2p.services.ping as ReturnType<ReturnType<typeof ping>>).ping(a.libp2p.peerId)
        ])
        assert.equal(ab.status, 'open')
        assert.equal(ba.status, 'open')
        await exchange(a, ab, b)
        await exchange(b, ba, a)
      })

      // libp2p ends what it dialled when a connection with an equal address is there: both ended theirs, and none was left.
      it('keeps both connections where each side has the other’s before its own is ready', async () => {
        const peers: Peer[] = []
        const isIn = (peer: Peer | undefined, other: Peer | undefined): boolean =>
          peer !== undefined && other !== undefined && connectionsTo(peer, other).length > 0
        const afterTheOther = (own: number): ConnectionGater => ({
          async denyOutboundUpgradedConnection() {
            await eventually(() => isIn(peers[own], peers[1 - own]), 'the other’s connection is there')
            return false
          }
        })
        peers.push(await startPeer(listenOn(one), {}, undefined, afterTheOther(0)))
        peers.push(await startPeer(listenOn(two), {}, undefined, afterTheOther(1)))
        const [a, b] = peers as [Peer, Peer]
        const dialled = await Promise.all([a.libp2p.dial(b.full), b.libp2p.dial(a.full)])
        assert.deepEqual(
          dialled.map(({ direction }) => direction),
          ['outbound', 'outbound']
        )
        for (const peer of peers) {
          const { ping: service } = peer.libp2p.services as { ping: ReturnType<ReturnType<typeof ping>> }
          await service.ping((peer === a ? b : a).libp2p.peerId)
        }
        await exchange(a, dialled[0]!, b)
        await exchange(b, dialled[1]!, a)
        assert.deepEqual([connectionsTo(a, b).length, connectionsTo(b, a).length], [2, 2])
      })

      it('punches twenty times in a row', async () => {
        const [a, b] = await Promise.all([startPeer(listenOn(one)), startPeer(listenOn(two))])
        for (let round = 0; round < 20; round++) {
          const [out, into] = await punchBoth(a, b)
          assert.equal(out!.direction, 'outbound')
          assert.equal(into!.direction, 'inbound')
          assert.equal(out!.remotePeer.equals(b.libp2p.peerId), true)
          assert.equal(portOf(into!.remoteAddr), portOf(a.address))
          await Promise.all([a.libp2p.hangUp(b.libp2p.peerId), b.libp2p.hangUp(a.libp2p.peerId)])
          await eventually(() => connectionsTo(b, a).length === 0, 'connected as told')
        }
      })

      it('dials from a port of its own where it does not listen', async () => {
        const [a, b] = await Promise.all([startPeer([]), startPeer(listenOn(two))])
        const connection = await a.libp2p.dial(b.full)
        assert.equal(a.transport.dialledFromPunchPort(connection), true)
        await a.libp2p.hangUp(b.libp2p.peerId)
        await eventually(() => connectionsTo(b, a).length === 0, 'connected as told')
        const first = await punchBoth(a, b)
        assert.equal(first.length, 2)
      })
    })
  }

  it('dials the ports that the other side turns out to come from, at most four', async () => {
    const [a, b] = await Promise.all([startPeer(listenOn('127.0.0.1')), startPeer(listenOn('127.0.0.2'))])
    const [told, ...others] = await Promise.all(Array.from({ length: 8 }, () => boundSocket('127.0.0.2')))
    try {
      // Nobody answers on the port that was told; the peer's datagrams come from where it listens.
      const wrong = addressAt('127.0.0.2', told!.address().port, b)
      const signal = AbortSignal.timeout(10_000)
      const [out, into] = await Promise.all([
        a.transport.punch(wrong, { initiator: true, signal }),
        b.transport.punch(a.full, { initiator: false, signal })
      ])
      assert.equal(out.remoteAddr.toString(), b.full.toString())
      assert.equal(portOf(into.remoteAddr), portOf(a.address))
      await a.libp2p.hangUp(b.libp2p.peerId)

      const heard = new Set<number>()
      for (const [index, socket] of others.entries()) {
        socket.on('message', () => heard.add(index))
        socket.send(punchDatagram(), portOf(a.address), '127.0.0.1')
      }
      const ending = new AbortController()
      const failed = assert.rejects(
        a.transport.punch(wrong, { initiator: true, signal: ending.signal }),
        failure('aborted')
      )
      const again = setInterval(() => {
        for (const socket of others) socket.send(punchDatagram(), portOf(a.address), '127.0.0.1')
      }, 20)
      await eventually(() => heard.size === 4, 'four of them dialled')
      await new Promise(resolve => told!.once('message', resolve))
      clearInterval(again)
      ending.abort()
      await failed
      assert.equal(heard.size, 4)
    } finally {
      for (const socket of [told!, ...others]) socket.close()
    }
  })

  it('names the cause when nobody answers, and leaves no socket open', async () => {
    const a = await startPeer(listenOn('127.0.0.1'))
    const silent = await boundSocket('127.0.0.2')
    const before = await udpSockets()
    try {
      const to = addressAt('127.0.0.2', silent.address().port, a)
      for (const initiator of [true, false]) {
        await assert.rejects(a.transport.punch(to, { initiator, signal: AbortSignal.timeout(300) }), failure('timeout'))
        const ending = new AbortController()
        const punching = a.transport.punch(to, { initiator, signal: ending.signal })
        ending.abort()
        await assert.rejects(punching, failure('aborted'))
      }
      await assert.rejects(
        a.transport.punch(multiaddr('/ip4/127.0.0.2/tcp/1'), { initiator: true, signal: AbortSignal.timeout(300) }),
        failure('no-transport')
      )
      await eventually(async () => (await udpSockets()) <= before, 'as many sockets as before')
    } finally {
      silent.close()
    }
  })

  it('refuses a peer with another key than the address names', async () => {
    const [a, b, c] = await Promise.all(['127.0.0.1', '127.0.0.2', '127.0.0.3'].map(host => startPeer(listenOn(host))))
    const signal = AbortSignal.timeout(5000)
    const wrong = addressAt('127.0.0.2', portOf(b!.address), c!)
    await assert.rejects(a!.transport.punch(wrong, { initiator: true, signal }), failure('handshake-failed'))
    await eventually(() => connectionsTo(b!, a!).length === 0, 'no connection left')
  })

  it('carries a flow over a pair of sockets that both sides adopted, and closes them with it', async () => {
    const [a, b] = await Promise.all([startPeer(listenOn('127.0.0.1')), startPeer(listenOn('127.0.0.2'))])
    const before = await udpSockets()
    const [ours, theirs] = await Promise.all([boundSocket('127.0.0.4'), boundSocket('127.0.0.5')])
    const isPunch = (datagram: Uint8Array) => datagram[0] === 0
    const at = { host: '127.0.0.4', port: ours.address().port }
    const to = { host: '127.0.0.5', port: theirs.address().port }
    a.transport.adopt(ours, to, isPunch)
    b.transport.adopt(theirs, at, isPunch)
    const connection = await a.transport.punch(addressAt(to.host, to.port, b), {
      initiator: true,
      signal: AbortSignal.timeout(5000)
    })
    assert.equal(portOf(connection.remoteAddr), to.port)
    assert.equal(a.transport.dialledFromPunchPort(connection), false)
    await eventually(() => connectionsTo(b, a).length === 1, 'connected')
    assert.equal(portOf(connectionsTo(b, a)[0]!.remoteAddr), at.port)
    await exchange(a, connection, b)
    await a.libp2p.hangUp(b.libp2p.peerId)
    await eventually(async () => (await udpSockets()) <= before, 'the adopted sockets closed')
  }).timeout(60_000)

  it('holds the sender back while a reader pauses, and loses nothing', async () => {
    const [a, b] = await Promise.all([startPeer(listenOn('127.0.0.1')), startPeer(listenOn('127.0.0.2'))])
    const bytes = randomBytes(48 * MIB)
    const incoming = new Promise<Stream>(resolve => void b.libp2p.handle(PROTOCOL, stream => resolve(stream)))
    const out = await (await a.libp2p.dial(b.full)).newStream(PROTOCOL)
    let sent = 0
    const sending = (async () => {
      for (; sent < bytes.length; sent += MIB) {
        if (!out.send(bytes.subarray(sent, sent + MIB))) await drained(out)
      }
      await out.close()
    })()
    const stream = await incoming
    const hash = createHash('sha256')
    const ended = new Promise<void>(resolve => stream.addEventListener('remoteCloseWrite', () => resolve()))
    stream.addEventListener('message', ({ data }) => void hash.update(data.subarray()))
    stream.pause()
    let before = -1
    await eventually(async () => {
      const isStill = sent === before
      before = sent
      await new Promise(resolve => setTimeout(resolve, 100))
      return isStill
    }, 'the sender waits')
    assert.ok(sent < bytes.length, `${sent} bytes went out to a reader that reads nothing`)
    assert.equal(stream.status, 'open')
    stream.resume()
    await Promise.all([sending, ended])
    assert.equal(hash.digest('hex'), hashOf(bytes))
  }).timeout(60_000)

  it('tells a stream that was reset from one that ended', async () => {
    const [a, b] = await Promise.all([startPeer(listenOn('127.0.0.1')), startPeer(listenOn('127.0.0.2'))])
    const incoming = new Promise<Stream>(resolve => void b.libp2p.handle(PROTOCOL, stream => resolve(stream)))
    const out = await (await a.libp2p.dial(b.full)).newStream(PROTOCOL)
    out.send(randomBytes(1000))
    const stream = await incoming
    let received = 0
    stream.addEventListener('message', ({ data }) => {
      received += data.byteLength
    })
    await eventually(() => received === 1000, 'all received')
    out.abort(new Error('Given up'))
    await eventually(() => stream.status === 'reset', 'reset')
  })

  it('gives dials that need no punch port, and listeners that need none, to the package itself', async () => {
    const [a, b] = await Promise.all([
      startPeer(listenOn('127.0.0.1'), { fromPunchPort: () => false }),
      startPeer(listenOn('127.0.0.2'), { listen: 'native' })
    ])
    const connection = await a.libp2p.dial(b.full)
    assert.equal(a.transport.dialledFromPunchPort(connection), false)
    await eventually(() => connectionsTo(b, a).length === 1, 'connected')
    assert.notEqual(portOf(connectionsTo(b, a)[0]!.remoteAddr), portOf(a.address))
    await a.libp2p.hangUp(b.libp2p.peerId)
    await eventually(() => connectionsTo(b, a).length === 0, 'hung up')
    const [out] = await punchBoth(a, b)
    assert.equal(a.transport.dialledFromPunchPort(out!), true)
  })

  it('fails to listen where the port is taken, and leaves no socket open', async () => {
    // One that was never bound stands in no table of the kernel.
    const handles = () => process.getActiveResourcesInfo().filter(name => name === 'UDPWrap').length
    const before = handles()
    const taken = await boundSocket('127.0.0.1')
    try {
      await assert.rejects(startPeer([`/ip4/127.0.0.1/udp/${taken.address().port}/quic-v1`]))
    } finally {
      taken.close()
    }
    await eventually(() => handles() <= before, 'the sockets of the attempt are closed')
  })

  it('leaves no socket open after stop', async () => {
    const before = await udpSockets()
    const [a, b, c] = await Promise.all([
      startPeer([...listenOn('127.0.0.1'), ...listenOn('::1')]),
      startPeer(listenOn('127.0.0.2')),
      startPeer([])
    ])
    await Promise.all([a.libp2p.dial(b.full), c.libp2p.dial(a.full), c.libp2p.dial(b.full)])
    await Promise.all(started.splice(0).map(libp2p => libp2p.stop()))
    await eventually(async () => (await udpSockets()) <= before, 'as many sockets as before')
  })
})
