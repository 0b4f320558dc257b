import assert from 'node:assert/strict'
import type { Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { createNetworkNode, ephemeralIdentity, silentLog } from '../node/index.ts'
import { createAdmission } from './admission.ts'
import { readConfig } from './config.ts'
import { createRates } from './rates.ts'
import { eventually, sendOver, startRelayPeer, startTestRelay } from './testing.ts'

const STOP_PROTOCOL = '/libp2p/circuit/relay/0.2.0/stop'
const MIB = 1024 * 1024
const MINUTE_MS = 60_000

function admissionAt(clock: { nowMs: number }, limits: Partial<Parameters<typeof createAdmission>[0]> = {}) {
  const { relayLimits } = readConfig({})
  const { gater, ...admission } = createAdmission({ ...relayLimits, nowMs: () => clock.nowMs, ...limits })
  return {
    ...admission,
    gater,
    /** Whether a connection is refused; with `isPending` its handshake does not end. */
    isHostRefused(address: string, isPending = false) {
      const connection = Object.assign(new EventTarget(), { remoteAddr: multiaddr(address), status: 'open' })
      const isRefused = gater.denyInboundConnection(connection as never) as boolean
      if (!isPending) connection.dispatchEvent(new Event('close'))
      return isRefused
    },
    /** Takes one to the end of its handshake; answers how to end it, or null when it is refused. */
    connect(address: string, peerId: string): (() => void) | null {
      const connection = Object.assign(new EventTarget(), { remoteAddr: multiaddr(address), status: 'open' })
      const isRefused = gater.denyInboundConnection(connection as never) as boolean
      if (isRefused || gater.denyInboundEncryptedConnection(peerId as never, connection as never)) return null
      return () => connection.dispatchEvent(new Event('close'))
    },
    isPeerRefused: (peerId: string) => gater.denyInboundEncryptedConnection(peerId as never, {} as never) as boolean
  }
}

/** How many of `times` were refused. */
const refusedOf = (times: number, ask: () => boolean) => Array.from({ length: times }, ask).filter(Boolean).length

describe('the relay’s admission, with the defaults', () => {
  it('takes 20 new connections a minute from one address and then blocks it for 5 minutes', () => {
    const clock = { nowMs: 0 }
    const { isHostRefused, refused, blocked } = admissionAt(clock)
    assert.equal(
      refusedOf(20, () => isHostRefused('/ip4/11.0.0.1/tcp/1')),
      0
    )
    assert.equal(isHostRefused('/ip4/11.0.0.1/tcp/2'), true)
    assert.equal(isHostRefused('/ip4/11.0.0.2/tcp/1'), false)
    clock.nowMs += 5 * MINUTE_MS - 1
    assert.equal(isHostRefused('/ip4/11.0.0.1/udp/3/quic-v1'), true)
    assert.deepEqual(blocked(), { hosts: 1, peers: 0 })
    clock.nowMs += 1
    assert.equal(isHostRefused('/ip4/11.0.0.1/tcp/4'), false)
    assert.deepEqual(refused(), {
      'host-rate': 1,
      'host-blocked': 1,
      'host-pending': 0,
      'host-connections': 0,
      'peer-rate': 0,
      'peer-blocked': 0,
      'libp2p-limit': 0
    })
  })

  it('takes 5 new connections a minute of one peer and then blocks it for 5 minutes', () => {
    const clock = { nowMs: 0 }
    const { isPeerRefused, refused } = admissionAt(clock)
    for (let minute = 0; minute < 3; minute++) {
      assert.equal(
        refusedOf(5, () => isPeerRefused('alice')),
        0
      )
      clock.nowMs += MINUTE_MS
    }
    assert.equal(
      refusedOf(7, () => isPeerRefused('alice')),
      2
    )
    assert.equal(isPeerRefused('bob'), false)
    clock.nowMs += 5 * MINUTE_MS
    assert.equal(isPeerRefused('alice'), false)
    assert.deepEqual([refused()['peer-rate'], refused()['peer-blocked']], [1, 1])
  })

  it('counts an IPv6 /64 as one address, and no circuit as its relay’s', () => {
    const { isHostRefused } = admissionAt({ nowMs: 0 })
    let host = 0
    assert.equal(
      refusedOf(30, () => isHostRefused(`/ip6/2a00:1:2:3::${++host}/tcp/1`)),
      10
    )
    assert.equal(
      refusedOf(30, () => isHostRefused('/ip4/11.0.0.9/tcp/4001/p2p-circuit')),
      0
    )
  })

  it('takes 5 at a time from one address that do not come to the end of their handshake', () => {
    const { isHostRefused, refused } = admissionAt({ nowMs: 0 })
    assert.equal(
      refusedOf(7, () => isHostRefused('/ip4/11.0.0.1/tcp/1', true)),
      2
    )
    assert.equal(isHostRefused('/ip4/11.0.0.2/tcp/1', true), false)
    assert.equal(refused()['host-pending'], 2)
  })

  it('takes a handshake off once, at its end or its connection’s, and counts nothing of one that is gone before', () => {
    const { connect, gater, isHostRefused } = admissionAt({ nowMs: 0 })
    for (let nth = 0; nth < 5; nth++) {
      const connection = Object.assign(new EventTarget(), {
        remoteAddr: multiaddr('/ip4/11.0.0.1/tcp/1'),
        status: 'closed'
      })
      assert.equal(gater.denyInboundConnection(connection as never), false)
    }
    for (let nth = 0; nth < 4; nth++) assert.equal(isHostRefused('/ip4/11.0.0.1/tcp/1', true), false)
    connect('/ip4/11.0.0.1/tcp/1', 'one')!()
    assert.equal(isHostRefused('/ip4/11.0.0.1/tcp/1', true), false)
    assert.equal(isHostRefused('/ip4/11.0.0.1/tcp/1', true), true)
  })

  it('keeps 256 connections of one address open, whatever its peers call themselves, until one of them ends', () => {
    const clock = { nowMs: 0 }
    const { connect, refused } = admissionAt(clock)
    const open: Array<() => void> = []
    for (let nth = 0; nth < 300; nth++) {
      // As fast as is let in: an address that comes faster is blocked.
      if (nth % 20 === 0) clock.nowMs += MINUTE_MS
      const end = connect('/ip4/11.0.0.1/tcp/1', `peer ${nth}`)
      if (end !== null) open.push(end)
    }
    assert.equal(open.length, 256)
    assert.equal(refused()['host-connections'], 44)
    assert.ok(connect('/ip4/11.0.0.2/tcp/1', 'another') !== null)
    clock.nowMs += MINUTE_MS
    open[0]!()
    open[0]!()
    assert.ok(connect('/ip4/11.0.0.1/tcp/1', 'one more') !== null)
    assert.equal(connect('/ip4/11.0.0.1/tcp/1', 'too many'), null)
  })

  it('keeps a peer blocked for its five minutes, however many others come meanwhile', () => {
    const clock = { nowMs: 0 }
    const { isPeerRefused, blocked } = admissionAt(clock, { maxRemembered: 100 })
    assert.equal(
      refusedOf(6, () => isPeerRefused('greedy')),
      1
    )
    for (let i = 0; i < 1000; i++) isPeerRefused(`other ${i}`)
    clock.nowMs += 5 * MINUTE_MS - 1
    assert.equal(isPeerRefused('greedy'), true)
    clock.nowMs += 1
    assert.equal(isPeerRefused('greedy'), false)
    assert.equal(blocked().peers, 0)
  })

  it('remembers a bounded number of addresses', () => {
    const { isHostRefused, blocked } = admissionAt({ nowMs: 0 }, { connectionsPerHost: 1, maxRemembered: 100 })
    for (let i = 0; i < 1000; i++) {
      const address = `/ip4/11.0.${i >> 8}.${i & 255}/tcp/1`
      refusedOf(2, () => isHostRefused(address))
    }
    assert.equal(blocked().hosts, 100)
  })
})

describe('the relay’s rates', () => {
  it('let a burst go, then ask to wait as long as the bytes are worth, each way by itself', () => {
    const clock = { nowMs: 0 }
    const rates = createRates({ bitsPerSecond: 8000, burstBytes: 1000, nowMs: () => clock.nowMs })
    assert.equal(rates.take('alice', 'up', 1000), 0)
    assert.equal(rates.take('alice', 'up', 500), 500)
    assert.equal(rates.take('alice', 'down', 1000), 0)
    clock.nowMs += 500
    assert.equal(rates.take('alice', 'up', 1), 1)
    clock.nowMs += 60_000
    assert.equal(rates.take('alice', 'up', 1001), 1)
  })

  it('remember a bounded number of peers, those used last', () => {
    const rates = createRates({ bitsPerSecond: 8000, burstBytes: 1000, maxBuckets: 10, nowMs: () => 0 })
    for (let i = 0; i < 100; i++) {
      rates.take('busy', 'up', 1000)
      rates.take(`peer ${i}`, 'up', 1)
    }
    assert.equal(rates.size(), 10)
    assert.ok(rates.take('busy', 'up', 0) > 0)
  })
})

describe('a relay with the default limits', function () {
  this.timeout(60_000)

  it('refuses a peer’s sixth connection within a minute, and nobody else’s', async () => {
    await using relay = await startTestRelay()
    const connectAs = async (identity: Awaited<ReturnType<typeof ephemeralIdentity>>) => {
      const node = await createNetworkNode({ role: 'client', identity, enableDht: false, log: silentLog() })
      await node.start()
      try {
        const connection = await node.libp2p.dial(multiaddr(relay.address))
        // Noise tells the dialler that it is done before the relay has decided.
        await connection.newStream('/ipfs/ping/1.0.0')
        return true
      } catch {
        return false
      } finally {
        await node.stop()
      }
    }
    const greedy = await ephemeralIdentity()
    const outcomes: boolean[] = []
    for (let i = 0; i < 7; i++) outcomes.push(await connectAs(greedy))
    assert.deepEqual(outcomes, [true, true, true, true, true, false, false])
    assert.equal(await relay.metric('warren_relay_connections_refused_total', 'peer-rate'), 1)
    assert.ok((await relay.metric('warren_relay_connections_refused_total', 'peer-blocked')) >= 1)
    assert.equal(await relay.metric('warren_relay_blocked_peers'), 1)
    assert.equal(await connectAs(await ephemeralIdentity()), true)
  })

  it('refuses an address’s twenty-first connection within a minute, and keeps those that are there', async () => {
    await using relay = await startTestRelay()
    await using early = await startRelayPeer(relay.address)
    await eventually(early.reserved, 'the first reserved')
    const late: AsyncDisposable[] = []
    for (let i = 0; i < 20; i++) {
      const node = await createNetworkNode({
        role: 'client',
        identity: await ephemeralIdentity(),
        enableDht: false,
        log: silentLog()
      })
      await node.start()
      late.push({ [Symbol.asyncDispose]: () => node.stop() })
      const dial = node.libp2p.dial(multiaddr(relay.address))
      if (i < 19) await dial
      else await assert.rejects(dial)
    }
    assert.ok((await relay.metric('warren_relay_connections_refused_total', 'host-rate')) >= 1)
    assert.equal(await relay.metric('warren_connections'), 20)
    assert.equal(early.reserved(), true)
    await Promise.all(late.map(each => each[Symbol.asyncDispose]()))
  })

  it('counts also what js-libp2p refuses', async () => {
    await using relay = await startTestRelay({ P2P_INBOUND_CONNECTION_THRESHOLD: '1' })
    const peers = await Promise.all(Array.from({ length: 4 }, () => startRelayPeer(relay.address, { role: 'client' })))
    await eventually(
      async () => (await relay.metric('warren_relay_connections_refused_total', 'libp2p-limit')) > 0,
      'one is refused'
    )
    await Promise.all(peers.map(peer => peer[Symbol.asyncDispose]()))
  })

  it('holds a peer to 10 Mbit/s by back-pressure, and loses nothing', async () => {
    await using relay = await startTestRelay()
    await using target = await startRelayPeer(relay.address)
    await using source = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(target.reserved, 'it reserved')
    const circuit = await source.circuitTo(target.peerId)
    const bytes = 4 * MIB
    const beganMs = performance.now()
    await sendOver(circuit, bytes)
    const seconds = (performance.now() - beganMs) / 1000
    assert.equal(target.received(), bytes)
    // Slower is no error here; faster is.
    const { relayLimits } = readConfig({})
    const leastSeconds = ((bytes - relayLimits.peerBurstBytes) * 8) / relayLimits.peerBitsPerSecond
    assert.ok(seconds >= leastSeconds * 0.9, `${bytes} bytes in ${seconds} s, where ${leastSeconds} s are the least`)
    assert.equal(await relay.metric('warren_relay_circuits_ended_total', 'stalled'), 0)
  })

  it('cuts a circuit at 10 MB, and the next one goes', async () => {
    await using relay = await startTestRelay({ RELAY_PEER_BITS_PER_SECOND: '100000000000' })
    await using target = await startRelayPeer(relay.address)
    await using source = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(target.reserved, 'it reserved')
    // More by far than windows and sockets take on the way: the sender is still at it when the circuit is cut.
    await assert.rejects(sendOver(await source.circuitTo(target.peerId), 32 * MIB))
    assert.ok(target.received() <= 10 * MIB)
    await eventually(() => relay.metric('warren_relay_circuits_ended_total', 'bytes'), 'the circuit is counted')
    assert.equal(await relay.metric('warren_relay_circuits'), 0)
    await sendOver(await source.circuitTo(target.peerId), MIB)
  })

  it('tells both ends of a circuit its limits, in seconds and bytes', async () => {
    await using relay = await startTestRelay()
    await using target = await startRelayPeer(relay.address)
    await using source = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(target.reserved, 'it reserved')
    const circuit = await source.circuitTo(target.peerId)
    const far = await eventually(
      () => target.node.libp2p.getConnections().find(({ direct }) => !direct),
      'the circuit is there'
    )
    for (const { limits } of [circuit, far!]) {
      assert.ok(limits?.seconds !== undefined && limits.seconds > 60 && limits.seconds <= 120)
      assert.ok(limits.bytes !== undefined && limits.bytes > 9n * 1024n * 1024n)
    }
  })
})

describe('a relay with low limits', function () {
  this.timeout(60_000)

  it('refuses reservations above its number, until one that has one is gone', async () => {
    await using relay = await startTestRelay({ RELAY_MAX_RESERVATIONS: '1' })
    const first = await startRelayPeer(relay.address)
    await eventually(first.reserved, 'the first reserved')
    await using second = await startRelayPeer(relay.address)
    await eventually(
      () => relay.metric('warren_relay_circuits_refused_total', 'reservations-full'),
      'the second is refused'
    )
    assert.equal(second.reserved(), false)
    await first[Symbol.asyncDispose]()
    await eventually(second.reserved, 'the second reserved')
    assert.equal(await relay.metric('warren_relay_reservations'), 1)
  })

  it('refuses reservations above an address’s number, whichever of its peers asks, until one that has one is gone', async () => {
    await using relay = await startTestRelay({ RELAY_MAX_RESERVATIONS_PER_IP: '1' })
    const first = await startRelayPeer(relay.address)
    await eventually(first.reserved, 'the first reserved')
    await using second = await startRelayPeer(relay.address)
    await eventually(
      () => relay.metric('warren_relay_circuits_refused_total', 'host-reservations-full'),
      'the second is refused'
    )
    assert.equal(second.reserved(), false)
    await first[Symbol.asyncDispose]()
    await eventually(second.reserved, 'the second reserved')
    assert.equal(await relay.metric('warren_relay_reservations'), 1)
  })

  it('renews a reservation from where it was made, however full that address is', async () => {
    await using relay = await startTestRelay({ RELAY_MAX_RESERVATIONS_PER_IP: '1' })
    await using peer = await startRelayPeer(relay.address)
    await eventually(peer.reserved, 'it reserved')
    const [connection] = peer.node.libp2p.getConnections()
    const stream = await connection!.newStream('/libp2p/circuit/relay/0.2.0/hop')
    const got: Uint8Array[] = []
    stream.addEventListener('message', ({ data }) => void got.push(data.subarray()))
    // A RESERVE with its length before it; the answer's last field is its status, here OK.
    stream.send(Uint8Array.of(2, 0x08, 0))
    await eventually(() => got.length > 0 && stream.remoteWriteStatus === 'closed', 'it answered')
    assert.deepEqual([...Buffer.concat(got).subarray(-2)], [0x28, 100])
    assert.equal(await relay.metric('warren_relay_circuits_refused_total', 'host-reservations-full'), 0)
  })

  for (const listen of ['/ip4/127.0.0.1/tcp/0', '/ip4/127.0.0.1/tcp/0/ws', '/ip4/127.0.0.1/udp/0/quic-v1']) {
    it(`refuses connections above an address’s number, and takes one when another ended: ${listen}`, async () => {
      await using relay = await startTestRelay({
        RELAY_MAX_CONNECTIONS_PER_IP: '1',
        RELAY_MAX_CONNECTIONS_PER_IP_PER_MINUTE: '1000',
        RELAY_LISTEN_ADDRESSES: listen
      })
      const ours = async () => {
        const identity = await ephemeralIdentity()
        const node = await createNetworkNode({ role: 'client', identity, enableDht: false, log: silentLog() })
        await node.start()
        return { node, [Symbol.asyncDispose]: () => node.stop() }
      }
      await using first = await ours()
      await using second = await ours()
      const dial = async ({ node }: typeof first) => {
        const connection = await node.libp2p.dial(multiaddr(relay.address))
        // Handshakes may be over for the dialler before the relay has decided.
        await connection.newStream('/ipfs/ping/1.0.0')
        return connection
      }
      const connection = await dial(first)
      await assert.rejects(dial(second))
      assert.ok((await relay.metric('warren_relay_connections_refused_total', 'host-connections')) >= 1)
      await connection.close()
      await eventually(() => dial(second).catch(() => null), 'the place is free again')
    })
  }

  it('cuts a circuit when its time is over', async () => {
    await using relay = await startTestRelay({ RELAY_CIRCUIT_DURATION_MS: '300' })
    await using target = await startRelayPeer(relay.address)
    await using source = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(target.reserved, 'it reserved')
    const circuit = await source.circuitTo(target.peerId)
    await eventually(() => circuit.status !== 'open', 'the circuit is cut')
    assert.equal(await relay.metric('warren_relay_circuits_ended_total', 'duration'), 1)
    assert.equal(await relay.metric('warren_relay_circuits'), 0)
  })

  it('keeps no stream to a peer that does not say whether it takes a circuit', async () => {
    await using relay = await startTestRelay({ RELAY_HOP_TIMEOUT_MS: '300' })
    await using target = await startRelayPeer(relay.address)
    await using source = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(target.reserved, 'it reserved')
    const asked: Stream[] = []
    const { libp2p } = target.node
    await libp2p.handle(STOP_PROTOCOL, stream => void asked.push(stream), { force: true, runOnLimitedConnection: true })
    await assert.rejects(source.circuitTo(target.peerId))
    await eventually(() => asked.length === 1 && asked[0]!.status !== 'open', 'its stream is gone')
    assert.equal(await relay.metric('warren_relay_circuits_refused_total', 'target-unreachable'), 1)
  })

  it('gives the place of a circuit that nobody took to the next one', async () => {
    await using relay = await startTestRelay({ RELAY_MAX_CIRCUITS_PER_IP: '1', RELAY_HOP_TIMEOUT_MS: '300' })
    await using silent = await startRelayPeer(relay.address)
    await using target = await startRelayPeer(relay.address)
    await using source = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(() => silent.reserved() && target.reserved(), 'both reserved')
    await silent.node.libp2p.handle(STOP_PROTOCOL, () => undefined, { force: true, runOnLimitedConnection: true })
    await assert.rejects(source.circuitTo(silent.peerId))
    await eventually(() => source.circuitTo(target.peerId).catch(() => null), 'the place is free')
  })

  it('refuses circuits above a peer’s number and to whom has no reservation, with the reason counted', async () => {
    await using relay = await startTestRelay({ RELAY_MAX_HOP_STREAMS: '1' })
    await using one = await startRelayPeer(relay.address)
    await using other = await startRelayPeer(relay.address)
    await using source = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(() => one.reserved() && other.reserved(), 'both reserved')
    const unknown = (await ephemeralIdentity()).peerId
    await assert.rejects(source.circuitTo(unknown))
    assert.equal(await relay.metric('warren_relay_circuits_refused_total', 'no-reservation'), 1)
    const circuit = await source.circuitTo(one.peerId)
    await assert.rejects(source.circuitTo(other.peerId))
    await circuit.close()
    await eventually(() => source.circuitTo(other.peerId).catch(() => null), 'the place is free again')
  })

  it('refuses circuits above an address’s number, whichever of its peers asks', async () => {
    await using relay = await startTestRelay({ RELAY_MAX_CIRCUITS_PER_IP: '1' })
    await using target = await startRelayPeer(relay.address)
    await using one = await startRelayPeer(relay.address, { role: 'client' })
    await using other = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(target.reserved, 'it reserved')
    const circuit = await one.circuitTo(target.peerId)
    await assert.rejects(other.circuitTo(target.peerId))
    assert.equal(await relay.metric('warren_relay_circuits_refused_total', 'host-circuits-full'), 1)
    await circuit.close()
    await eventually(() => other.circuitTo(target.peerId).catch(() => null), 'the place is free again')
  })

  it('cuts no circuit that is in use for longer than one may be idle', async () => {
    const idleMs = 1500
    await using relay = await startTestRelay({ RELAY_MAX_CIRCUITS: '1', RELAY_CIRCUIT_IDLE_MS: String(idleMs) })
    await using target = await startRelayPeer(relay.address)
    await using one = await startRelayPeer(relay.address, { role: 'client' })
    await using other = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(target.reserved, 'it reserved')
    const circuit = await one.circuitTo(target.peerId)
    const oldMs = performance.now() + idleMs + 100
    let isOver = false
    const using = (async () => {
      while (!isOver) await sendOver(circuit, 1000)
    })()
    await eventually(() => performance.now() > oldMs, 'it is older than that')
    await assert.rejects(other.circuitTo(target.peerId))
    isOver = true
    await using
    assert.equal(await relay.metric('warren_relay_circuits_ended_total', 'reclaimed'), 0)
  })

  it('cuts no circuit in which bytes wait, however long nothing goes', async () => {
    const idleMs = 300
    await using relay = await startTestRelay({
      RELAY_MAX_CIRCUITS: '1',
      RELAY_CIRCUIT_IDLE_MS: String(idleMs),
      RELAY_PEER_BITS_PER_SECOND: '8000',
      RELAY_PEER_BURST_BYTES: '65536'
    })
    await using target = await startRelayPeer(relay.address)
    await using one = await startRelayPeer(relay.address, { role: 'client' })
    await using other = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(target.reserved, 'it reserved')
    const circuit = await one.circuitTo(target.peerId)
    const sent = assert.rejects(sendOver(circuit, MIB))
    await eventually(() => target.received() > 0, 'some of it went')
    const untilMs = performance.now() + 4 * idleMs
    while (performance.now() < untilMs) await assert.rejects(other.circuitTo(target.peerId))
    assert.equal(await relay.metric('warren_relay_circuits_ended_total', 'reclaimed'), 0)
    circuit.abort(new Error('the test is over'))
    await sent
  })

  it('ends a circuit that is being built when its place goes to another', async () => {
    await using relay = await startTestRelay({
      RELAY_MAX_CIRCUITS: '1',
      RELAY_CIRCUIT_IDLE_MS: '200',
      RELAY_HOP_TIMEOUT_MS: '60000'
    })
    await using silent = await startRelayPeer(relay.address)
    await using target = await startRelayPeer(relay.address)
    await using one = await startRelayPeer(relay.address, { role: 'client' })
    await using other = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(() => silent.reserved() && target.reserved(), 'both reserved')
    const asked: Stream[] = []
    const { libp2p } = silent.node
    await libp2p.handle(STOP_PROTOCOL, stream => void asked.push(stream), { force: true, runOnLimitedConnection: true })
    const failing = assert.rejects(one.circuitTo(silent.peerId))
    await eventually(() => asked.length === 1, 'it is being built')
    await eventually(() => other.circuitTo(target.peerId).catch(() => null), 'the other has its place')
    await eventually(() => asked[0]!.status !== 'open', 'it is ended', 3000)
    await failing
  })

  it('cuts an idle circuit for a new one when all places are taken, and none that is in use', async () => {
    await using relay = await startTestRelay({ RELAY_MAX_CIRCUITS: '1', RELAY_CIRCUIT_IDLE_MS: '500' })
    await using target = await startRelayPeer(relay.address)
    await using one = await startRelayPeer(relay.address, { role: 'client' })
    await using other = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(target.reserved, 'it reserved')
    const circuit = await one.circuitTo(target.peerId)
    await sendOver(circuit, 1000)
    await assert.rejects(other.circuitTo(target.peerId))
    assert.equal(circuit.status, 'open')
    await eventually(() => other.circuitTo(target.peerId).catch(() => null), 'the idle one makes room')
    await eventually(() => circuit.status !== 'open', 'the idle one is cut')
    assert.equal(await relay.metric('warren_relay_circuits_ended_total', 'reclaimed'), 1)
    assert.equal(await relay.metric('warren_relay_circuits'), 1)
  })
})
