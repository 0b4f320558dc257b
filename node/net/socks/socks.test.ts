import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { multiaddr } from '@multiformats/multiaddr'
import { eventually, startPeer } from '../testing.ts'
import { connectBySocks, parseSocksProxy, type SocksProxy } from './socks.ts'
import { isLocalHost } from './socks-tcp.ts'

interface TestProxy extends AsyncDisposable {
  proxy: SocksProxy
  /** Hosts and ports it was asked for. */
  asked: string[]
  /** User and password it was told. */
  told: string[]
}

interface Behaviour {
  needsLogin?: boolean
  /** Status of its answer to CONNECT. */
  reply?: number
  /** Answers to everything instead. */
  says?: Buffer
}

/** A SOCKS5 server of IPv4, IPv6 and names: all of them are 127.0.0.1 to it. */
async function startProxy({ needsLogin = false, reply = 0, says }: Behaviour = {}): Promise<TestProxy> {
  const asked: string[] = []
  const told: string[] = []
  const sockets = new Set<Socket>()
  const server: Server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    let stage: 'hello' | 'login' | 'connect' = 'hello'
    const onData = (bytes: Buffer) => {
      if (says !== undefined) return socket.end(says)
      if (stage === 'hello') {
        stage = needsLogin ? 'login' : 'connect'
        socket.write(Buffer.from([5, needsLogin ? 2 : 0]))
      } else if (stage === 'login') {
        stage = 'connect'
        const userEnd = 2 + bytes[1]!
        told.push(bytes.toString('utf8', 2, userEnd), bytes.toString('utf8', userEnd + 1))
        socket.write(Buffer.from([1, told.at(-1) === 'right' ? 0 : 1]))
      } else {
        const kind = bytes[3]
        const host =
          kind === 1
            ? [...bytes.subarray(4, 8)].join('.')
            : kind === 4
              ? bytes.toString('hex', 4, 20)
              : bytes.toString('utf8', 5, 5 + bytes[4]!)
        const port = bytes.readUInt16BE(bytes.length - 2)
        asked.push(`${host}:${port}`)
        const answer = Buffer.from([5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
        if (reply !== 0) return socket.end(answer)
        socket.off('data', onData)
        socket.pause()
        const onward = connect(port, '127.0.0.1', () => {
          socket.write(answer)
          socket.pipe(onward).pipe(socket)
        })
        sockets.add(onward)
        onward.on('error', () => socket.destroy())
      }
    }
    socket.on('data', onData)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  return {
    proxy: { host: '127.0.0.1', port },
    asked,
    told,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    }
  }
}

const soon = () => AbortSignal.timeout(5000)

describe('a SOCKS5 proxy', function () {
  this.timeout(20_000)

  it('is read from its URL', () => {
    assert.deepEqual(parseSocksProxy('socks5://127.0.0.1:9050'), { host: '127.0.0.1', port: 9050 })
    assert.deepEqual(parseSocksProxy('socks5h://me:a%3Ab@[::1]:1080'), {
      host: '::1',
      port: 1080,
      username: 'me',
      password: 'a:b'
    })
    const wrong = ['127.0.0.1:9050', 'socks5://x', 'http://x:1', 'socks4://x:1', 'socks5://x:1/path', '']
    for (const text of [...wrong, 'socks5://me:100%@x:1', `socks5://${'a'.repeat(256)}@x:1`]) {
      assert.equal(parseSocksProxy(text), null, text)
    }
  })

  it('is asked for addresses and names as they are, and hands over what came with its answer', async () => {
    await using test = await startProxy()
    const greeter = createServer(socket => socket.end('hello')).listen(0, '127.0.0.1')
    await once(greeter, 'listening')
    const { port } = greeter.address() as { port: number }
    for (const host of ['11.0.0.1', '2001:db8::1:2', '::ffff:1.2.3.4', 'node.example']) {
      const socket = await connectBySocks(test.proxy, { host, port }, soon())
      const [bytes] = (await once(socket, 'data')) as [Buffer]
      assert.equal(String(bytes), 'hello')
      socket.destroy()
    }
    assert.deepEqual(test.asked, [
      `11.0.0.1:${port}`,
      `20010db8000000000000000000010002:${port}`,
      `00000000000000000000ffff01020304:${port}`,
      `node.example:${port}`
    ])
    greeter.close()
  })

  it('is told user and password when it wants them, and says why it refuses', async () => {
    await using login = await startProxy({ needsLogin: true })
    const target = { host: '11.0.0.1', port: login.proxy.port }
    const socket = await connectBySocks({ ...login.proxy, username: 'me', password: 'right' }, target, soon())
    socket.destroy()
    assert.deepEqual(login.told, ['me', 'right'])
    const refused = { code: 'PROXY_REFUSED' }
    await assert.rejects(connectBySocks({ ...login.proxy, username: 'me', password: 'wrong' }, target, soon()), refused)
    await assert.rejects(connectBySocks(login.proxy, target, soon()), refused)
    await using forbidding = await startProxy({ reply: 2 })
    await assert.rejects(connectBySocks(forbidding.proxy, target, soon()), /its rules forbid it/)
    for (const says of ['', 'HTTP/1.1 400 Bad Request\r\n', '\x05', '\x05\xff']) {
      await using strange = await startProxy({ says: Buffer.from(says, 'latin1') })
      await assert.rejects(connectBySocks(strange.proxy, target, soon()), refused, JSON.stringify(says))
    }
    await using silent = await startProxy({ says: Buffer.alloc(0) })
    const gone = AbortSignal.abort(new Error('no longer'))
    await assert.rejects(connectBySocks(silent.proxy, target, gone), /no longer/)
  })

  it('carries what a node dials to the internet, and nothing of its own network', async () => {
    await using test = await startProxy()
    await using far = await startPeer()
    const { proxy } = test
    // To the test every address is far; to a node those of its own network are not.
    await using near = await startPeer({ socks: { ...proxy, isDirect: () => false } })
    const [address] = far.network.multiaddrs()
    const { peerId, path } = await near.network.connect(address!)
    assert.deepEqual([peerId, path], [far.network.self, 'direct'])
    assert.deepEqual(test.asked, [`127.0.0.1:${multiaddr(address!).getComponents()[1]!.value}`])
    far.blobs.set('x', new Uint8Array(200_000).fill(7))
    const read = await near.network.retrieve(far.network.self, 'x', { signal: soon() })
    let bytes = 0
    for await (const piece of read.bytes) bytes += piece.length
    assert.equal(bytes, 200_000)

    await using usual = await startPeer({ socks: proxy })
    await usual.network.connect(address!)
    await eventually(() => usual.network.connections().length > 0, 'it is connected')
    assert.equal(test.asked.length, 1)
    for (const host of ['127.0.0.1', '::1', '10.1.2.3', '192.168.1.1', 'fd00::1', 'localhost']) {
      assert.equal(isLocalHost(host), true, host)
    }
    for (const host of ['11.0.0.1', '2a00::1', 'relay.example']) assert.equal(isLocalHost(host), false, host)
    // Nothing that cannot go by the proxy goes out at all.
    const ways = usual.node.parts.transportManager
      .getTransports()
      .flatMap(transport =>
        transport.dialFilter(
          ['/ip4/11.0.0.1/udp/1/quic-v1', '/ip4/11.0.0.1/tcp/1/ws', '/ip4/11.0.0.1/tcp/1'].map(text => multiaddr(text))
        )
      )
    assert.deepEqual(ways.map(String), ['/ip4/11.0.0.1/tcp/1'])
  })
})
