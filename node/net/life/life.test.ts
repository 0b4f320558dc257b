import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { PeerId } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { TransferCutError } from '../../errors.ts'
import { TOPICS } from '../libp2p.ts'
import { GENEROUS_LIMITS } from '../limits.ts'
import { PROTOCOLS } from '../protocols.ts'
import { eventually, startPeer, startRelay, type TestPeer } from '../testing.ts'
import { LIFE } from './life.ts'
import { LIVENESS } from './liveness.ts'
import { gatedBlob, startLine } from './testing.ts'

const PING_PROTOCOL = '/ipfs/ping/1.0.0'
const MIB = 1024 * 1024
const FAST = { life: { ...LIFE, relayedIdleMs: 100 }, liveness: { ...LIVENESS, intervalMs: 100, timeoutMs: 1000 } }

const pathsTo = ({ network }: TestPeer, other: TestPeer): string[] =>
  network
    .connections()
    .filter(({ peerId }) => peerId === other.identity.peerId)
    .map(({ path }) => path)
    .sort()

const directTo = ({ node }: TestPeer, other: TestPeer) =>
  node.libp2p.getConnections(other.node.libp2p.peerId).find(connection => connection.direct)

/** `behind` listens nowhere but at the relay; `open` does, so that `behind` can make a direct connection at any time. */
async function pair(
  relays: string[],
  options: Parameters<typeof startPeer>[0] = {}
): Promise<{ open: TestPeer; behind: TestPeer } & AsyncDisposable> {
  const open = await startPeer({ relays, ...FAST, ...options })
  const behind = await startPeer({ relays, listen: [], ...FAST })
  await eventually(() => behind.network.anchors().every(({ reserved }) => reserved), 'reserved')
  await eventually(() => open.network.anchors().every(({ connected }) => connected), 'both know the relay')
  return {
    open,
    behind,
    async [Symbol.asyncDispose]() {
      await open[Symbol.asyncDispose]()
      await behind[Symbol.asyncDispose]()
    }
  }
}

const portOf = ({ node }: TestPeer): number =>
  Number(/\/ip4\/127\.0\.0\.1\/tcp\/(\d+)\/p2p/.exec(node.libp2p.getMultiaddrs().join('\n'))?.[1])

/** What a punch ends with: a direct connection beside the relayed one. */
async function punch({ open, behind }: { open: TestPeer; behind: TestPeer }, port = portOf(open)): Promise<void> {
  await behind.node.libp2p.dial(multiaddr(`/ip4/127.0.0.1/tcp/${port}/p2p/${open.identity.peerId}`), { force: true })
}

describe("the connections' life", function () {
  this.timeout(60_000)
  const signal = new AbortController().signal

  it('moves an upload from the relay to the direct connection, every byte once', async () => {
    await using relay = await startRelay({ limits: { circuitDataBytes: 64 * MIB } })
    await using peers = await pair([relay.address])
    const { open, behind } = peers
    const bytes = randomBytes(64 * MIB)
    const { blob, reached, open: openGate } = gatedBlob(bytes, 2 * MIB)
    const storing = open.network.store(behind.network.self, blob)
    await reached
    assert.deepEqual(pathsTo(open, behind), ['relayed'])
    await punch(peers)
    openGate()
    const { cid } = await storing
    assert.ok(bytes.equals(behind.blobs.get(cid)!), 'stored bytes differ')
    assert.equal(open.network.counters().movedToDirect, 1)
    await eventually(() => pathsTo(open, behind).join() === 'direct', 'only the direct connection is left')
  })

  it('moves a download likewise', async () => {
    await using relay = await startRelay()
    await using peers = await pair([relay.address])
    const { open, behind } = peers
    const bytes = randomBytes(8 * MIB)
    behind.blobs.set('blob', bytes)
    const { bytes: coming } = await open.network.retrieve(behind.network.self, 'blob', { signal })
    const got: Uint8Array[] = []
    for await (const chunk of coming) {
      if (got.push(chunk) === 1) await punch(peers)
    }
    assert.ok(bytes.equals(Buffer.concat(got)), 'retrieved bytes differ')
    assert.equal(open.network.counters().movedToDirect, 1)
  })

  it('sends nothing over the relay after that, gossip neither', async () => {
    await using relay = await startRelay()
    await using peers = await pair([relay.address])
    const { open, behind } = peers
    await open.network.health(behind.network.self)
    await punch(peers)
    await eventually(
      () => [pathsTo(open, behind), pathsTo(behind, open)].every(paths => paths.join() === 'direct'),
      'the relayed connection was closed'
    )
    const heard: string[] = []
    behind.node.libp2p.services.pubsub.addEventListener('message', event => {
      const { topic, data } = event.detail as { topic: string; data: Uint8Array }
      if (topic === TOPICS.broadcast) heard.push(Buffer.from(data).toString())
    })
    await relay.node.stop()
    await eventually(() => open.network.connections().length === 1, 'the relay is gone')
    await eventually(async () => {
      await open.node.libp2p.services.pubsub.publish(TOPICS.broadcast, Buffer.from(`${heard.length} ${Math.random()}`))
      return heard.length > 0
    }, 'gossip comes over the direct connection')
  })

  it('punches again to a peer that stays on the relay, while requests go to it, and less and less often', async () => {
    await using relay = await startRelay()
    await using peers = await pair([relay.address], {
      life: { ...FAST.life, laterMs: [20, 40, 3_600_000] },
      limits: { ...GENEROUS_LIMITS, punchAttempts: 1, punchTimeoutMs: 200 }
    })
    const { open, behind } = peers
    const later = () => open.network.counters().punchedLater
    const dcutr = open.node.libp2p.services.dcutr as unknown as { repunch: (...args: unknown[]) => Promise<unknown> }
    const { repunch } = dcutr
    let ended = 0
    dcutr.repunch = (...args) => repunch.apply(dcutr, args).finally(() => ended++)
    const ask = () => open.network.health(behind.network.self)
    await eventually(async () => {
      await ask()
      return later() === 2
    }, 'punched again twice')
    // The third wait is an hour, and no punch that is under way is the reason for it.
    await eventually(() => ended === 2, 'both are over')
    for (const endMs = performance.now() + 100; performance.now() < endMs; ) await ask()
    assert.equal(later(), 2)
    await punch(peers)
    await ask()
    assert.equal(later(), 2)
  })

  it('keeps a relayed connection for as long as something is under way on it', async () => {
    await using relay = await startRelay()
    await using peers = await pair([relay.address])
    const { open, behind } = peers
    const bytes = randomBytes(MIB)
    behind.blobs.set('blob', bytes)
    const { bytes: coming } = await behind.network.retrieve(open.network.self, 'absent', { signal }).catch(() => ({
      bytes: null
    }))
    assert.equal(coming, null)
    await open.network.health(behind.network.self)
    const [relayed] = open.node.libp2p.getConnections(behind.node.libp2p.peerId)
    const stream = await relayed!.newStream('/bytecave/retrieve/1.0.0', { runOnLimitedConnection: true })
    await punch(peers)
    await eventually(() => pathsTo(open, behind).length === 2, 'both are there')
    await new Promise(resolve => setTimeout(resolve, 5 * FAST.life.relayedIdleMs))
    assert.deepEqual(pathsTo(open, behind), ['direct', 'relayed'])
    stream.abort(new Error('done'))
    await eventually(() => pathsTo(open, behind).join() === 'direct', 'it is closed once it is idle')
  })

  it('asks each connection of a peer once, however many new ones it makes', async () => {
    const quiet = { life: LIFE, limits: { ...GENEROUS_LIMITS, pingIntervalMs: 600_000 } }
    await using host = await startPeer({ ...quiet, liveness: { ...LIVENESS, glanceMs: 600_000 } })
    await using guest = await startPeer(quiet)
    let asked = 0
    await guest.node.libp2p.handle(
      PING_PROTOCOL,
      stream => {
        asked++
        stream.addEventListener('message', ({ data }) => stream.send(data))
      },
      { force: true, maxInboundStreams: 1000 }
    )
    const connections = 12
    for (let nth = 1; nth <= connections; nth++) {
      await punch({ open: host, behind: guest })
      const ends = () => host.node.libp2p.getConnections(guest.node.libp2p.peerId)
      await eventually(() => ends().length >= nth, 'both ends have it')
    }
    // Once each; every new one asking all the others would be 66.
    assert.ok(asked < 2 * connections, `asked ${asked} times for ${connections} connections`)
  })

  it('loses patience with a peer that made a direct connection and opens no stream on it', async () => {
    await using relay = await startRelay({ limits: { circuitDataBytes: 64 * MIB } })
    await using peers = await pair([relay.address], { timings: { recoverMs: 0 } })
    const { open, behind } = peers
    const { blob, reached, open: openGate } = gatedBlob(randomBytes(4 * MIB), 2 * MIB)
    const limit = AbortSignal.timeout(10_000)
    const storing = open.network.store(behind.network.self, blob, { signal: limit })
    storing.catch(() => undefined)
    await reached
    await behind.node.libp2p.unhandle(PROTOCOLS.store)
    let opened = 0
    open.node.libp2p.addEventListener('connection:open', ({ detail: connection }) => {
      const { newStream } = connection
      connection.newStream = (protocols, options) => {
        if (protocols === PROTOCOLS.store) opened++
        return newStream.call(connection, protocols, options)
      }
    })
    await punch(peers)
    openGate()
    await assert.rejects(storing, TransferCutError)
    assert.ok(opened > 1 && opened < 10, `${opened} tries`)
  })

  it('meets a wanted peer through the relay and punches again when its own addresses change', async () => {
    let addresses = ['127.0.0.1']
    await using relay = await startRelay()
    await using peers = await pair([relay.address], { readInterfaces: () => addresses })
    const { open, behind } = peers
    const before = { ...open.network.counters() }
    const punched: string[] = []
    const pathsThen: string[][] = []
    Object.assign(open.node.libp2p.services.dcutr!, {
      async repunch(peerId: PeerId) {
        punched.push(peerId.toString())
        pathsThen.push(pathsTo(open, behind))
        await punch(peers)
      }
    })
    await open.network.health(behind.network.self)
    await punch(peers)
    await eventually(() => pathsTo(open, behind).join() === 'direct', 'direct')
    const lost = directTo(open, behind)!
    addresses = ['127.0.0.2']
    await eventually(() => lost.status !== 'open', 'the connection from the address that went is ended')
    await eventually(() => pathsTo(open, behind).includes('direct'), 'direct again')
    assert.deepEqual(punched, [behind.identity.peerId])
    assert.deepEqual(pathsThen, [['relayed']])
    const { networkChanges, punchedAgain } = open.network.counters()
    assert.deepEqual([networkChanges - before.networkChanges, punchedAgain - before.punchedAgain], [1, 1])
    await open.network.health(behind.network.self)
  })

  it('goes on through the relay when the direct connection is cut', async () => {
    await using relay = await startRelay({ limits: { circuitDataBytes: 64 * MIB } })
    await using peers = await pair([relay.address])
    const { open, behind } = peers
    await open.network.health(behind.network.self)
    await punch(peers)
    await eventually(() => pathsTo(open, behind).join() === 'direct', 'direct')
    const bytes = randomBytes(4 * MIB)
    const { blob, reached, open: openGate } = gatedBlob(bytes, 2 * MIB)
    const storing = open.network.store(behind.network.self, blob)
    await reached
    directTo(behind, open)?.abort(new Error('cut'))
    openGate()
    const { cid } = await storing
    assert.ok(bytes.equals(behind.blobs.get(cid)!), 'stored bytes differ')
    assert.equal(open.network.counters().fellBack, 1)
  })

  it('notices a direct connection that fell silent, and goes on through the relay', async () => {
    await using relay = await startRelay({ limits: { circuitDataBytes: 64 * MIB } })
    await using peers = await pair([relay.address])
    const { open, behind } = peers
    await using line = await startLine(portOf(open))
    await open.network.health(behind.network.self)
    await punch(peers, line.port)
    await eventually(() => pathsTo(open, behind).join() === 'direct', 'direct')
    const bytes = randomBytes(4 * MIB)
    const { blob, reached, open: openGate } = gatedBlob(bytes, 2 * MIB)
    const storing = open.network.store(behind.network.self, blob)
    await reached
    line.freeze()
    openGate()
    const { cid } = await storing
    assert.ok(bytes.equals(behind.blobs.get(cid)!), 'stored bytes differ')
    const { fellBack, silenced, directLost } = open.network.counters()
    assert.deepEqual([fellBack, silenced, directLost], [1, 1, 1])
    // Who only answers notices too, and does not close the new relayed connection beside the dead one.
    await eventually(() => directTo(behind, open) === undefined, 'the far side ended it as well')
    assert.deepEqual(pathsTo(behind, open), ['relayed'])
  })

  it('asks its relays too when a direct connection falls silent, and sooner knows that they are lost', async () => {
    const slow = { ...LIVENESS, intervalMs: 100, timeoutMs: 4000 }
    await using relay = await startRelay({ limits: { circuitDataBytes: 64 * MIB } })
    await using toRelay = await startLine(relay.port)
    await using peers = await pair([relay.address.replace(/\/tcp\/\d+/, `/tcp/${toRelay.port}`)], { liveness: slow })
    const { open, behind } = peers
    await using line = await startLine(portOf(open))
    await open.network.health(behind.network.self)
    await punch(peers, line.port)
    await eventually(() => pathsTo(open, behind).join() === 'direct', 'direct')
    const ended: string[] = []
    open.node.libp2p.addEventListener('connection:close', ({ detail }) => {
      ended.push(detail.remotePeer.equals(behind.node.libp2p.peerId) ? 'peer' : 'relay')
    })
    line.freeze()
    toRelay.freeze()
    const limit = AbortSignal.timeout(30_000)
    open.network.health(behind.network.self, { signal: limit }).catch(() => undefined)
    await eventually(() => ended.includes('peer') && ended.includes('relay'), 'both are ended', 20_000)
    assert.equal(ended[0], 'relay')
  })

  it('reserves on two relays, and loses no request when one of them goes', async () => {
    await using first = await startRelay()
    await using second = await startRelay()
    await using peers = await pair([first.address, second.address])
    const { open, behind } = peers
    const circuits = () => behind.network.multiaddrs().filter(address => address.includes('/p2p-circuit'))
    await eventually(() => circuits().length >= 2, 'two relayed addresses')
    const bytes = randomBytes(4 * MIB)
    const { blob, reached, open: openGate } = gatedBlob(bytes, MIB)
    const storing = open.network.store(behind.network.self, blob)
    await reached
    const via = open.network.connections().find(({ peerId }) => peerId === behind.network.self)?.via
    const [lost, left] = via === first.identity.peerId ? [first, second] : [second, first]
    await lost.node.stop()
    openGate()
    const { cid } = await storing
    assert.ok(bytes.equals(behind.blobs.get(cid)!), 'stored bytes differ')
    await eventually(() => circuits().every(address => address.includes(left.identity.peerId)), 'its address went')
    assert.notEqual(circuits().length, 0)
    await using again = await startRelay({ identity: lost.identity, port: lost.port })
    await eventually(
      () => circuits().some(address => address.includes(again.identity.peerId)),
      'the relay that came back is reserved on and announced again'
    )
  })

  it('resumes over the direct connection what a relay cut at its limit', async () => {
    await using relay = await startRelay({ limits: { circuitDataBytes: 1.5 * MIB } })
    await using peers = await pair([relay.address])
    const { open, behind } = peers
    const bytes = randomBytes(6 * MIB)
    const { blob, reached, open: openGate } = gatedBlob(bytes, 3 * MIB)
    const storing = open.network.store(behind.network.self, blob)
    await reached
    await punch(peers)
    openGate()
    const { cid } = await storing
    assert.ok(bytes.equals(behind.blobs.get(cid)!), 'stored bytes differ')
    const { resumed, movedToDirect } = open.network.counters()
    assert.ok(resumed > 1)
    assert.equal(movedToDirect, 1)
  })
})
