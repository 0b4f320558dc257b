import assert from 'node:assert/strict'
import type { Socket } from 'node:dgram'
import { identify } from '@libp2p/identify'
import type { Libp2p } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { ephemeralIdentity } from '../../../identity.ts'
import { silentLog } from '../../../log.ts'
import { frameReader, sendHeader } from '../../frames.ts'
import { createNetworkNode } from '../../libp2p.ts'
import { GENEROUS_LIMITS } from '../../limits.ts'
import { eventually } from '../../testing.ts'
import type { ReflectorPlace } from './observe.ts'
import { createOwnNat, SILENCE_MS } from './own-nat.ts'
import { createReflectorClient, ofFirstRelays, usableHosts } from './reflector-client.ts'
import { REFLECTOR_PROTOCOL, serveReflector } from './reflector-protocol.ts'
import { bindUdp, closeUdp } from './sockets.ts'

const HOST = '127.0.0.1'
const FRAME = { idleTimeoutMs: 10_000 }
const REPLY = {
  ports: [4003, 4004],
  hosts: [] as string[],
  hasOtherAddress: false,
  token: '00'.repeat(16),
  ttlMs: 60_000
}

describe('asking relays for their reflectors', function () {
  this.timeout(30_000)
  const nodes: Libp2p[] = []
  const sockets: Socket[] = []
  const signal = new AbortController().signal

  afterEach(async () => {
    for (const socket of sockets.splice(0)) closeUdp(socket)
    await Promise.all(nodes.splice(0).map(node => node.stop()))
  })

  async function open(): Promise<Libp2p> {
    const node = await createLibp2p({
      addresses: { listen: [`/ip4/${HOST}/tcp/0`] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      connectionGater: { denyDialMultiaddr: () => false },
      services: { identify: identify() }
    })
    nodes.push(node)
    return node
  }

  /** Answers every question with this. */
  async function speaker(reply: object): Promise<{ node: Libp2p; id: string; asked: () => number }> {
    const node = await open()
    let asked = 0
    await node.handle(REFLECTOR_PROTOCOL, async stream => {
      const reader = frameReader(stream)
      await reader.header(FRAME)
      asked++
      await sendHeader(stream, reply, FRAME)
    })
    return { node, id: String(node.peerId), asked: () => asked }
  }

  /** `from` dials, and has heard what the other speaks. */
  async function meet(from: Libp2p, to: Libp2p): Promise<void> {
    await from.dial(to.getMultiaddrs()[0]!)
    const speaks = async (one: Libp2p, other: Libp2p) => {
      const known = await one.peerStore.all()
      return known.some(({ id, protocols }) => id.equals(other.peerId) && protocols.includes(REFLECTOR_PROTOCOL))
    }
    await eventually(async () => (await speaks(from, to)) || (await speaks(to, from)), 'it made itself known')
  }

  it('only relays of the configuration are asked, whoever claims the protocol and whoever dialled', async () => {
    const own = await open()
    const [relay, outbound, inbound] = [await speaker(REPLY), await speaker(REPLY), await speaker(REPLY)]
    await Promise.all([meet(own, relay.node), meet(own, outbound.node), meet(inbound.node, own)])
    const client = createReflectorClient(own, { isRelay: peerId => peerId === relay.id })
    const places = await client.places({ signal })
    assert.deepEqual(
      places.map(({ host, ports }) => ({ host, ports })),
      [{ host: HOST, ports: REPLY.ports }]
    )
    assert.deepEqual([relay.asked(), outbound.asked(), inbound.asked()], [1, 0, 0])
    await assert.rejects(client.consent(outbound.id, relay.id, signal), /relay of ours/)
    assert.equal(outbound.asked(), 0)
  })

  it('addresses inside some network, well-known ports and tokens of no time lead nowhere', async () => {
    const own = await open()
    const hosts = ['10.0.0.1', '192.168.1.1', '127.0.0.2', '11.0.0.1']
    const elsewhere = await speaker({ ...REPLY, hosts })
    const low = await speaker({ ...REPLY, ports: [53, 4003] })
    const hasty = await speaker({ ...REPLY, ttlMs: 1 })
    for (const { node } of [elsewhere, low, hasty]) await meet(own, node)
    const client = createReflectorClient(own, { isRelay: () => true })
    for (let nth = 0; nth < 3; nth++) {
      const places = await client.places({ signal })
      assert.deepEqual(
        places.map(({ host, ports }) => ({ host, ports })),
        [{ host: HOST, ports: REPLY.ports }]
      )
    }
    assert.equal(hasty.asked(), 1)
  })

  it('four relays are enough', async () => {
    const own = await open()
    for (let nth = 0; nth < 5; nth++) await meet(own, (await speaker(REPLY)).node)
    assert.equal((await createReflectorClient(own, { isRelay: () => true }).places({ signal })).length, 4)
  })

  it('of four relays each counts once, however many addresses it has', () => {
    const answers = [[], ['a1', 'a2'], ['b1'], [], ['c1', 'c2'], ['d1', 'd2'], ['e1']]
    assert.deepEqual(ofFirstRelays(answers), ['a1', 'a2', 'b1', 'c1', 'c2', 'd1', 'd2'])
  })

  it('a node asks its relays and first peers, and no other that it is connected to', async () => {
    const [relay, first, strange] = [await speaker(REPLY), await speaker(REPLY), await speaker(REPLY)]
    const addressOf = ({ node }: { node: Libp2p }): string => String(node.getMultiaddrs()[0])
    const node = await createNetworkNode({
      role: 'node',
      identity: await ephemeralIdentity(),
      listen: [`/ip4/${HOST}/udp/0/quic-v1`],
      relays: [addressOf(relay)],
      bootstrap: [addressOf(first)],
      enableDht: false,
      limits: GENEROUS_LIMITS,
      log: silentLog()
    })
    await node.start()
    try {
      for (const each of [relay, first, strange]) await meet(node.libp2p, each.node)
      await node.hardPunch!.detect(signal)
      assert.ok(relay.asked() > 0 && first.asked() > 0)
      assert.equal(strange.asked(), 0)
    } finally {
      await node.stop()
    }
  })

  it('of the names it takes that which it reached, and two public ones of a public relay at most', () => {
    assert.deepEqual(usableHosts([], '10.0.0.1'), ['10.0.0.1'])
    assert.deepEqual(usableHosts(['11.0.0.1', '10.0.0.1', '10.0.0.2'], '10.0.0.1'), ['10.0.0.1'])
    assert.deepEqual(usableHosts(['10.0.0.1', '127.0.0.1', '11.0.0.2', '11.0.0.1'], '11.0.0.1'), [
      '11.0.0.2',
      '11.0.0.1'
    ])
    assert.deepEqual(usableHosts(['11.0.0.1', '11.0.0.1', '11.0.0.2', '11.0.0.3'], '11.0.0.1'), [
      '11.0.0.1',
      '11.0.0.2'
    ])
    assert.deepEqual(usableHosts(['10.0.0.1'], '11.0.0.1'), [])
  })

  it('who permits many evicts its own permits and nobody else’s', async () => {
    const relay = await open()
    const serving = await serveReflector({ libp2p: relay, reflector: null })
    const [greedy, modest, friend] = [await open(), await open(), await open()]
    for (const node of [greedy, modest, friend]) await meet(node, relay)
    const [from, quiet, to] = [greedy, modest, friend].map(node => createReflectorClient(node, { isRelay: () => true }))
    const relayId = String(relay.peerId)
    const permit = async (client: typeof from, peerId: string) => (await client!.consent(relayId, peerId, signal)).end()
    await permit(quiet, String(friend.peerId))
    await permit(from, String(friend.peerId))
    const sees = async (node: Libp2p) => {
      const consent = await to!.consent(relayId, String(node.peerId), signal)
      return await consent.address().finally(consent.end)
    }
    assert.deepEqual([await sees(greedy), await sees(modest)], [HOST, HOST])
    for (let nth = 0; nth < 32; nth++) await permit(from, `peer ${nth}`)
    assert.deepEqual([await sees(greedy), await sees(modest)], [null, HOST])
    // Those of the greedy one, that of the modest one, and two of the friend.
    assert.equal(serving.permits(), 32 + 1 + 2)
    await permit(from, String(friend.peerId))
    assert.equal(await sees(greedy), HOST)
    await serving.stop()
  })

  it('after silence nobody is asked again for a while, but after the network changed', async () => {
    const silent = await bindUdp({ host: HOST })
    sockets.push(silent)
    let heard = 0
    silent.on('message', () => heard++)
    const place: ReflectorPlace = {
      host: HOST,
      ports: [silent.address().port],
      hasOtherAddress: false,
      token: new Uint8Array(16)
    }
    let nowMs = 0
    const nat = createOwnNat({ places: async () => [place], signal, nowMs: () => nowMs })
    const see = async (): Promise<number> => {
      const before = heard
      const { facts } = await nat.see(undefined, signal)
      assert.equal(facts.mappings, 0)
      return heard - before
    }
    assert.ok((await see()) > 0)
    nowMs = SILENCE_MS - 1
    assert.equal(await see(), 0)
    nat.forget()
    assert.ok((await see()) > 0)
    nowMs += SILENCE_MS + 1
    assert.ok((await see()) > 0)
  })
})
