/** The page SDK against real nodes and liars, in one file: a relay and nodes are dear to start, and its parts share them. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { multiaddr } from '@multiformats/multiaddr'
import { cidOf } from '../node/index.ts'
import { BUNDLE_MAX_BYTES, BUNDLE_MAX_GZIP_BYTES, bundleBrowser } from './browser/bundle.ts'
import { dialRule, findRelays } from './browser/relays.ts'
import { type BrowserClient, createBrowserClient, type StoredBlob } from './browser.ts'
import { MAX_NODES_ASKED } from './storage.ts'
import {
  eventually,
  LOOPBACK_TCP,
  type LoopbackNode,
  type RelayProcess,
  startLiar,
  startRelayProcess,
  startStorageNode
} from './testing.ts'

const MIB = 1024 * 1024
const PEER = '12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf'

async function* streamed(source: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  yield* source as unknown as AsyncIterable<Uint8Array>
}

async function drained(source: ReadableStream<Uint8Array>): Promise<number> {
  let got = 0
  for await (const piece of streamed(source)) got += piece.byteLength
  return got
}

describe('the browser client', function () {
  this.timeout(60_000)
  let relay: RelayProcess
  let nodes: LoopbackNode[]
  const clients: BrowserClient[] = []

  before(async () => {
    relay = await startRelayProcess()
    nodes = await Promise.all(['alpha', 'beta'].map(name => startStorageNode(name, relay)))
  })
  afterEach(() => Promise.all(clients.splice(0).map(client => client.close())))
  after(async () => {
    await Promise.all(nodes.map(node => node[Symbol.asyncDispose]()))
    await relay[Symbol.asyncDispose]()
  })

  /** Once it knows these nodes. A relay remembers those that are gone for a while. */
  async function client(
    those: ReadonlyArray<{ peerId: string }>,
    options: Partial<Parameters<typeof createBrowserClient>[0]> = {}
  ) {
    const made = await createBrowserClient({ relays: [relay.webSocket], ...options })
    clients.push(made)
    await knows(made, those)
    return made
  }
  async function knows(one: BrowserClient, those: ReadonlyArray<{ peerId: string }>): Promise<void> {
    await eventually(async () => {
      const known = new Set((await one.nodes()).map(({ peerId }) => peerId))
      return those.every(({ peerId }) => known.has(peerId))
    }, 'the nodes are known')
  }
  /** Nodes that have not met each other yet acknowledge nothing that is to be on two of them. */
  function stored(one: BrowserClient, bytes: Uint8Array, mime?: string): Promise<StoredBlob> {
    return eventually(
      () =>
        one.store(bytes, mime === undefined ? {} : { mime }).catch(({ code }) => {
          assert.equal(code, 'REPLICATION_FAILED')
          return null
        }),
      'two replicas'
    ) as Promise<StoredBlob>
  }

  it('finds the nodes through a relay, named by its HTTP port, and stores on them what another page reads', async () => {
    const one = await client(nodes, { relays: relay.url })
    const known = await one.nodes()
    assert.deepEqual(known.map(({ nodeId }) => nodeId).sort(), ['alpha', 'beta'])
    const bytes = randomBytes(2 * MIB + 7)
    const { cid, replicas, peerId, ...kept } = await stored(one, bytes, 'image/png')
    assert.equal(cid, await cidOf([bytes]))
    assert.equal(kept.sizeBytes, bytes.byteLength)
    assert.deepEqual([...replicas].sort(), nodes.map(node => node.peerId).sort())
    const path = (await one.nodes()).find(node => node.peerId === peerId)?.path
    assert.equal(path, 'direct')

    const other = await client(nodes)
    const read = await other.retrieve(cid)
    assert.equal(read.mimeType, 'image/png')
    assert.ok(bytes.equals(read.bytes))
    const { body, sizeBytes } = await other.stream(cid)
    const pieces: Uint8Array[] = []
    for await (const piece of streamed(body)) pieces.push(piece)
    assert.equal(sizeBytes, bytes.byteLength)
    assert.ok(bytes.equals(Buffer.concat(pieces)))
  })

  it('stores files and streams whose size nobody knows, under the CIDs of the nodes', async () => {
    const one = await client(nodes)
    for (const sizeBytes of [1, 256 * 1024, 256 * 1024 + 1]) {
      const bytes = randomBytes(sizeBytes)
      const file = await one.store(new Blob([bytes], { type: 'text/plain' }))
      assert.equal(file.cid, await cidOf([bytes]))
      assert.equal((await one.retrieve(file.cid)).mimeType, 'text/plain')
      const stream = new Blob([bytes]).stream() as ReadableStream<Uint8Array>
      assert.equal((await one.store(stream)).cid, file.cid)
    }
    await assert.rejects(one.store(new Uint8Array(0)), { code: 'BLOB_EMPTY' })
  })

  it('says what is wrong: no such blob, no CID, too large, aborted, closed', async () => {
    const one = await client(nodes)
    await assert.rejects(one.retrieve(await cidOf([randomBytes(9)])), { code: 'BLOB_NOT_FOUND' })
    await assert.rejects(one.retrieve('nonsense'), { code: 'CID_INVALID' })
    const { cid } = await stored(one, randomBytes(1000))
    await assert.rejects(one.retrieve(cid, { maxBytes: 999 }), { code: 'BLOB_TOO_LARGE' })
    await assert.rejects(one.stream(cid, { maxBytes: 999 }), { code: 'BLOB_TOO_LARGE' })
    await assert.rejects(one.store(randomBytes(1000), { maxBytes: 999 }), { code: 'BLOB_TOO_LARGE' })
    const endless = () =>
      new ReadableStream<Uint8Array>({ pull: controller => controller.enqueue(new Uint8Array(65_536)) })
    await assert.rejects(one.store(endless(), { maxBytes: MIB }), { code: 'BLOB_TOO_LARGE' })
    const leave = new AbortController()
    const leaving = one.store(endless(), { signal: leave.signal })
    leave.abort(new Error('the person left'))
    await assert.rejects(leaving, { message: 'the person left' })
    const going = one.store(endless())
    going.catch(() => undefined)
    await one.close()
    await assert.rejects(going, { code: 'CLIENT_CLOSED' })
    await assert.rejects(one.nodes(), { code: 'CLIENT_CLOSED' })
  })

  describe('with a node that lies', () => {
    const bytes = randomBytes(MIB + 3)
    const altered = Buffer.from(bytes)
    altered[MIB] = altered[MIB]! ^ 1
    let given: Uint8Array | null = altered
    let missingBytes = 0
    let den: RelayProcess
    let liar: Awaited<ReturnType<typeof startLiar>>
    let cid: string

    before(async () => {
      cid = await cidOf([bytes])
      den = await startRelayProcess()
      liar = await startLiar(den, { bytes: () => given, missingBytes: () => missingBytes, stored: 'bafybeialie' })
    })
    /** An honest node that is reached through the relay alone. */
    const startRelayed = (nodeId: string) =>
      startStorageNode(nodeId, den, {
        P2P_LISTEN_ADDRESSES: LOOPBACK_TCP,
        REPLICATION_FACTOR: '1',
        REPLICATION_QUORUM: '1'
      })
    async function storeAt(node: LoopbackNode): Promise<void> {
      assert.equal((await fetch(`${node.url}store?local=1`, { method: 'POST', body: bytes })).status, 201)
    }
    after(async () => {
      await liar[Symbol.asyncDispose]()
      await den[Symbol.asyncDispose]()
    })

    it('takes no altered bytes: the whole is refused, and a stream ends in the error before its last piece', async () => {
      given = altered
      const one = await client([liar], { relays: [den.webSocket] })
      await assert.rejects(one.retrieve(cid), { code: 'CID_MISMATCH', name: 'BlobAlteredError' })
      const { body } = await one.stream(cid)
      let got = 0
      const reading = (async () => {
        for await (const piece of streamed(body)) got += piece.byteLength
      })()
      await assert.rejects(reading, { code: 'CID_MISMATCH', name: 'BlobAlteredError' })
      assert.ok(got < bytes.byteLength)
      for (const other of [bytes.subarray(1), Buffer.concat([bytes, bytes]), new Uint8Array(0)]) {
        given = other
        await assert.rejects(one.retrieve(cid), { code: 'CID_MISMATCH' }, `${other.byteLength} bytes`)
      }
    })

    it('takes no CID that is not of the bytes it sent', async () => {
      const one = await client([liar], { relays: [den.webSocket] })
      await assert.rejects(one.store(bytes), { code: 'CID_MISMATCH', name: 'BlobAlteredError' })
    })

    it('waits no longer than it was told for one that never answers', async () => {
      given = null
      const timings = { replyTimeoutMs: 200, idleTimeoutMs: 200, retryMs: 10, recoverMs: 10 }
      const one = await client([liar], { relays: [den.webSocket], timings })
      await assert.rejects(one.retrieve(cid), { code: 'NO_NODE' })
    })

    it('reads the right bytes from an honest node, through the relay where that speaks no WebSocket', async () => {
      await using honest = await startRelayed('honest')
      await storeAt(honest)
      for (const lie of [altered, Buffer.alloc(2 * MIB), new Uint8Array(0)]) {
        given = lie
        const one = await client([honest, liar], { relays: [den.webSocket] })
        // Connected ones are asked first, and direct connections before relayed ones: the liar, that is.
        await one.stream(cid).then(({ body }) => body.cancel())
        const read = await one.retrieve(cid, { maxBytes: MIB + 3 })
        assert.ok(bytes.equals(read.bytes))
        const path = (await one.nodes()).find(({ peerId }) => peerId === honest.peerId)?.path
        assert.equal(path, 'relayed')
      }
    })

    it('gives no byte that nobody sent: a node that says more than it has, and cuts there, is passed over', async () => {
      given = bytes
      const one = await client([liar], { relays: [den.webSocket] })
      // Connected directly from here on, it is asked first.
      assert.ok(bytes.equals((await one.retrieve(cid)).bytes))
      await using honest = await startRelayed('upright')
      await storeAt(honest)
      await knows(one, [honest])
      for (const extra of [1, 400_000]) {
        missingBytes = extra
        const before = liar.asked()
        const read = await one.retrieve(cid)
        assert.ok(liar.asked() > before, 'the liar was asked')
        assert.equal(read.sizeBytes, bytes.byteLength)
        assert.ok(bytes.equals(read.bytes))
        const { body } = await one.stream(cid)
        await assert.rejects(drained(body), { code: 'PROTOCOL_VIOLATION' })
      }
      missingBytes = 0
    })

    it('asks an honest node again that had to go on where a liar cut', async () => {
      given = bytes
      const one = await client([liar], { relays: [den.webSocket] })
      assert.ok(bytes.equals((await one.retrieve(cid)).bytes))
      await using honest = await startRelayed('blameless')
      await storeAt(honest)
      await knows(one, [honest])
      given = altered.subarray(0, MIB + 1)
      missingBytes = 2
      const { body } = await one.stream(cid)
      await assert.rejects(drained(body), ({ code, message }: { code: string; message: string }) => {
        assert.equal(code, 'CID_MISMATCH')
        assert.ok(!message.includes(honest.peerId), message)
        return true
      })
      const before = liar.asked()
      assert.ok(bytes.equals((await one.retrieve(cid)).bytes))
      assert.ok(liar.asked() > before, 'the liar was asked')
      missingBytes = 0
    })

    it('stores on an honest node what another one acknowledged under a CID of its own', async () => {
      given = bytes
      const one = await client([liar], { relays: [den.webSocket] })
      assert.ok(bytes.equals((await one.retrieve(cid)).bytes))
      await using honest = await startRelayed('faithful')
      await knows(one, [honest])
      const before = liar.asked()
      const stored = await one.store(new Blob([bytes]).stream() as ReadableStream<Uint8Array>)
      assert.ok(liar.asked() > before, 'the liar was asked')
      assert.equal(stored.cid, cid)
      assert.equal(stored.peerId, honest.peerId)
    })

    it('gives up after as many liars as are asked at most', async () => {
      await using nest = await startRelayProcess()
      const liars = await Promise.all(
        Array.from({ length: MAX_NODES_ASKED + 2 }, () => startLiar(nest, { bytes: () => altered.subarray(0, 10) }))
      )
      try {
        const one = await client(liars, { relays: [nest.webSocket] })
        await assert.rejects(one.retrieve(cid), ({ code, message }: { code: string; message: string }) => {
          assert.equal(code, 'CID_MISMATCH')
          assert.equal(liars.filter(({ peerId }) => message.includes(peerId)).length, MAX_NODES_ASKED)
          return true
        })
        await assert.rejects(one.stream(cid, { maxBytes: 9 }), { code: 'BLOB_TOO_LARGE' })
      } finally {
        await Promise.all(liars.map(one => one[Symbol.asyncDispose]()))
      }
    })
  })

  it('refuses relays that a page cannot use, and says when none is there', async () => {
    const invalid = ['', 'nonsense', `/ip4/127.0.0.1/tcp/4001/p2p/${PEER}`, '/ip4/127.0.0.1/tcp/4002/ws']
    for (const text of invalid) await assert.rejects(createBrowserClient({ relays: [text] }), { code: 'RELAY_INVALID' })
    await assert.rejects(createBrowserClient({ relays: [] }), { code: 'RELAY_INVALID' })
    const dead = `/ip4/127.0.0.1/tcp/1/ws/p2p/${PEER}`
    await assert.rejects(createBrowserClient({ relays: [dead] }), { code: 'RELAY_UNREACHABLE' })
    await assert.rejects(createBrowserClient({ relays: new URL('http://127.0.0.1:1/') }), { code: 'RELAY_UNREACHABLE' })
    const early = AbortSignal.abort(new Error('not any more'))
    await assert.rejects(createBrowserClient({ relays: [dead], signal: early }), { message: 'not any more' })
  })

  it('is led by nobody into a network more private than the relay is in', async () => {
    const rule = async (relays: string[], isSecurePage = false) => {
      const isDenied = dialRule({ relays: await findRelays(relays), isSecurePage })
      return (text: string) => isDenied(multiaddr(text))
    }
    const onInternet = await rule([`/dns4/relay.example/tcp/443/tls/ws/p2p/${PEER}`])
    for (const host of ['ip4/127.0.0.1', 'ip6/::1', 'ip4/192.168.1.1', 'ip4/169.254.169.254', 'dns4/localhost']) {
      assert.equal(onInternet(`/${host}/tcp/80/ws`), true, host)
    }
    const disguised = [
      '192.168.1.1',
      '127.0.0.1',
      'localhost.',
      'LOCALHOST',
      '0x7f000001',
      '2130706433',
      '0300.0250.1.1'
    ]
    for (const name of disguised) {
      assert.equal(onInternet(`/dns4/${name}/tcp/80/ws`), true, name)
      assert.equal(onInternet(`/dns4/${name}/tcp/443/tls/ws`), true, `${name} with TLS`)
    }
    for (const name of ['router.lan', '127.0.0.1.nip.io', 'node.example']) {
      for (const kind of ['dns', 'dns4', 'dns6']) assert.equal(onInternet(`/${kind}/${name}/tcp/80/ws`), true, name)
      assert.equal(onInternet(`/dns4/${name}/tcp/443/tls/ws`), false, `${name} with TLS`)
    }
    for (const host of ['ip4/0.0.0.0', 'ip6/::', 'ip6/::ffff:127.0.0.1', 'ip6/fd00::1', 'ip6/fe80::1']) {
      assert.equal(onInternet(`/${host}/tcp/80/ws`), true, host)
    }
    const byName = await rule([`/dns4/relay.example/tcp/4002/ws/p2p/${PEER}`])
    assert.equal(byName(`/dns4/relay.example/tcp/4002/ws/p2p/${PEER}`), false)
    const onBoth = await rule([`/ip4/127.0.0.1/tcp/4002/ws/p2p/${PEER}`, `/ip4/11.0.0.9/tcp/4002/ws/p2p/${PEER}`])
    assert.equal(onBoth('/ip4/192.168.1.1/tcp/80/ws'), true)
    assert.equal(onInternet('/ip4/11.0.0.7/tcp/5012/ws'), false)
    assert.equal(onInternet('/ip4/11.0.0.7/tcp/5011'), true)
    assert.equal(onInternet(`/ip4/11.0.0.7/tcp/4001/p2p/${PEER}/p2p-circuit`), false)
    const inHouse = await rule([`/ip4/192.168.1.9/tcp/4002/ws/p2p/${PEER}`])
    assert.equal(inHouse('/ip4/192.168.1.1/tcp/5012/ws'), false)
    assert.equal(inHouse('/ip4/127.0.0.1/tcp/5012/ws'), true)
    const secure = await rule([`/ip4/127.0.0.1/tcp/4002/ws/p2p/${PEER}`], true)
    assert.equal(secure('/ip4/11.0.0.7/tcp/5012/ws'), true)
    assert.equal(secure('/ip4/11.0.0.7/tcp/5012/tls/ws'), false)
    assert.equal(secure('/ip4/127.0.0.1/tcp/5012/ws'), false)
  })

  it('takes the place of a relay found by URL from the URL: what it tells does not bring it nearer', async () => {
    const told = (...hosts: string[]) => hosts.map(host => `/${host}/tcp/4002/ws/p2p/${PEER}`)
    let multiaddrs: string[] = []
    const server = createServer((_, response) => response.end(JSON.stringify({ multiaddrs }))).listen(0, '127.0.0.1')
    await once(server, 'listening')
    try {
      const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
      const isDeniedAt = async () => dialRule({ relays: await findRelays(url), isSecurePage: false })
      multiaddrs = told('ip4/11.0.0.9')
      assert.equal((await isDeniedAt())(multiaddr('/ip4/127.0.0.1/tcp/5012/ws')), false)

      // A public host, by the same server: only what is asked of differs.
      const asked = globalThis.fetch
      globalThis.fetch = (_, init) => asked(url, init)
      try {
        const found = async (text: string) => {
          const relays = await findRelays(new URL(text))
          return { relays, isDenied: dialRule({ relays, isSecurePage: false }) }
        }
        multiaddrs = told('ip4/127.0.0.1', 'ip4/192.168.1.9', 'ip4/11.0.0.9', 'dns4/router.lan')
        for (const text of ['http://11.0.0.9/', 'http://relay.example/']) {
          const { relays, isDenied } = await found(text)
          assert.deepEqual(relays[0]?.addresses.map(String), told('ip4/11.0.0.9'))
          assert.equal(isDenied(multiaddr('/ip4/192.168.1.1/tcp/5012/ws')), true)
        }
        multiaddrs = told('ip4/127.0.0.1')
        await assert.rejects(found('http://11.0.0.9/'), { code: 'RELAY_INVALID' })
        multiaddrs = told('ip4/127.0.0.1', 'ip4/192.168.1.9')
        const { isDenied } = await found('http://relay.lan/')
        assert.equal(isDenied(multiaddr('/ip4/192.168.1.1/tcp/5012/ws')), false)
        assert.equal(isDenied(multiaddr('/ip4/127.0.0.1/tcp/5012/ws')), true)
      } finally {
        globalThis.fetch = asked
      }
    } finally {
      server.close()
    }
  })

  it('is one file without anything of Node, under its named size', async () => {
    const { code, gzipBytes, imports, inputs } = await bundleBrowser()
    assert.deepEqual(imports, [])
    const text = new TextDecoder().decode(code)
    assert.doesNotMatch(text, /["']node:|\bBuffer\.(from|alloc|concat)\b|\brequire\(/)
    assert.ok(inputs.includes('node/blobs/sha256.browser.ts') && !inputs.includes('node/blobs/sha256.ts'))
    assert.ok(code.byteLength <= BUNDLE_MAX_BYTES, `${code.byteLength} bytes`)
    assert.ok(gzipBytes <= BUNDLE_MAX_GZIP_BYTES, `${gzipBytes} bytes with gzip`)
  })
})
