import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { identify } from '@libp2p/identify'
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { yamux } from '@libp2p/yamux'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { eventually } from '../testing.ts'
import { PunchFailedError } from './errors.ts'
import { punchingTransport } from './punch.types.ts'
import { discard } from './punch-port.ts'
import { MAX_REFUSED } from './socket-errors.ts'
import { type PunchingTcp, type PunchingTcpInit, punchingTcp } from './tcp.ts'

const ECHO = '/test/echo/1'
const TEST_MS = 5_000

interface Peer extends AsyncDisposable {
  libp2p: Libp2p
  transport: PunchingTcp
  /** Where the others punch to. */
  at: (host?: string) => Promise<Multiaddr>
}

async function startPeer(init: PunchingTcpInit & { listen?: string[] } = {}): Promise<Peer> {
  let transport: PunchingTcp | undefined
  const { listen = [], ...rest } = init
  const libp2p = await createLibp2p({
    addresses: { listen },
    transports: [
      components => {
        transport = punchingTcp(rest)(components)
        return transport
      }
    ],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { identify: identify(), ping: ping() }
  })
  await libp2p.handle(ECHO, async stream => {
    for await (const chunk of stream) stream.send(chunk)
    await stream.close()
  })
  const built = transport as PunchingTcp
  return {
    libp2p,
    transport: built,
    async at(host = '127.0.0.1') {
      const family = host.includes(':') ? 'ip6' : 'ip4'
      return multiaddr(`/${family}/${host}/tcp/${await built.punchPort()}/p2p/${libp2p.peerId}`)
    },
    [Symbol.asyncDispose]: async () => libp2p.stop()
  }
}

function signal(ms = TEST_MS): AbortSignal {
  return AbortSignal.timeout(ms)
}

/** Both sides at once; `a` is the initiator. */
async function punchBoth(a: Peer, b: Peer, host?: string): Promise<[Connection, Connection]> {
  const [toA, toB] = await Promise.all([a.at(host), b.at(host)])
  return Promise.all([
    a.transport.punch(toB, { initiator: true, signal: signal() }),
    b.transport.punch(toA, { initiator: false, signal: signal() })
  ])
}

async function echo(connection: Connection, text: string): Promise<string> {
  const stream: Stream = await connection.newStream(ECHO)
  stream.send(new TextEncoder().encode(text))
  await stream.close()
  let heard = ''
  for await (const chunk of stream) heard += new TextDecoder().decode(chunk.subarray())
  return heard
}

/** TCP handles of this process, once those that are closing have closed. */
async function settledSockets(): Promise<number> {
  for (let turns = 0; turns < 10; turns += 1) await new Promise(setImmediate)
  return sockets()
}

const sockets = () =>
  process.getActiveResourcesInfo().filter(kind => /^(TCPSocketWrap|TCPServerWrap|TCPConnectWrap)$/.test(kind)).length

async function reasonOf(punch: Promise<unknown>): Promise<string> {
  const error = await punch.then(
    () => assert.fail('it should have failed'),
    (thrown: unknown) => thrown
  )
  assert.ok(error instanceof PunchFailedError, String(error))
  assert.equal(error.code, 'PUNCH_FAILED')
  return error.reason
}

async function listenOn(host: string, onSocket: (socket: Socket) => void): Promise<Server & Disposable> {
  const server = createServer(onSocket).listen(0, host)
  await once(server, 'listening')
  return Object.assign(server, { [Symbol.dispose]: () => void server.close() })
}

/** What a stranger from another address of this machine meets at a port: the code of its error. */
async function knock(port: number): Promise<string | undefined> {
  const stranger = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.9' })
  let code: string | undefined
  stranger.on('error', error => {
    code = (error as NodeJS.ErrnoException).code
  })
  await new Promise(resolve => stranger.once('close', resolve))
  return code
}

const portOf = (server: Server) => (server.address() as AddressInfo).port

describe('punching over TCP', () => {
  it('connects two peers that punch at the same time, twenty in a row, with streams both ways', async () => {
    for (let round = 0; round < 20; round += 1) {
      await using a = await startPeer()
      await using b = await startPeer()
      const [ofA, ofB] = await punchBoth(a, b)
      assert.equal(ofA.direction, 'outbound')
      assert.equal(ofB.direction, 'inbound')
      const [there, back] = await Promise.all([echo(ofA, 'from a'), echo(ofB, 'from b')])
      assert.deepEqual([there, back], ['from a', 'from b'])
    }
  })

  it('makes a connection like any other: listed, announced, direct, and known to leave from the punch port', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    const opened: Connection[] = []
    b.libp2p.addEventListener('connection:open', event => opened.push(event.detail))
    const [ofA, ofB] = await punchBoth(a, b)
    for (const [peer, other, connection] of [
      [a, b, ofA],
      [b, a, ofB]
    ] as const) {
      assert.ok(connection.direct)
      assert.equal(connection.limits, undefined)
      assert.ok(connection.remotePeer.equals(other.libp2p.peerId))
      assert.deepEqual(peer.libp2p.getConnections(other.libp2p.peerId), [connection])
      assert.ok(peer.transport.dialledFromPunchPort(connection))
    }
    assert.deepEqual(opened, [ofB])
    assert.ok(punchingTransport in a.transport)
    assert.equal(a.transport.punchProtocol, 'tcp')
  })

  it('works over IPv6', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    const [ofA, ofB] = await punchBoth(a, b, '::1')
    assert.deepEqual(await Promise.all([echo(ofA, 'six'), echo(ofB, 'seven')]), ['six', 'seven'])
  })

  it('waits for a peer that begins later, whichever side it is', async () => {
    for (const initiator of [true, false]) {
      await using early = await startPeer()
      await using late = await startPeer()
      const first = early.transport.punch(await late.at(), { initiator, signal: signal() })
      const port = await early.transport.punchPort()
      await eventually(async () => (await knock(port)) === 'ECONNRESET', 'it listens')
      const second = late.transport.punch(await early.at(), { initiator: !initiator, signal: signal() })
      const [one, two] = await Promise.all([first, second])
      assert.equal(await echo(one, 'late'), 'late')
      assert.equal(await echo(two, 'later'), 'later')
    }
  })

  it('takes what comes from another port of the punched address, and keeps the roles', async () => {
    for (const initiator of [true, false]) {
      await using full = await startPeer()
      await using symmetric = await startPeer()
      // Nobody answers at the address that the full cone side knows: only what it accepts can work.
      using silent = await listenOn('127.0.0.2', () => undefined)
      const peerId = symmetric.libp2p.peerId
      const wrong = multiaddr(`/ip4/127.0.0.1/tcp/${portOf(silent)}/p2p/${peerId}`)
      const [ofFull, ofSymmetric] = await Promise.all([
        full.transport.punch(wrong, { initiator, signal: signal() }),
        symmetric.transport.punch(await full.at(), { initiator: !initiator, signal: signal() })
      ])
      assert.equal(ofFull.direction, initiator ? 'outbound' : 'inbound')
      assert.equal(ofSymmetric.direction, initiator ? 'inbound' : 'outbound')
      assert.deepEqual(await Promise.all([echo(ofFull, 'x'), echo(ofSymmetric, 'y')]), ['x', 'y'])
      assert.equal(ofFull.remoteAddr.toString(), (await symmetric.at()).toString())
    }
  })

  it('ends with one connection when both sides try several addresses of each other', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    const [toA, toB] = await Promise.all([Promise.all([a.at(), a.at('::1')]), Promise.all([b.at(), b.at('::1')])])
    const all = await Promise.all([
      ...toB.map(address => a.transport.punch(address, { initiator: true, signal: signal() })),
      ...toA.map(address => b.transport.punch(address, { initiator: false, signal: signal() }))
    ])
    assert.equal(all[0], all[1])
    assert.equal(all[2], all[3])
    await eventually(() => a.libp2p.getConnections().length === 1, 'one connection at a')
    await eventually(() => b.libp2p.getConnections().length === 1, 'one connection at b')
    assert.equal(await echo(all[0] as Connection, 'one'), 'one')
    assert.equal(await echo(all[2] as Connection, 'two'), 'two')
  })

  it('tells peers behind one address apart', async () => {
    await using hub = await startPeer()
    await using b = await startPeer()
    await using c = await startPeer()
    await using d = await startPeer()
    const toHub = await hub.at()
    for (const initiator of [true, false]) {
      const made = await Promise.all(
        [b, c, d].map(async peer => {
          const [there, back] = await Promise.all([
            peer.transport.punch(toHub, { initiator: !initiator, signal: signal() }),
            hub.transport.punch(await peer.at(), { initiator, signal: signal() })
          ])
          assert.ok(back.remotePeer.equals(peer.libp2p.peerId))
          assert.ok(there.remotePeer.equals(hub.libp2p.peerId))
          return there
        })
      )
      await Promise.all(made.map(async connection => connection.abort(new Error('next'))))
      await eventually(() => hub.libp2p.getConnections().length === 0, 'the hub is alone')
    }
  })

  it('tells peers apart that come from unknown ports of one address, whatever their roles', async () => {
    await using hub = await startPeer()
    const toHub = await hub.at()
    for (const roles of [
      [true, true, true, true],
      [false, false, false, false],
      [true, false, true, false]
    ]) {
      await Promise.all(
        roles.map(async (initiator, index) => {
          await using peer = await startPeer()
          // Nobody listens on the first ports, so that only what the hub accepts can work.
          const wrong = multiaddr(`/ip4/127.0.0.1/tcp/${index + 1}/p2p/${peer.libp2p.peerId}`)
          const [there, back] = await Promise.all([
            peer.transport.punch(toHub, { initiator: !initiator, signal: signal() }),
            hub.transport.punch(wrong, { initiator, signal: signal() })
          ])
          assert.ok(back.remotePeer.equals(peer.libp2p.peerId))
          assert.equal(back.direction, initiator ? 'outbound' : 'inbound')
          assert.equal(await echo(there, 'mine'), 'mine')
        })
      )
    }
  })

  it('keeps the connection when the signal of the punch aborts later', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    const controller = new AbortController()
    const [ofA] = await Promise.all([
      a.transport.punch(await b.at(), { initiator: true, signal: controller.signal }),
      b.transport.punch(await a.at(), { initiator: false, signal: controller.signal })
    ])
    controller.abort()
    assert.equal(await echo(ofA, 'alive'), 'alive')
  })

  it('can be done again at once after the connection was closed', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    for (const end of ['close', 'abort', 'close'] as const) {
      const [connection] = await punchBoth(a, b)
      assert.equal(await echo(connection, end), end)
      if (end === 'close') await connection.close()
      else connection.abort(new Error('again'))
      await eventually(() => b.libp2p.getConnections().length === 0, 'b saw the end')
    }
    const [last] = await punchBoth(a, b)
    assert.equal(await echo(last, 'again'), 'again')
  })
})

describe('the punch port', () => {
  it('is where ordinary dials leave from, one port for all', async () => {
    await using a = await startPeer()
    await using b = await startPeer({ listen: ['/ip4/127.0.0.1/tcp/0', '/ip6/::1/tcp/0'] })
    await using c = await startPeer({ listen: ['/ip4/127.0.0.1/tcp/0'] })
    const seen: string[] = []
    for (const peer of [b, c]) {
      peer.libp2p.addEventListener('connection:open', event =>
        seen.push(event.detail.remoteAddr.decapsulate('/p2p').toString())
      )
    }
    for (const address of [...b.libp2p.getMultiaddrs(), ...c.libp2p.getMultiaddrs()]) {
      const connection = await a.libp2p.dial(address, { force: true })
      assert.ok(a.transport.dialledFromPunchPort(connection))
      await connection.close()
    }
    const port = await a.transport.punchPort()
    await eventually(() => seen.length === 3, 'all three arrived')
    assert.deepEqual(seen, [`/ip4/127.0.0.1/tcp/${port}`, `/ip6/::1/tcp/${port}`, `/ip4/127.0.0.1/tcp/${port}`])
  })

  it('is given up by an ordinary dial that cannot have it, and that is remembered', async () => {
    await using a = await startPeer()
    await using b = await startPeer({ listen: ['/ip4/127.0.0.1/tcp/0'] })
    const address = b.libp2p.getMultiaddrs()[0] as Multiaddr
    const first = await a.libp2p.dial(address)
    const second = await a.libp2p.dial(address.decapsulate('/p2p'), { force: true })
    assert.ok(a.transport.dialledFromPunchPort(first))
    assert.ok(!a.transport.dialledFromPunchPort(second))
    assert.equal(await echo(second, 'still'), 'still')
  })

  it('is no obstacle to dials when somebody else listens on it', async () => {
    using taken = await listenOn('127.0.0.1', () => undefined)
    await using a = await startPeer({ punchPort: portOf(taken) })
    await using b = await startPeer({ listen: ['/ip4/127.0.0.1/tcp/0'] })
    const connection = await a.libp2p.dial(b.libp2p.getMultiaddrs())
    assert.ok(!a.transport.dialledFromPunchPort(connection))
    const punch = a.transport.punch(await b.at(), { initiator: true, signal: signal(300) })
    assert.equal(await reasonOf(punch), 'port-in-use')
  })

  it('throws out strangers while a punch listens, and is closed to everybody otherwise', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    const port = await a.transport.punchPort()
    const controller = new AbortController()
    const punch = a.transport.punch(await b.at(), { initiator: false, signal: controller.signal })
    const outcome = reasonOf(punch)
    await eventually(async () => (await knock(port)) === 'ECONNRESET', 'a stranger is thrown out')
    controller.abort()
    assert.equal(await outcome, 'aborted')
    assert.equal(await knock(port), 'ECONNREFUSED')
  })

  it('lets a dial outlive the signal it was made with', async () => {
    await using a = await startPeer()
    await using b = await startPeer({ listen: ['/ip4/127.0.0.1/tcp/0'] })
    const controller = new AbortController()
    const upgrader = { upgradeOutbound: async (connection: unknown) => connection } as never
    const raw = (await a.transport.dial(b.libp2p.getMultiaddrs()[0] as Multiaddr, {
      signal: controller.signal,
      upgrader
    })) as unknown as { status: string; abort: (error: Error) => void }
    controller.abort()
    await new Promise(setImmediate)
    assert.equal(raw.status, 'open')
    raw.abort(new Error('done'))
  })
})

describe('a punch that fails', () => {
  it('names its cause', async () => {
    await using a = await startPeer({ punchTimeoutMs: 400 })
    await using b = await startPeer()
    const nobody = await b.at()
    const never = new AbortController().signal
    assert.equal(await reasonOf(a.transport.punch(nobody, { initiator: true, signal: never })), 'refused')
    assert.equal(await reasonOf(a.transport.punch(nobody, { initiator: true, signal: signal(100) })), 'refused')
    assert.equal(await reasonOf(a.transport.punch(nobody, { initiator: true, signal: AbortSignal.abort() })), 'aborted')
    const broadcast = multiaddr(`/ip4/255.255.255.255/tcp/1/p2p/${b.libp2p.peerId}`)
    assert.equal(await reasonOf(a.transport.punch(broadcast, { initiator: true, signal: never })), 'unreachable')
    for (const text of [
      `/ip4/127.0.0.1/udp/1/quic-v1/p2p/${b.libp2p.peerId}`,
      `/dns4/localhost/tcp/1/p2p/${b.libp2p.peerId}`,
      '/ip4/127.0.0.1/tcp/1'
    ]) {
      assert.equal(
        await reasonOf(a.transport.punch(multiaddr(text), { initiator: true, signal: never })),
        'no-transport'
      )
    }
  })

  it('knocks a few times at a port that refuses, then only listens', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    const toB = await b.at()
    const port = await b.transport.punchPort()
    let connects = 0
    const onSocket = (message: unknown) => {
      const { socket } = message as { socket: Socket }
      socket.once('connectionAttempt', (_ip: string, to: number) => {
        if (to === port) connects += 1
      })
    }
    subscribe('net.client.socket', onSocket)
    try {
      const punch = a.transport.punch(toB, { initiator: true, signal: signal(6_000) })
      const outcome = reasonOf(punch)
      await eventually(async () => (await knock(await a.transport.punchPort())) === 'ECONNRESET', 'it listens')
      assert.equal(await outcome, 'refused')
    } finally {
      unsubscribe('net.client.socket', onSocket)
    }
    // One of them is the second SYN, from another port.
    assert.equal(connects, MAX_REFUSED + 1)
  })

  it('meets a peer that begins after the last knock', async () => {
    await using early = await startPeer()
    await using late = await startPeer()
    let knocks = 0
    const port = await late.transport.punchPort()
    const onSocket = (message: unknown) => {
      const { socket } = message as { socket: Socket }
      socket.once('connectionAttempt', (_ip: string, to: number) => {
        if (to === port) knocks += 1
      })
    }
    subscribe('net.client.socket', onSocket)
    const first = early.transport.punch(await late.at(), { initiator: true, signal: signal(8_000) })
    await eventually(() => knocks === MAX_REFUSED + 1, 'it has knocked for the last time', 8_000)
    unsubscribe('net.client.socket', onSocket)
    const second = late.transport.punch(await early.at(), { initiator: false, signal: signal() })
    await Promise.all([first, second])
  })

  it('is a failed handshake when somebody else answers', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    await using other = await startPeer({ listen: ['/ip4/127.0.0.1/tcp/0'] })
    const where = (other.libp2p.getMultiaddrs()[0] as Multiaddr).decapsulate('/p2p')
    const punch = a.transport.punch(where.encapsulate(`/p2p/${b.libp2p.peerId}`), {
      initiator: true,
      signal: signal(600)
    })
    assert.equal(await reasonOf(punch), 'handshake-failed')
    await eventually(() => other.libp2p.getConnections().length === 0, 'the other has no connection left')
  })

  it('leaves nothing open, at whichever step it ends', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    const accepted = new Set<Socket>()
    using mute = await listenOn('127.0.0.1', socket => {
      accepted.add(socket)
      socket.on('error', () => undefined)
      socket.once('close', () => accepted.delete(socket))
      socket.resume()
    })
    const toMute = multiaddr(`/ip4/127.0.0.1/tcp/${portOf(mute)}/p2p/${b.libp2p.peerId}`)
    await Promise.all([a.at(), b.at()])
    const before = await settledSockets()
    // Before the connect, while connecting, while refused, in the handshake as client and as server.
    for (const initiator of [true, false]) {
      const early = new AbortController()
      const first = reasonOf(a.transport.punch(toMute, { initiator, signal: early.signal }))
      early.abort()
      assert.equal(await first, 'aborted')

      const refused = new AbortController()
      const second = reasonOf(a.transport.punch(await b.at(), { initiator, signal: refused.signal }))
      await new Promise(setImmediate)
      refused.abort()
      assert.equal(await second, 'aborted')

      const silent = new AbortController()
      const third = reasonOf(a.transport.punch(toMute, { initiator, signal: silent.signal }))
      await eventually(() => accepted.size > 0, 'it connected')
      silent.abort()
      assert.equal(await third, 'aborted')
      await eventually(() => accepted.size === 0, 'its socket is gone')
    }
    await eventually(() => sockets() <= before, 'as many sockets as before')
    assert.deepEqual(a.libp2p.getConnections(), [])
  })

  it('ends with its node', async () => {
    const a = await startPeer()
    await using b = await startPeer()
    const outcome = reasonOf(a.transport.punch(await b.at(), { initiator: true, signal: signal() }))
    await a.libp2p.stop()
    assert.equal(await outcome, 'aborted')
  })

  it('closes a socket that is thrown away while the far end closes it', async () => {
    const before = await settledSockets()
    {
      using server = await listenOn('127.0.0.1', socket => socket.on('error', () => undefined).end('bye'))
      // Some of these turns are while Node shuts its own end down.
      for (let turns = 0; turns < 10; turns += 1) {
        const socket = connect(portOf(server), '127.0.0.1').resume()
        await new Promise<void>(resolve => socket.once('end', () => resolve()))
        for (let turn = 0; turn < turns; turn += 1) await new Promise<void>(resolve => process.nextTick(resolve))
        discard(socket)
        discard(socket)
      }
    }
    await eventually(() => sockets() <= before, 'as many sockets as before', 2_000)
  })

  it('does not leak, and a peer is as free as before after many', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    await Promise.all([a.at(), b.at()])
    const before = await settledSockets()
    for (let round = 0; round < 20; round += 1) {
      const [ofA] = await punchBoth(a, b)
      ofA.abort(new Error('next'))
      await eventually(() => b.libp2p.getConnections().length === 0, 'b saw the end')
    }
    await eventually(() => sockets() <= before, 'as many sockets as before')
  })
})
