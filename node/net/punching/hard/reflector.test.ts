import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:dgram'
import { once } from 'node:events'
import fc from 'fast-check'
import { eventually } from '../../testing.ts'
import { DATAGRAM_BYTES, decodeAnswer, decodeAsk, encodeAnswer, encodeAsk } from './datagrams.ts'
import { ask, detectNatKind, type ReflectorPlace } from './observe.ts'
import { createReflector, type Reflector } from './reflector.ts'
import { bindUdp, closeUdp, sendUdp } from './sockets.ts'
import { createTestNat, type TestNat } from './testing.ts'

const HOST = '127.0.0.1'
const OTHER = '127.0.0.2'
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })

describe('the reflector', () => {
  const reflectors: Reflector[] = []
  const sockets: Socket[] = []
  const nats: TestNat[] = []
  const signal = new AbortController().signal

  afterEach(() => {
    for (const reflector of reflectors.splice(0)) reflector.stop()
    for (const socket of sockets.splice(0)) closeUdp(socket)
    for (const nat of nats.splice(0)) nat.close()
  })

  async function start(init: Partial<Parameters<typeof createReflector>[0]> = {}): Promise<Reflector> {
    const reflector = createReflector({ ports: [0, 0], hosts: [HOST], ...init })
    reflectors.push(reflector)
    await reflector.start()
    return reflector
  }
  async function open(): Promise<Socket> {
    const socket = await bindUdp()
    sockets.push(socket)
    return socket
  }
  const place = (reflector: Reflector, host = HOST): ReflectorPlace => ({
    host,
    ports: reflector.ports(),
    hasOtherAddress: reflector.otherHost() !== null,
    token: reflector.token().token
  })

  it('tells the source address and port, and answers never have more bytes than questions', async () => {
    const reflector = await start()
    const { token } = reflector.token()
    for (const port of reflector.ports()) {
      const socket = await open()
      const answered = once(socket, 'message')
      const seen = await ask({ socket, to: { host: HOST, port }, token, signal })
      assert.deepEqual(seen, { host: HOST, port: socket.address().port })
      const [answer] = (await answered) as [Uint8Array]
      assert.equal(answer.byteLength, DATAGRAM_BYTES)
      assert.equal(encodeAsk({ transaction: randomBytes(8), token, from: 'here' }).byteLength, DATAGRAM_BYTES)
    }
  })

  it('says nothing to a token that is forged, changed or too old, nor to anything that is no question', async () => {
    let nowMs = 1_700_000_000_000
    const reflector = await start({ now: () => nowMs })
    const { token, ttlMs } = reflector.token()
    const other = (await start()).token().token
    const changed = Uint8Array.from(token)
    changed[0]! ^= 1
    const socket = await open()
    const to = { host: HOST, port: reflector.ports()[0]! }
    const hostile = [
      ...[other, changed, new Uint8Array(16)].map(each =>
        encodeAsk({ transaction: randomBytes(8), token: each, from: 'here' })
      ),
      new Uint8Array(0),
      randomBytes(DATAGRAM_BYTES),
      randomBytes(1400),
      encodeAnswer({ transaction: randomBytes(8), seen: to })!
    ]
    for (const each of hostile) sendUdp(socket, each, to)
    await eventually(() => reflector.counts().refused === hostile.length, 'all are refused')
    assert.deepEqual(await ask({ socket, to, token, signal }), { host: HOST, port: socket.address().port })
    nowMs += ttlMs + 2000
    assert.equal(await ask({ socket, to, token, signal, tries: 1, retryMs: 1 }), null)
    assert.equal(reflector.counts().answered, 1)
  })

  it('answers one source only so often, remembers only so many, and gives up answering beyond its whole rate', async () => {
    const nowMs = 1_700_000_000_000
    const limits = { perSourcePerSecond: 3, perSecond: 4, maxSources: 2 }
    const reflector = await start({ now: () => nowMs, limits, hosts: ['0.0.0.0'] })
    const { token } = reflector.token()
    const [port] = reflector.ports() as [number]
    const send = async (from: string, times: number) => {
      const socket = await bindUdp({ host: from })
      sockets.push(socket)
      const question = encodeAsk({ transaction: randomBytes(8), token, from: 'here' })
      for (let n = 0; n < times; n++) sendUdp(socket, question, { host: HOST, port })
    }
    await send('127.0.0.1', 5)
    await eventually(() => reflector.counts().limited === 2, 'two of five are not answered')
    assert.equal(reflector.counts().answered, 3)
    await send('127.0.0.3', 2)
    await eventually(() => reflector.counts().limited === 3, 'the whole rate is reached')
    assert.equal(reflector.counts().answered, 4)
  })

  it('answers from its other port and other address only where it has them', async () => {
    const two = await start({ hosts: [HOST, OTHER] })
    const socket = await open()
    const to = { host: HOST, port: two.ports()[0]! }
    const token = two.token().token
    for (const [from, source] of [
      ['other-port', { address: HOST, port: two.ports()[1] }],
      ['other-address', { address: OTHER, port: two.ports()[0] }]
    ] as const) {
      const heard = once(socket, 'message')
      await ask({ socket, to, token, from, signal })
      const [, { address, port }] = (await heard) as [unknown, { address: string; port: number }]
      assert.deepEqual({ address, port }, source)
    }
    const one = await start({ ports: [0] })
    const silent = { socket, to: { host: HOST, port: one.ports()[0]! }, token: one.token().token, tries: 1, retryMs: 1 }
    assert.equal(await ask({ ...silent, from: 'other-port', signal }), null)
    assert.equal(await ask({ ...silent, from: 'other-address', signal }), null)
  })

  it('closes what it bound when one port cannot be had', async () => {
    const taken = await bindUdp({ host: HOST })
    sockets.push(taken)
    const reflector = createReflector({ ports: [0, taken.address().port], hosts: [HOST] })
    await assert.rejects(reflector.start(), { code: 'EADDRINUSE' })
    assert.deepEqual(reflector.ports(), [])
  })

  it('datagrams survive the wire, and noise is none', () => {
    const v6 = fc.ipV6().map(text => text.replace(/:?(\d+\.){3}\d+$/, ':1'))
    fc.assert(
      fc.property(
        bytes(8),
        bytes(16),
        fc.constantFrom('here', 'other-port', 'other-address'),
        (transaction, token, from) => {
          const decoded = decodeAsk(encodeAsk({ transaction, token, from: from as 'here' }))
          assert.deepEqual(decoded, { transaction, token, from })
        }
      )
    )
    fc.assert(
      fc.property(bytes(8), fc.ipV4(), fc.integer({ min: 1, max: 65_535 }), (transaction, host, port) => {
        const answer = encodeAnswer({ transaction, seen: { host, port } })!
        assert.deepEqual(decodeAnswer(answer), { transaction, seen: { host, port } })
        assert.equal(decodeAsk(answer), null)
      })
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), noise => {
        assert.equal(decodeAsk(noise), null)
        assert.equal(decodeAnswer(noise), null)
      })
    )
    fc.assert(
      fc.property(v6, host => {
        const answer = encodeAnswer({ transaction: new Uint8Array(8), seen: { host, port: 1 } })
        if (answer !== null) assert.ok(decodeAnswer(answer)!.seen.host.includes(':'))
      })
    )
    const answer = encodeAnswer({ transaction: new Uint8Array(8), seen: { host: 'fd00::17:0:1', port: 9 } })!
    assert.equal(decodeAnswer(answer)!.seen.host, 'fd00:0:0:0:0:17:0:1')
    assert.equal(encodeAnswer({ transaction: new Uint8Array(8), seen: { host: 'example.org', port: 9 } }), null)
  })

  it('without a NAT the kind is endpoint-independent, preserving and open', async () => {
    const [first, second] = [await start({ hosts: [HOST, OTHER] }), await start()]
    const kind = await detectNatKind({ reflectors: [place(first), { ...place(second), host: HOST }], signal })
    assert.deepEqual(kind, { mapping: 'unknown', allocation: 'preserving', filtering: 'endpoint-independent' })
    const both = [place(first), { ...place(first), host: OTHER, hasOtherAddress: false }]
    assert.equal((await detectNatKind({ reflectors: both, signal })).mapping, 'endpoint-independent')
  })

  for (const [name, allocate, allocation] of [
    ['one port after another', (nth: number) => 21_000 + nth, 'sequential'],
    ['ports of a block', (nth: number) => 22_528 + ((nth * 619) % 1024), 'block'],
    ['ports from all over', (nth: number) => 1500 + ((nth * 30_011) % 60_000), 'random']
  ] as const) {
    it(`a symmetric NAT that gives ${name} is recognised, also when datagrams are lost`, async () => {
      const reflector = await start()
      const nat = createTestNat(allocate)
      nats.push(nat)
      nat.loseIf(nth => nth === 5)
      const { token } = reflector.token()
      const [p1, p2] = reflector.ports() as [number, number]
      const outside = await Promise.all([p1, p2, p1, p2].map(port => nat.towards({ host: HOST, port })))
      const ports = outside.map(({ port }) => port)
      const kind = await detectNatKind({ reflectors: [{ host: HOST, ports, hasOtherAddress: false, token }], signal })
      assert.deepEqual(kind, {
        mapping: 'address-and-port-dependent',
        allocation,
        filtering: 'address-and-port-dependent'
      })
    })
  }

  it('nobody who answers is an unknown kind, and an abort ends the asking', async () => {
    const silent = await open()
    const reflectors = [
      { host: HOST, ports: [silent.address().port], hasOtherAddress: false, token: new Uint8Array(16) }
    ]
    const unknown = { mapping: 'unknown', allocation: 'unknown', filtering: 'unknown' }
    assert.deepEqual(await detectNatKind({ reflectors: [], signal }), unknown)
    assert.deepEqual(await detectNatKind({ reflectors, signal }), unknown)
    const aborting = new AbortController()
    const asking = detectNatKind({ reflectors, signal: aborting.signal })
    aborting.abort(new Error('enough'))
    await assert.rejects(asking, /enough/)
  })
})
