import assert from 'node:assert/strict'
import { randomFillSync } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import { Worker } from 'node:worker_threads'
import { eventually } from '../testing.ts'
import { punchDatagram } from './datagrams.ts'
import { FlowsFullError } from './errors.ts'
import { createUdpMux } from './udp-mux.ts'
import type { UdpMux, UdpMuxInit, UdpMuxLimits } from './udp-mux.types.ts'

const INITIAL_BYTES = 1200

async function boundSocket(host = '127.0.0.1'): Promise<Socket> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  await new Promise<void>(resolve => socket.bind(0, host, resolve))
  return socket
}

/** What an Initial of QUIC version 1 looks like from outside. */
function initial(destination = 'destin01', source = 'source01'): Buffer {
  const datagram = randomFillSync(Buffer.alloc(INITIAL_BYTES))
  datagram[0] = 0xc0
  datagram.writeUInt32BE(1, 1)
  datagram[5] = 8
  datagram.write(destination, 6, 'latin1')
  datagram[14] = 8
  datagram.write(source, 15, 'latin1')
  return datagram
}

/** One with a short header, and the fixed bit clear as RFC 9287 allows. */
const short = (destination: string): Buffer =>
  Buffer.concat([Buffer.of(0x01), Buffer.from(destination, 'latin1'), Buffer.alloc(30)])

describe('the UDP multiplexer', () => {
  let mux: UdpMux
  let server: Socket
  const opened: Socket[] = []
  const muxes: UdpMux[] = []

  const open = async (host?: string): Promise<Socket> => {
    const socket = await boundSocket(host)
    opened.push(socket)
    return socket
  }
  const make = async (
    limits: Partial<UdpMuxLimits> = {},
    host = '127.0.0.1',
    writeOuter?: UdpMuxInit['writeOuter']
  ): Promise<UdpMux> => {
    const made = createUdpMux({
      host,
      port: 0,
      serverPort: () => server.address().port,
      client: { port: undefined },
      limits,
      ...(writeOuter === undefined ? {} : { writeOuter })
    })
    muxes.push(made)
    await made.bound
    return made
  }
  const sendTo = (socket: Socket, datagram: Uint8Array) => socket.send(datagram, mux.port, mux.host)
  const heardBy = (socket: Socket): Buffer[] => {
    const heard: Buffer[] = []
    socket.on('message', datagram => heard.push(datagram))
    return heard
  }

  beforeEach(async () => {
    server = await open()
    mux = await make()
  })

  afterEach(async () => {
    await Promise.all(muxes.splice(0).map(each => each.close()))
    for (const socket of opened.splice(0)) socket.close()
  })

  for (const host of ['127.0.0.1', '::1']) {
    it(`brings a stranger’s Initial to the server, and the answer back from the port it was sent to (${host})`, async () => {
      mux = await make({}, host)
      const peer = await open(host)
      const answers = new Promise<number>(resolve => peer.once('message', (_, from) => resolve(from.port)))
      server.once('message', (_, from) => server.send(Buffer.from('answer'), from.port, from.address))
      sendTo(peer, initial())
      assert.equal(await answers, mux.port)
      assert.equal(mux.newcomerCount, 1)
    })
  }

  it('makes no flow of anything that is not a full Initial of version 1', async () => {
    const peer = await open()
    const strays: number[] = []
    mux.onStray(({ port }) => strays.push(port))
    const old = initial()
    old.writeUInt32BE(0x6b3343cf, 1)
    const bogus = [
      Buffer.alloc(0),
      Buffer.of(0xc0),
      punchDatagram(),
      initial().subarray(0, 1199),
      old,
      short('destin01')
    ]
    for (const datagram of bogus) sendTo(peer, datagram)
    await eventually(() => strays.length === bogus.length, 'all heard')
    assert.deepEqual([mux.flowCount, new Set(strays).size], [0, 1])
  })

  it('keeps the flows of two peers apart while one of them gets a socket of its own', async () => {
    mux = await make()
    const heardOn = new Map<number, Set<string>>()
    const counts = new Map<number, number>()
    server.on('message', (datagram, { port }) => {
      heardOn.set(port, (heardOn.get(port) ?? new Set()).add(datagram.toString('latin1', 6, 14)))
      counts.set(port, (counts.get(port) ?? 0) + 1)
    })
    const legOf = (id: string) => [...heardOn].find(([, ids]) => ids.has(id))?.[0]
    // Others send all the time, from a thread of their own: also in the moment when the socket is bound and not connected yet.
    const others = new Worker(
      `const { workerData: { port, datagram, sockets } } = require('node:worker_threads')
       const { createSocket } = require('node:dgram')
       const all = Array.from({ length: sockets }, () => createSocket('udp4'))
       const send = () => { for (const one of all) one.send(datagram, port, '127.0.0.1'); setImmediate(send) }
       send()`,
      { eval: true, workerData: { port: mux.port, datagram: initial('theother'), sockets: 16 } }
    )
    try {
      await eventually(() => legOf('theother') !== undefined, 'the others are let in')
      for (let round = 10; round < 40; round++) {
        const id = `round-${round}`
        const near = await open()
        const ask = () => {
          sendTo(near, initial(id))
          return legOf(id) !== undefined
        }
        await eventually(ask, 'another is let in')
        const leg = legOf(id)!
        mux.accept(leg)
        const before = counts.get(leg)!
        for (let n = 0; n < 200 && counts.get(leg)! < before + 20; n++) {
          sendTo(near, initial(id))
          await new Promise(setImmediate)
        }
        assert.deepEqual([...heardOn.get(leg)!], [id])
      }
    } finally {
      await others.terminate()
    }
  })

  it('outlives datagrams too short for a header, with both legs open', async () => {
    const peer = await open()
    mux = await make()
    await mux.dial({ host: '127.0.0.1', port: peer.address().port })
    const heard = heardBy(server)
    sendTo(peer, initial())
    await eventually(() => heard.length === 1, 'the leg of the server is open')
    for (let length = 0; length < 8; length++) sendTo(peer, Buffer.alloc(length, 0x80))
    const mark = initial('lastword')
    sendTo(peer, mark)
    await eventually(() => heard.some(datagram => datagram.equals(mark)), 'what comes after them is heard')
  })

  it('keeps the table bounded under a flood, for one source and for all', async () => {
    mux = await make({ maxNewcomers: 12, maxNewcomersPerSource: 4, maxFlows: 100 })
    const flood = async (host: string, count: number) => {
      for (const socket of await Promise.all(Array.from({ length: count }, () => open(host)))) sendTo(socket, initial())
    }
    await flood('127.0.0.1', 20)
    await eventually(() => mux.dropped === 16, 'all but four from one source dropped')
    assert.equal(mux.flowCount, 4)
    for (let last = 2; last < 8; last++) await flood(`127.0.0.${last}`, 4)
    // The newest pushed the oldest out.
    await eventually(() => mux.newcomerCount === 12, 'as many newcomers as may be')
    assert.equal(mux.flowCount, 12)
    const late = await open('127.0.0.9')
    const heard = heardBy(server)
    const mark = initial('latecome')
    sendTo(late, mark)
    await eventually(() => heard.some(datagram => datagram.equals(mark)), 'the last one let in all the same')
    assert.equal(mux.flowCount, 12)
  })

  it('refuses dials when all flows are in use', async () => {
    mux = await make({ maxFlows: 2 })
    await mux.dial({ host: '127.0.0.1', port: 1 })
    await mux.dial({ host: '127.0.0.1', port: 2 })
    await assert.rejects(mux.dial({ host: '127.0.0.1', port: 3 }), FlowsFullError)
    const again = await mux.dial({ host: '127.0.0.1', port: 2 })
    assert.equal(mux.flowCount, 2)
    again.release()
  })

  it('ends flows that finish no handshake, that nobody holds any more, and adopted ones that nobody dials', async () => {
    mux = await make({ handshakeMs: 50, lingerMs: 50, adoptedIdleMs: 50 })
    const [peer, adopted] = [await open(), await boundSocket()]
    sendTo(peer, initial())
    const way = await mux.dial({ host: '127.0.0.1', port: 9 })
    const closed = new Promise<void>(resolve => adopted.once('close', () => resolve()))
    mux.adopt(adopted, { host: '127.0.0.1', port: 10 }, () => false)
    await closed
    await eventually(() => mux.newcomerCount === 0, 'the newcomer gone')
    assert.equal(mux.flowCount, 1)
    way.release()
    await eventually(() => mux.flowCount === 0, 'the dialled one gone')
  })

  it('ends the flow of a dial that was given up as soon as a farewell may have passed, also when an answer had come', async () => {
    mux = await make({ lingerMs: 50, adoptedIdleMs: 60_000 })
    const [peer, client] = [await open(), await open()]
    const heard = heardBy(client)
    const way = await mux.dial({ host: '127.0.0.1', port: peer.address().port })
    const arrived = new Promise(resolve => peer.once('message', resolve))
    client.send(initial('theirs01', 'ours0001'), way.legPort, '127.0.0.1')
    await arrived
    sendTo(peer, initial('ours0001', 'theirs01'))
    await eventually(() => heard.length === 1, 'an answer')
    way.release(true)
    await eventually(() => mux.flowCount === 0, 'the flow gone')
  })

  it('takes on a leg only what its native side sends', async () => {
    const [peer, stranger] = [await open(), await open()]
    const heard = heardBy(peer)
    const leg = new Promise<number>(resolve => server.once('message', (_, from) => resolve(from.port)))
    sendTo(peer, initial())
    const port = await leg
    stranger.send(Buffer.from('from a stranger'), port, '127.0.0.1')
    server.send(Buffer.from('from the server'), port, '127.0.0.1')
    await eventually(() => heard.length > 0, 'heard the server')
    assert.deepEqual(heard.map(String), ['from the server'])
  })

  it('tells the flows of two peers that dialled each other apart by their connection ids', async () => {
    const [peer, client] = [await open(), await open()]
    const [toServer, toClient] = [heardBy(server), heardBy(client)]
    const way = await mux.dial({ host: '127.0.0.1', port: peer.address().port })
    const arrived = new Promise(resolve => peer.once('message', resolve))
    client.send(initial('theirs01', 'ours0001'), way.legPort, '127.0.0.1')
    await arrived
    const theirInitial = initial('unknown1', 'theirs02')
    sendTo(peer, theirInitial)
    await eventually(() => toServer.length === 1, 'their Initial at the server')
    for (const datagram of [initial('ours0001', 'theirs01'), short('ours0001')]) sendTo(peer, datagram)
    await eventually(() => toClient.length === 2, 'their answers at the client')
    assert.equal(toServer.length, 1)
    sendTo(peer, short('nobodys1'))
    await eventually(() => toClient.length === 3 && toServer.length === 2, 'what nobody knows at both')
  })

  it('goes on over a socket of its own once a connection holds the flow, and loses nothing in between', async () => {
    const peer = await open()
    const heard = heardBy(server)
    let leg = 0
    server.on('message', (_, from) => {
      leg = from.port
    })
    sendTo(peer, initial())
    await eventually(() => leg > 0, 'let in')
    const held = mux.accept(leg)!
    const answers = heardBy(peer)
    for (let round = 1; round <= 50; round++) {
      const before = answers.length
      sendTo(peer, short('anything'))
      await eventually(() => heard.length === round + 1, 'heard')
      server.send(Buffer.from('back'), leg, '127.0.0.1')
      await eventually(() => answers.length === before + 1, 'answered')
    }
    // Others still reach the external socket.
    const other = await open()
    sendTo(other, initial())
    await eventually(() => mux.newcomerCount === 1, 'another one let in')
    held.release(true)
  })

  for (const code of ['EINVAL', 'ENETUNREACH']) {
    it(`goes on by the external socket when the own address of a flow’s socket is gone (${code})`, async function () {
      if (process.platform !== 'linux') this.skip()
      let failed = 0
      mux = await make({}, '127.0.0.1', (_fd, _datagram, onError) => {
        failed++
        onError?.(Object.assign(new Error(code), { code }))
        return false
      })
      const peer = await open()
      const [heard, answers] = [heardBy(server), heardBy(peer)]
      let leg = 0
      server.on('message', (_, from) => {
        leg = from.port
      })
      sendTo(peer, initial())
      await eventually(() => leg > 0, 'let in')
      mux.accept(leg)
      await eventually(() => {
        if (failed === 0) server.send(Buffer.from('lost'), leg, '127.0.0.1')
        return failed > 0
      }, 'the socket of the flow was written to')
      await eventually(() => {
        server.send(Buffer.from('back'), leg, '127.0.0.1')
        return answers.some(answer => answer.equals(Buffer.from('back')))
      }, 'answered')
      assert.equal(failed, 1)
      const before = heard.length
      sendTo(peer, short('anything'))
      await eventually(() => heard.length > before, 'still heard')
    })
  }

  it('repeats the first flight of a punch until an answer comes', async () => {
    const [peer, client] = [await open(), await open()]
    const heard = heardBy(peer)
    const way = await mux.dial({ host: '127.0.0.1', port: peer.address().port }, true)
    client.send(initial(), way.legPort, '127.0.0.1')
    await eventually(() => heard.length >= 3, 'sent again')
    assert.ok(heard.every(datagram => datagram.equals(heard[0]!)))
    const answered = new Promise(resolve => client.once('message', resolve))
    sendTo(peer, initial('source01', 'theirs01'))
    await answered
    const after = heard.length
    // Another one that nobody answers is the clock.
    const silent = await open()
    const repeated = heardBy(silent)
    const other = await mux.dial({ host: '127.0.0.1', port: silent.address().port }, true)
    client.send(initial(), other.legPort, '127.0.0.1')
    await eventually(() => repeated.length >= 4, 'the other one sent again')
    assert.ok(heard.length <= after + 1)
  })

  it('repeats to a silent address only the first datagram, a few times, with growing gaps', async () => {
    const [silent, client] = [await open(), await open()]
    const heard = heardBy(silent)
    const flight = [initial('first001'), initial('second01'), initial('third001')]
    const way = await mux.dial({ host: '127.0.0.1', port: silent.address().port }, true)
    for (const datagram of flight) client.send(datagram, way.legPort, '127.0.0.1')
    const timesOf = (datagram: Buffer) => heard.filter(each => each.equals(datagram)).length
    await eventually(() => timesOf(flight[0]!) >= 9, 'sent once and repeated eight times')
    // Another one, as the clock: nothing more has come while it went through nearly all of its own.
    const next = await open()
    const repeated = heardBy(next)
    const other = await mux.dial({ host: '127.0.0.1', port: next.address().port }, true)
    client.send(initial(), other.legPort, '127.0.0.1')
    await eventually(() => repeated.length >= 7, 'the other one sent again')
    assert.deepEqual(flight.map(timesOf), [9, 1, 1])
  })

  it('does not share its port with another program', async () => {
    const sockets = () => process.getActiveResourcesInfo().filter(name => name === 'UDPWrap').length
    const before = sockets()
    const second = createUdpMux({ host: '127.0.0.1', port: mux.port, client: { port: undefined } })
    await assert.rejects(second.bound, { code: 'EADDRINUSE' })
    await second.close()
    await eventually(() => sockets() <= before, 'the sockets of the attempt are closed')
  })
})
