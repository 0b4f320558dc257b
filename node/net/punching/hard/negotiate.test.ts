import assert from 'node:assert/strict'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import type { Connection, Libp2p } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { frameReader, sendHeader } from '../../frames.ts'
import { eventually } from '../../testing.ts'
import { punchingQuic } from '../quic.ts'
import { DEFAULT_HARD_PUNCH_LIMITS } from './hard-limits.ts'
import { HARD_PUNCH_PROTOCOL } from './messages.ts'
import { createHardPunch, type HardPunch, type HardPunchInit, type HardPunchOutcome } from './negotiate.ts'
import { createReflector, type Reflector } from './reflector.ts'
import { createReflectorClient } from './reflector-client.ts'
import { REFLECTOR_PROTOCOL, serveReflector } from './reflector-protocol.ts'
import { createTestNat, type TestNat } from './testing.ts'

const HOST = '127.0.0.1'
const LOOPBACK = `/ip4/${HOST}/tcp/0`
const FRAME = { idleTimeoutMs: 10_000 }

interface Peer {
  node: Libp2p
  hard: HardPunch
  outcomes: HardPunchOutcome[]
}

describe('a hard punch between two peers', function () {
  this.timeout(60_000)
  const ends: Array<() => Promise<unknown> | unknown> = []
  let relay: Libp2p
  /** Relays beside the common one, each with the reflector as one kind of peer sees it. */
  let seenBy: Record<'symmetric' | 'cone', Libp2p>
  let reflector: Reflector
  /** Between symmetric peers and the reflector. Openers and probes pass by it: the kernel chooses their ports alike. */
  let nat: TestNat

  const newRelay = async (asSeen: Reflector | null): Promise<Libp2p> => {
    const made = await createLibp2p({
      addresses: { listen: [LOOPBACK] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      connectionGater: { denyDialMultiaddr: () => false },
      services: { identify: identify(), relay: circuitRelayServer({ reservations: { maxReservations: 64 } }) }
    })
    await serveReflector({ libp2p: made, reflector: asSeen })
    return made
  }

  /** UDP sockets this process had before. */
  let before = 0
  const openSockets = () => process.getActiveResourcesInfo().filter(name => name === 'UDPWrap').length

  beforeEach(async () => {
    before = openSockets()
    reflector = createReflector({ ports: [0, 0], hosts: [HOST] })
    await reflector.start()
    nat = createTestNat(() => 0)
    const [one, other] = reflector.ports() as [number, number]
    const outside = await Promise.all([one, other].map(port => nat.towards({ host: HOST, port })))
    const behind = outside.map(({ port }) => port)
    relay = await newRelay(null)
    seenBy = {
      symmetric: await newRelay({ ...reflector, ports: () => behind }),
      // One port says nothing of filtering, which loopback has none of.
      cone: await newRelay({ ...reflector, ports: () => [one] })
    }
  })
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end()
    await Promise.all([relay, ...Object.values(seenBy)].map(each => each.stop()))
    reflector.stop()
    nat.close()
    await eventually(() => openSockets() <= before, 'every UDP socket is closed')
  })

  async function peer(kind: 'symmetric' | 'cone', init: Partial<HardPunchInit> = {}, listens = false): Promise<Peer> {
    const quic: { transport?: HardPunchInit['transport'] } = {}
    const make = punchingQuic()
    const [address] = relay.getMultiaddrs()
    const node = await createLibp2p({
      addresses: { listen: [`/ip4/${HOST}/udp/0/quic-v1`, ...(listens ? [`${address}/p2p-circuit`] : [])] },
      transports: [
        tcp(),
        components => {
          const transport = make(components as never)
          quic.transport = transport
          return transport
        },
        circuitRelayTransport()
      ],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      connectionGater: { denyDialMultiaddr: () => false },
      services: { identify: identify({ runOnLimitedConnection: true }) }
    })
    const outcomes: HardPunchOutcome[] = []
    const hard = createHardPunch({
      libp2p: node,
      transport: quic.transport!,
      onOutcome: outcome => outcomes.push(outcome),
      mayProbe: () => true,
      isRelay: peerId => [relay, ...Object.values(seenBy)].some(each => String(each.peerId) === peerId),
      ...init
    })
    ends.push(async () => {
      await hard.stop()
      await node.stop()
    })
    await hard.start()
    const reflecting = seenBy[kind]
    await Promise.all([node.dial(address!), node.dial(reflecting.getMultiaddrs()[0]!)])
    const speaks = async (to: Libp2p) => {
      const { protocols } = await node.peerStore.get(to.peerId)
      return protocols.includes(REFLECTOR_PROTOCOL)
    }
    await eventually(
      async () => (await speaks(reflecting)) && (await speaks(relay)),
      'both relays made themselves known'
    )
    return { node, hard, outcomes }
  }

  const circuit = (to: Peer) => multiaddr(`${relay.getMultiaddrs()[0]}/p2p-circuit/p2p/${to.node.peerId}`)

  /** A relayed connection from one to the other, as both have it. */
  async function meet(dialler: Peer, listener: Peer): Promise<[Connection, Connection]> {
    await eventually(
      () => listener.node.getMultiaddrs().some(each => String(each).includes('p2p-circuit')),
      'a reservation'
    )
    const out = await dialler.node.dial(circuit(listener))
    const back = await eventually(
      () => listener.node.getConnections(dialler.node.peerId).find(({ direct }) => !direct),
      'the other end'
    )
    return [out, back as Connection]
  }
  const signal = new AbortController().signal
  /** Compared here: a connection is too big for an assertion to print. */
  const isNone = (connection: Connection | null): boolean => connection === null

  it('a symmetric and a cone side come to a direct QUIC connection, whoever asks', async () => {
    const listener = await peer('symmetric', {}, true)
    const dialler = await peer('cone')
    const [out] = await meet(dialler, listener)
    const direct = await dialler.hard.punch({ connection: out, role: 'responder', signal })
    const [mine] = dialler.outcomes
    assert.equal(mine?.result, 'direct', `${mine?.result} ${mine?.cause}`)
    assert.ok(direct?.direct)
    assert.match(String(direct.remoteAddr), /quic-v1/)
    assert.deepEqual([mine.method, mine.side], ['birthday', 'cone'])
    await eventually(() => listener.outcomes.length === 1, 'the other side knows')
    const [theirs] = listener.outcomes
    assert.deepEqual([theirs!.result, theirs!.side, theirs!.asked], ['direct', 'symmetric', false])
    assert.ok(mine.packets + theirs!.packets <= DEFAULT_HARD_PUNCH_LIMITS.maxPackets)
    assert.ok(direct.status === 'open')
    assert.ok(listener.hard.isHard() && !dialler.hard.isHard())
  })

  it('the symmetric side may ask as well', async () => {
    const listener = await peer('cone', {}, true)
    const dialler = await peer('symmetric')
    const [out] = await meet(dialler, listener)
    const direct = await dialler.hard.punch({ connection: out, role: 'initiator', signal })
    assert.equal(dialler.outcomes[0]?.result, 'direct', String(dialler.outcomes[0]?.cause))
    assert.equal(direct?.direct, true)
    await eventually(() => listener.outcomes[0]?.result === 'direct', 'the other side has it too')
  })

  for (const [a, b, mayProbe, reason] of [
    ['cone', 'cone', true, 'both-cone'],
    ['symmetric', 'symmetric', true, 'both-symmetric'],
    ['symmetric', 'cone', false, 'private-address']
  ] as const) {
    it(`${a} × ${b}${mayProbe ? '' : ' at a private address'} ends with ${reason} and no datagram to the peer`, async () => {
      const listener = await peer(b, mayProbe ? {} : { mayProbe: () => false }, true)
      const dialler = await peer(a, mayProbe ? {} : { mayProbe: () => false })
      const [out] = await meet(dialler, listener)
      assert.ok(isNone(await dialler.hard.punch({ connection: out, role: 'responder', signal })))
      const [mine] = dialler.outcomes
      assert.ok([reason, 'peer-refused'].includes(mine!.result), mine!.result)
      await eventually(() => listener.outcomes.length === 1, 'the other side ended too')
      assert.ok([mine!.result, listener.outcomes[0]!.result].includes(reason))
      // The cone side may have looked which port its socket has; that went to the reflector.
      assert.ok(mine!.packets + listener.outcomes[0]!.packets <= 1)
    })
  }

  it('as many an hour with one peer as configured, and no more', async () => {
    const limits = { ...DEFAULT_HARD_PUNCH_LIMITS, perPairPerHour: 1 }
    const listener = await peer('symmetric', { limits }, true)
    const dialler = await peer('cone')
    const [out] = await meet(dialler, listener)
    await (await dialler.hard.punch({ connection: out, role: 'responder', signal }))?.close()
    await eventually(() => listener.outcomes.length === 1, 'the first ended')
    assert.ok(isNone(await dialler.hard.punch({ connection: out, role: 'responder', signal })))
    await eventually(() => listener.outcomes.length === 2, 'the second ended')
    assert.deepEqual([listener.outcomes[1]!.result, listener.outcomes[1]!.packets], ['too-often', 0])
  })

  it('is refused where it is switched off, on direct connections, and without a reflector', async () => {
    const listener = await peer('cone', { enabled: false }, true)
    const dialler = await peer('cone')
    const [out] = await meet(dialler, listener)
    const tried = async (by: Peer, connection: Connection) => {
      assert.ok(isNone(await by.hard.punch({ connection, role: 'initiator', signal })))
      return by.outcomes.at(-1)?.result
    }
    assert.equal(await tried(dialler, out), 'peer-without')
    const back = listener.node.getConnections(dialler.node.peerId)[0]!
    assert.equal(await tried(listener, back), 'switched-off')
    assert.equal(await tried(dialler, dialler.node.getConnections(relay.peerId)[0]!), 'no-relay')
  })

  it('a relay that is none of its own configuration is not believed, by who asks nor by who is asked', async () => {
    const strange: Partial<HardPunchInit> = { isRelay: peerId => peerId !== String(relay.peerId) }
    const listener = await peer('symmetric', strange, true)
    const [dialler, wary] = [await peer('cone'), await peer('cone', strange)]
    const [out] = await meet(dialler, listener)
    assert.ok(isNone(await dialler.hard.punch({ connection: out, role: 'responder', signal })))
    assert.equal(dialler.outcomes[0]?.result, 'peer-refused')
    await eventually(() => listener.outcomes.length === 1, 'the other side ended')
    assert.deepEqual([listener.outcomes[0]?.result, listener.outcomes[0]?.packets], ['no-relay', 0])
    const [wayOut] = await meet(wary, listener)
    assert.ok(isNone(await wary.hard.punch({ connection: wayOut, role: 'responder', signal })))
    assert.equal(wary.outcomes[0]?.result, 'no-relay')
    assert.equal(listener.outcomes.length, 1)
  })

  it('caps for all peers and for one address hold, whoever comes', async () => {
    for (const cap of [{ perHour: 1 }, { perHostPerHour: 1 }]) {
      const listener = await peer('symmetric', { limits: { ...DEFAULT_HARD_PUNCH_LIMITS, ...cap } }, true)
      const [one, other] = [await peer('cone'), await peer('cone')]
      const [out] = await meet(one, listener)
      await one.hard.punch({ connection: out, role: 'responder', signal })
      await eventually(() => listener.outcomes.length > 0, 'the first ended')
      assert.notEqual(listener.outcomes[0]?.result, 'too-often')
      const [otherOut] = await meet(other, listener)
      assert.ok(isNone(await other.hard.punch({ connection: otherOut, role: 'responder', signal })))
      await eventually(() => listener.outcomes.at(-1)?.peerId === String(other.node.peerId), 'the second ended')
      assert.deepEqual([listener.outcomes.at(-1)?.result, listener.outcomes.at(-1)?.packets], ['too-often', 0])
    }
  })

  it('our own questions to one peer are counted too', async () => {
    const listener = await peer('cone', {}, true)
    const dialler = await peer('cone')
    const [out] = await meet(dialler, listener)
    const results = new Set<string | undefined>()
    for (let n = 0; n < 40 && !results.has('too-often'); n++) {
      await dialler.hard.punch({ connection: out, role: 'responder', signal })
      results.add(dialler.outcomes.at(-1)?.result)
    }
    assert.ok(results.has('too-often'))
  })

  it('one at a time: only who told its kind has the place, another is answered busy, and the place comes free', async () => {
    const listener = await peer('cone', { limits: { ...DEFAULT_HARD_PUNCH_LIMITS, deadlineMs: 3000 } }, true)
    const [silent, other] = [await peer('cone', { enabled: false }), await peer('cone')]
    const patient = await peer('cone', { busyRetries: 20 })
    const [holding] = await meet(silent, listener)
    const [out] = await meet(other, listener)
    const stream = await holding.newStream(HARD_PUNCH_PROTOCOL, { runOnLimitedConnection: true })
    const reader = frameReader(stream)
    await sendHeader(stream, { type: 'hello', token: '00'.repeat(16), role: 'responder' }, FRAME)
    assert.equal((await reader.header(FRAME)).type, 'hello')
    assert.ok(isNone(await other.hard.punch({ connection: out, role: 'responder', signal })))
    assert.equal(other.outcomes[0]?.result, 'both-cone')
    const mapping = 'address-and-port-dependent'
    const kind = { mapping, allocation: 'sequential', filtering: mapping }
    const client = createReflectorClient(silent.node, { isRelay: () => true })
    const consent = await client.consent(String(relay.peerId), String(listener.node.peerId), signal)
    await sendHeader(stream, { type: 'kind', kind, host: HOST }, FRAME)
    assert.equal((await reader.header(FRAME)).type, 'kind')
    assert.ok(isNone(await other.hard.punch({ connection: out, role: 'responder', signal })))
    assert.equal(other.outcomes[1]?.result, 'peer-busy')
    const [waiting] = await meet(patient, listener)
    assert.ok(isNone(await patient.hard.punch({ connection: waiting, role: 'responder', signal })))
    assert.deepEqual([patient.outcomes[0]?.result, patient.outcomes.at(-1)?.result], ['peer-busy', 'both-cone'])
    await eventually(() => listener.outcomes.some(({ result }) => result === 'timeout'), 'the silent one is given up')
    assert.ok(isNone(await other.hard.punch({ connection: out, role: 'responder', signal })))
    assert.equal(other.outcomes[2]?.result, 'both-cone')
    reader.release()
    consent.end()
    stream.abort(new Error('the test is over'))
  })

  it('a stranger costs nothing before it speaks, and has no place that the relay does not see where it says it is', async () => {
    const listener = await peer('cone', {}, true)
    const [stranger, other] = [await peer('cone', { enabled: false }), await peer('cone')]
    const [holding] = await meet(stranger, listener)
    const [out] = await meet(other, listener)
    const atRelay = () =>
      relay
        .getConnections(listener.node.peerId)
        .flatMap(({ streams }) => streams)
        .filter(({ protocol }) => protocol === REFLECTOR_PROTOCOL).length
    const open = () => holding.newStream(HARD_PUNCH_PROTOCOL, { runOnLimitedConnection: true })
    const silent = await open()
    const stream = await open()
    const reader = frameReader(stream)
    assert.equal(atRelay(), 0)
    await sendHeader(stream, { type: 'hello', token: '00'.repeat(16), role: 'responder' }, FRAME)
    assert.equal((await reader.header(FRAME)).type, 'hello')
    await eventually(() => atRelay() === 1, 'one stream for the one that spoke')
    const mapping = 'address-and-port-dependent'
    const kind = { mapping, allocation: 'sequential', filtering: mapping }
    await sendHeader(stream, { type: 'kind', kind, host: HOST }, FRAME)
    assert.ok(isNone(await other.hard.punch({ connection: out, role: 'responder', signal })))
    assert.equal(other.outcomes[0]?.result, 'both-cone')
    assert.deepEqual(await reader.header(FRAME), { type: 'failed', reason: 'address-unknown' })
    await eventually(() => atRelay() === 0, 'no stream to the relay outlives its attempt', 5000)
    reader.release()
    for (const each of [silent, stream]) each.abort(new Error('the test is over'))
  })

  it('hostile words end the stream and nothing else; a peer that asks without end is refused', async () => {
    const listener = await peer('cone', {}, true)
    const hostile = await peer('cone', { enabled: false })
    const [out] = await meet(hostile, listener)
    const hello = { type: 'hello', token: '00'.repeat(16), role: 'responder' }
    const say = async (...messages: object[]): Promise<string> => {
      const before = listener.outcomes.length
      const stream = await out.newStream(HARD_PUNCH_PROTOCOL, { runOnLimitedConnection: true })
      for (const message of messages) await sendHeader(stream, message, FRAME)
      await eventually(() => listener.outcomes.length > before, 'it ended')
      stream.abort(new Error('enough'))
      return String(listener.outcomes.at(-1)?.result)
    }
    assert.equal(await say({ type: 'hello' }), 'protocol')
    assert.equal(await say({ type: 'met' }), 'protocol')
    assert.equal(
      await say(hello, { type: 'probe', lowest: 1024, highest: 65_535, probes: 4096, coneFirst: true }),
      'protocol'
    )
    const raw = await out.newStream(HARD_PUNCH_PROTOCOL, { runOnLimitedConnection: true })
    raw.send(new Uint8Array(20_000).fill(0xff))
    await eventually(() => listener.outcomes.length === 4, 'noise ends')
    assert.equal(listener.outcomes[3]?.result, 'protocol')
    let last = ''
    for (let n = 0; n < 40 && last !== 'too-often'; n++) last = await say({ type: 'met' })
    assert.equal(last, 'too-often')
    assert.ok(listener.outcomes.every(({ packets }) => packets === 0))
  })

  it('without the peer’s permit, or where its claim is not what the relay sees, nothing is sent', async () => {
    const listener = await peer('symmetric', {}, true)
    const liar = await peer('cone', { enabled: false })
    const [out] = await meet(liar, listener)
    const kind = { mapping: 'endpoint-independent', allocation: 'preserving', filtering: 'unknown' }
    const claim = async (host: string): Promise<HardPunchOutcome> => {
      const before = listener.outcomes.length
      const stream = await out.newStream(HARD_PUNCH_PROTOCOL, { runOnLimitedConnection: true })
      for (const message of [
        { type: 'hello', token: '00'.repeat(16), role: 'responder' },
        { type: 'kind', kind, host },
        { type: 'ready', port: 40_000 }
      ]) {
        await sendHeader(stream, message, FRAME)
      }
      await eventually(() => listener.outcomes.length > before, 'it ended')
      stream.abort(new Error('enough'))
      return listener.outcomes.at(-1)!
    }
    const silent = await claim(HOST)
    assert.deepEqual([silent.result, silent.packets], ['address-unknown', 0])
    const client = createReflectorClient(liar.node, { isRelay: () => true })
    const consent = await client.consent(String(relay.peerId), String(listener.node.peerId), signal)
    const lie = await claim('11.22.33.44')
    assert.deepEqual([lie.result, lie.packets], ['address-differs', 0])
    consent.end()
  })

  it('ends with its caller’s signal and with the node', async () => {
    const listener = await peer('cone', {}, true)
    const dialler = await peer('cone')
    const [out] = await meet(dialler, listener)
    const aborting = new AbortController()
    const punch = dialler.hard.punch({ connection: out, role: 'responder', signal: aborting.signal })
    aborting.abort()
    assert.equal(await punch, null)
    assert.equal(dialler.outcomes[0]?.result, 'aborted')
    await dialler.hard.stop()
    assert.ok(isNone(await dialler.hard.punch({ connection: out, role: 'responder', signal })))
    assert.equal(dialler.outcomes[1]?.result, 'aborted')
  })
})
