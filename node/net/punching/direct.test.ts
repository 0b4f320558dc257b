import assert from 'node:assert/strict'
import { createMetrics } from '../../metrics.ts'
import { eventually, startPeer, startRelay, type TestPeer } from '../testing.ts'
import { createPunchCounters } from './counters.ts'
import type { PunchReport } from './dcutr.types.ts'
import { punchingQuic } from './quic.ts'
import { punchingTcp } from './tcp.ts'
import { startPuncher } from './testing.ts'

describe('peers that can only punch', () => {
  let relay: Awaited<ReturnType<typeof startRelay>>
  before(async () => {
    relay = await startRelay()
  })
  after(() => relay[Symbol.asyncDispose]())

  for (const [name, transport] of [
    ['tcp', punchingTcp],
    ['quic-v1', punchingQuic]
  ] as const) {
    it(`meet over ${name} at the addresses the relay saw`, async () => {
      const options = () => ({
        relay: name === 'tcp' ? relay.address : relay.quicAddress,
        transports: [transport() as never],
        listen: name === 'tcp' ? [] : ['/ip4/127.0.0.1/udp/0/quic-v1']
      })
      await using a = await startPuncher(options())
      await using b = await startPuncher(options())
      await eventually(() => a.dcutr?.observed.list().length === 1, 'the relay told A its address')
      const seen = a.dcutr?.observed.list()[0]
      await a.libp2p.dial(b.circuit)
      await eventually(() => a.direct.length === 1 && b.direct.length === 1, 'both sides are direct')
      assert.deepEqual(
        [a, b].map(({ reports }) => reports.map(({ role, transport, outcome }) => `${role} ${transport} ${outcome}`)),
        [[`initiator ${name} direct`], [`responder ${name} direct`]]
      )
      const [connection] = b.directTo(a)
      assert.equal(connection?.remoteAddr.toString(), `${seen?.address}/p2p/${a.peerId}`, 'A comes from its punch port')
      assert.equal(seen?.observer, relay.identity.peerId)
    })
  }

  it('are observed over every transport by a relay that they dialled by one', async () => {
    await using a = await startPuncher({
      relay: relay.address,
      transports: [punchingTcp(), punchingQuic() as never],
      listen: []
    })
    await eventually(() => a.dcutr?.observed.list().length === 2, 'both were observed')
    const protocols = () => a.dcutr?.observed.list().map(({ protocol }) => protocol)
    assert.deepEqual(protocols()?.sort(), ['quic-v1', 'tcp'])
    const quic = a.libp2p.getConnections().find(({ remoteAddr }) => String(remoteAddr).includes('/quic-v1'))
    await quic?.close()
    await eventually(() => protocols()?.length === 1, 'an observation goes with its connection')
  })

  it('are node and client of the product, and the bytes go the direct way', async () => {
    const reports: PunchReport[] = []
    const punching = { isUsable: () => true, onReport: (report: PunchReport) => reports.push(report) }
    const hidden = { relays: [relay.address], listen: [], enableDht: false, punching }
    await using node = await startPeer(hidden)
    await using client = await startPeer({ ...hidden, role: 'client', relays: [], bootstrap: [relay.address] })
    await eventually(() => node.node.libp2p.getMultiaddrs().length > 0, 'the node has a reservation')
    await client.node.libp2p.dial(node.node.libp2p.getMultiaddrs())
    await eventually(() => paths(client, node).includes('direct'), 'the client is direct')
    await eventually(() => paths(node, client).includes('direct'), 'the node is direct')
    const { cid } = await client.network.store(node.identity.peerId, {
      sizeBytes: 3,
      open: async function* () {
        yield Uint8Array.of(1, 2, 3)
      }
    })
    assert.deepEqual([...(node.blobs.get(cid) ?? [])], [1, 2, 3])
    assert.deepEqual(reports.map(({ role, outcome }) => `${role} ${outcome}`).sort(), [
      'initiator direct',
      'responder direct'
    ])
  })

  it('stay on the relay with stock libp2p, and when it is switched off', async () => {
    for (const dcutr of ['stock', 'off'] as const) {
      const hidden = { relays: [relay.address], listen: [], enableDht: false, dcutr }
      await using node = await startPeer(hidden)
      await using other = await startPeer(hidden)
      await eventually(() => node.node.libp2p.getMultiaddrs().length > 0, 'the node has a reservation')
      await other.node.libp2p.dial(node.node.libp2p.getMultiaddrs())
      assert.equal(other.node.dcutr, null)
      assert.deepEqual(paths(other, node), ['relayed'])
      const protocols = other.node.libp2p.getProtocols()
      assert.equal(protocols.includes('/libp2p/dcutr'), dcutr === 'stock')
    }
  })
})

function paths(of: TestPeer, to: TestPeer): string[] {
  return of.network
    .connections()
    .filter(({ peerId }) => peerId === to.identity.peerId)
    .map(({ path }) => path)
}

describe('the counters of punches', () => {
  it('count each outcome by transport and role', async () => {
    const metrics = createMetrics('node')
    const { onReport: count } = createPunchCounters(metrics)
    const report: PunchReport = {
      peerId: 'x',
      role: 'initiator',
      transport: 'tcp',
      outcome: 'direct',
      attempt: 1,
      elapsedMs: 1
    }
    count(report)
    count(report)
    count({ ...report, role: 'responder', transport: 'none', outcome: 'rate-limited' })
    const text = await metrics.text()
    assert.match(text, /^warren_punches_total\{.*transport="tcp".*role="initiator".*outcome="direct".*\} 2$/m)
    assert.match(text, /^warren_punches_total\{.*transport="none".*role="responder".*outcome="rate-limited".*\} 1$/m)
  })
})
