import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import type { Connection, Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { eventually, startRelay } from '../testing.ts'
import { MAX_PORTS_PER_HOST } from './candidates.ts'
import { NotRelayedError } from './dcutr-errors.ts'
import { DCUTR_PROTOCOL, decodeMessage, encodeMessage, messageReader, sendMessage } from './dcutr-wire.ts'
import { PunchFailedError } from './errors.ts'
import { selection } from './lazy-stream.ts'
import { type Puncher, type PuncherOptions, startPuncher } from './testing.ts'

/** Longer than a test waits: what ends earlier was ended for another reason. */
const PATIENT = { punchTimeoutMs: 60_000, punchNegotiationMs: 60_000 }
const QUICK = { punchTimeoutMs: 1500, punchNegotiationMs: 1500, punchUnilateralMs: 1500 }
/** For who says nothing where a punch is agreed on: that has a time of its own. */
const QUICK_TO_AGREE = { ...QUICK, punchTimeoutMs: 60_000 }
const outcomes = ({ reports }: Puncher) =>
  reports.map(({ transport, role, outcome }) => `${transport} ${role} ${outcome}`)
const { signal } = new AbortController()

describe('DCUtR', () => {
  let relay: Awaited<ReturnType<typeof startRelay>>
  const peers: Puncher[] = []
  before(async () => {
    relay = await startRelay()
  })
  after(async () => {
    await relay[Symbol.asyncDispose]()
  })
  afterEach(async () => {
    await Promise.all(peers.splice(0).map(peer => peer[Symbol.asyncDispose]()))
  })

  async function start(options: Partial<PuncherOptions> = {}): Promise<Puncher> {
    const peer = await startPuncher({ relay: relay.address, ...options })
    peers.push(peer)
    return peer
  }
  /** Nothing of a punch is left on this peer. */
  const isQuiet = (peer: Puncher) => peer.dcutr?.active() === 0 && peer.door.running === 0

  it('turns a relayed connection into a direct one, each side in its role', async () => {
    const [a, b] = [await start(), await start()]
    const relayed = await a.libp2p.dial(b.circuit)
    await eventually(() => a.direct.length === 1 && b.direct.length === 1, 'both sides were told')
    assert.deepEqual(outcomes(a), ['tcp initiator direct'])
    assert.deepEqual(outcomes(b), ['tcp responder direct'])
    assert.ok((b.reports[0]?.rttMs ?? 0) > 0)
    assert.deepEqual(
      [a.door.punches.map(({ initiator }) => initiator), b.door.punches.map(({ initiator }) => initiator)],
      [[true], [false]]
    )
    await eventually(() => isQuiet(a) && isQuiet(b), 'nothing is left of the punch')
    assert.equal(relayed.status, 'open', 'whoever has streams on the relayed connection closes it')
  })

  it('punches again over the relayed connection from either side, one punch at a time', async () => {
    const [a, b] = [await start(), await start()]
    await a.libp2p.dial(b.circuit)
    await eventually(() => a.direct.length === 1 && b.direct.length === 1, 'both sides are direct')
    await eventually(() => isQuiet(a) && isQuiet(b), 'the first punch is over')
    const [first, second] = [a.direct[0]!, await a.dcutr!.repunch(b.libp2p.peerId)]
    assert.notEqual(first.id, second.id)
    assert.equal(a.reports.at(-1)?.role, 'responder')
    await eventually(() => b.reports.at(-1)?.role === 'initiator' && isQuiet(a) && isQuiet(b), 'the roles are turned')
    const made = await Promise.all([
      a.dcutr!.repunch(b.libp2p.peerId),
      a.dcutr!.repunch(b.libp2p.peerId),
      b.dcutr!.repunch(a.libp2p.peerId)
    ])
    assert.ok(made.every(({ direct }) => direct))
    await eventually(() => isQuiet(a) && isQuiet(b), 'both are done')
    assert.ok(a.door.mostAtOnce === 1 && b.door.mostAtOnce === 1)
  })

  it('needs a relayed connection', async () => {
    const [a, b] = [await start(), await start()]
    await assert.rejects(a.dcutr!.repunch(b.libp2p.peerId), NotRelayedError)
  })

  it('speaks with @libp2p/dcutr where that opens the stream', async () => {
    const [ours, stock] = [await start(), await start({ service: 'stock', announce: true })]
    const relayed = await ours.libp2p.dial(stock.circuit)
    await eventually(() => ours.directTo(stock).length > 0, 'a direct connection to the stock peer')
    await eventually(() => relayed.status !== 'open', 'the stock peer took it for a success')
    assert.deepEqual(outcomes(ours), ['tcp initiator direct'])
  })

  it('speaks with @libp2p/dcutr where that is asked', async () => {
    const [stock, ours] = [await start({ service: 'stock', announce: true }), await start({ canDial: false })]
    await stock.libp2p.dial(ours.circuit)
    await eventually(() => stock.directTo(ours).length > 0, 'a direct connection to the stock peer')
    await eventually(() => ours.direct.length === 1, 'our side was told')
    assert.deepEqual(outcomes(ours), ['tcp responder direct'])
  })

  it('dials a peer that announces public addresses and does not punch', async () => {
    const [a, b] = [await start({ announce: true }), await start()]
    await a.libp2p.dial(b.circuit)
    await eventually(() => b.direct.length === 1 && a.reports.length === 1, 'B dialled A')
    assert.deepEqual(outcomes(b), ['other responder unilateral'])
    assert.deepEqual(outcomes(a), ['other initiator unilateral'])
    assert.deepEqual([...a.door.punches, ...b.door.punches], [])
  })

  it('tries three times from CONNECT on and says why each failed', async () => {
    const refused = new PunchFailedError('refused', 'there')
    const [a, b] = [await start({ punch: refused }), await start({ punch: refused })]
    await a.libp2p.dial(b.circuit)
    await eventually(() => b.reports.length === 3 && isQuiet(a) && isQuiet(b), 'three attempts')
    assert.deepEqual(outcomes(b), Array(3).fill('tcp responder refused'))
    assert.deepEqual(
      b.reports.map(({ attempt }) => attempt),
      [1, 2, 3]
    )
    assert.deepEqual(outcomes(a), Array(3).fill('tcp initiator refused'))
  })

  it('ends a punch that nobody answers at its deadline', async () => {
    const init = { limits: { ...QUICK, punchAttempts: 1 } }
    const [a, b] = [await start({ punch: 'wait', init }), await start({ punch: 'wait', init })]
    await a.libp2p.dial(b.circuit)
    await eventually(() => a.reports.length === 1 && b.reports.length === 1, 'both gave up')
    // Whoever comes to its deadline first ends the stream, and may be faster than the other's own deadline.
    const [first, second] = [outcomes(a).join(), outcomes(b).join()]
    assert.match(first, /^tcp initiator (timeout|peer-gone)$/)
    assert.match(second, /^tcp responder (timeout|peer-gone)$/)
    assert.match(`${first} ${second}`, /timeout/)
    assert.ok(isQuiet(a) && isQuiet(b))
  })

  it('hands over to the method for hard pairs after the last attempt, or before the first', async () => {
    const refused = new PunchFailedError('refused', 'there')
    for (const isHard of [false, true]) {
      const asked: string[] = []
      const init = { limits: { punchAttempts: 1 } }
      const a = await start({ punch: refused, init })
      const b = await start({
        punch: refused,
        init: {
          ...init,
          isHard: () => isHard,
          hardPunch: async ({ connection, role }) => {
            asked.push(`${role} after ${b.reports.length}`)
            // Any direct connection will do for this test: the one to the relay.
            return connection.direct ? null : (b.libp2p.getConnections(relay.node.libp2p.peerId)[0] ?? null)
          }
        }
      })
      await a.libp2p.dial(b.circuit)
      await eventually(() => b.direct.length === 1, 'the hard method was used')
      assert.deepEqual(asked, [isHard ? 'responder after 0' : 'responder after 1'])
      assert.equal(outcomes(b).at(-1), 'other responder hard')
    }
  })

  it('does not keep the method for hard pairs waiting while an attempt takes its time', async () => {
    const a = await start({ punch: 'wait' })
    const b = await start({
      punch: 'wait',
      init: {
        hardAfterMs: 0,
        async hardPunch() {
          await eventually(() => b.door.running === 1, 'an ordinary attempt is under way')
          return b.libp2p.getConnections(relay.node.libp2p.peerId)[0] ?? null
        }
      }
    })
    await a.libp2p.dial(b.circuit)
    await eventually(() => b.direct.length === 1 && isQuiet(b), 'the hard method won, and the attempt ended')
    assert.deepEqual(outcomes(b).toSorted(), ['none responder overtaken', 'other responder hard'])
    await eventually(() => isQuiet(a), 'the other side noticed', 10_000)
  })

  it('stops in the middle without a trace', async () => {
    const [a, b] = [await start({ punch: 'wait' }), await start({ punch: 'wait' })]
    await a.libp2p.dial(b.circuit)
    await eventually(() => a.door.running === 1 && b.door.running === 1, 'both punch')
    await b.libp2p.stop()
    assert.ok(isQuiet(b))
    assert.deepEqual(outcomes(b), ['none responder stopped'])
    await eventually(() => isQuiet(a), 'the other side noticed', 10_000)
  })

  describe('against a hostile peer', () => {
    const address = multiaddr('/ip4/11.0.0.1/tcp/4009').bytes
    /** One that speaks the protocol by hand, over a relayed connection to its victim. */
    async function attack(
      victim: Puncher
    ): Promise<{ hostile: Puncher; relayed: Connection; open: () => Promise<Stream> }> {
      const hostile = await start({ service: 'none' })
      const relayed = await hostile.libp2p.dial(victim.circuit)
      await eventually(() => victim.reports.length > 0 && isQuiet(victim), 'the victim asked and was not understood')
      assert.deepEqual(outcomes(victim), ['none responder unsupported'])
      victim.reports.length = 0
      return {
        hostile,
        relayed,
        open: () => relayed.newStream(DCUTR_PROTOCOL, { runOnLimitedConnection: true })
      }
    }
    const isOver = ({ status }: Stream) => status === 'reset' || status === 'aborted' || status === 'closed'

    it('refuses what is malformed, oversized, replayed or not due', async () => {
      const victim = await start()
      const { open } = await attack(victim)
      const connect = encodeMessage({ type: 'CONNECT', addresses: [address] })
      const framed = Uint8Array.of(connect.byteLength, ...connect)
      const attacks: Uint8Array[] = [
        Uint8Array.of(3, 0x08, 0xac, 0x02), // SYNC first
        Uint8Array.of(4, 1, 2, 3, 4),
        Uint8Array.of(0),
        Uint8Array.of(0xff, 0xff, 0x7f),
        new Uint8Array(20_000).fill(0xff),
        Buffer.concat([framed, framed]) // CONNECT again where SYNC is due
      ]
      for (const bytes of attacks) {
        const stream = await open()
        stream.send(bytes)
        await eventually(() => isOver(stream), 'the stream was reset')
      }
      await eventually(() => victim.reports.length === attacks.length && isQuiet(victim), 'each was counted')
      assert.deepEqual(outcomes(victim), Array(attacks.length).fill('none initiator protocol'))
      assert.deepEqual(victim.door.punches, [])
    })

    it('sends to no more hosts and ports than the caps, however many are named', async () => {
      const victim = await start({ punch: 'wait', init: { limits: QUICK } })
      const { open } = await attack(victim)
      const stream = await open()
      const reader = messageReader(stream)
      const many = Array.from(
        { length: 300 },
        (_, at) => multiaddr(`/ip4/11.0.0.${(at % 3) + 1}/tcp/${at + 2001}`).bytes
      )
      sendMessage(stream, { type: 'CONNECT', addresses: many })
      await reader.next('CONNECT', { signal })
      sendMessage(stream, { type: 'SYNC', addresses: [] })
      await eventually(() => victim.reports.length === 1 && isQuiet(victim), 'the punch is over')
      assert.equal(victim.door.punches.length, 2 * MAX_PORTS_PER_HOST)
      assert.deepEqual(outcomes(victim), ['tcp initiator timeout'])
    })

    it('refuses a peer that asks without end', async () => {
      const victim = await start({ init: { limits: { ...QUICK, punchesPerPeer: 4 } } })
      const { open } = await attack(victim)
      for (let asked = 0; asked < 40; asked++) {
        const stream = await open()
        await stream.close().catch(() => undefined)
        await eventually(() => isOver(stream), 'the ask was answered')
      }
      await eventually(() => victim.reports.length === 40 && isQuiet(victim), 'each ask was counted')
      // One of the four was the victim's own ask.
      assert.equal(outcomes(victim).filter(outcome => outcome === 'none initiator rate-limited').length, 37)
    })

    it('does not follow the names that a peer announces', async () => {
      let visits = 0
      const inside = createServer(socket => {
        visits += 1
        socket.destroy()
      }).listen(0, '127.0.0.1')
      try {
        await once(inside, 'listening')
        const { port } = inside.address() as AddressInfo
        const names = ['dns', 'dns4'].map(name => `/${name}/localhost/tcp/${port}`)
        const hostile = await start({ announce: names })
        const victim = await start()
        await hostile.libp2p.dial(victim.circuit)
        await eventually(() => victim.direct.length === 1 && isQuiet(victim), 'the attempt is over')
        const { addresses } = await victim.libp2p.peerStore.get(hostile.libp2p.peerId)
        assert.ok(addresses.some(({ multiaddr }) => multiaddr.toString().startsWith('/dns4/')))
        assert.deepEqual([outcomes(victim), visits], [['tcp responder direct'], 0])
      } finally {
        inside.close()
      }
    })

    it('punches at one host so many times a minute, however many peers name it', async () => {
      const refused = new PunchFailedError('refused', 'there')
      const victim = await start({ punch: refused, init: { limits: { punchesPerHost: 2 } } })
      const punched: number[] = []
      for (let peer = 0; peer < 3; peer++) {
        const { open } = await attack(victim)
        const stream = await open()
        const reader = messageReader(stream)
        sendMessage(stream, { type: 'CONNECT', addresses: [address] })
        await reader.next('CONNECT', { signal })
        // The last one is refused before its SYNC is due.
        if (peer < 2) sendMessage(stream, { type: 'SYNC', addresses: [] })
        await eventually(() => victim.reports.length === 1 && isQuiet(victim), 'the attempt is over')
        assert.deepEqual(outcomes(victim), [peer < 2 ? 'tcp initiator refused' : 'none initiator rate-limited'])
        punched.push(victim.door.punches.length)
        await victim.libp2p.hangUp(victim.libp2p.getConnections().find(({ direct }) => !direct)!.remotePeer)
        victim.reports.length = 0
      }
      assert.deepEqual(punched, [1, 2, 2])
    })

    it('punches with no more peers at once than the cap', async () => {
      const victim = await start({ init: { limits: { punchesAtOnce: 1 } } })
      const [first, second] = [await attack(victim), await attack(victim)]
      const stream = await first.open()
      sendMessage(stream, { type: 'CONNECT', addresses: [address] })
      await eventually(() => victim.dcutr?.active() === 1, 'the first is served')
      const refused = await second.open()
      await eventually(() => isOver(refused), 'the second is refused')
      assert.deepEqual(outcomes(victim), ['none initiator busy'])
    })

    it('serves nobody over a direct connection', async () => {
      const victim = await start()
      const hostile = await start({ service: 'none' })
      const connection = await hostile.libp2p.dial(victim.listener())
      const stream = await connection.newStream(DCUTR_PROTOCOL)
      await eventually(() => isOver(stream), 'the stream was reset')
      assert.deepEqual(outcomes(victim), ['none initiator not-relayed'])
    })

    const deaths: Array<[string, string, (stream: Stream, relayed: Connection) => Promise<void>]> = [
      ['before CONNECT', 'none initiator peer-gone', async stream => stream.abort(new Error('gone'))],
      [
        'after CONNECT',
        'none initiator peer-gone',
        async stream => {
          sendMessage(stream, { type: 'CONNECT', addresses: [address] })
          await messageReader(stream).next('CONNECT', { signal })
          stream.abort(new Error('gone'))
        }
      ],
      [
        'with its relayed connection before SYNC',
        'none initiator peer-gone',
        async (stream, relayed) => {
          sendMessage(stream, { type: 'CONNECT', addresses: [address] })
          await messageReader(stream).next('CONNECT', { signal })
          relayed.abort(new Error('gone'))
        }
      ],
      [
        'during the punch',
        'tcp initiator peer-gone',
        async stream => {
          sendMessage(stream, { type: 'CONNECT', addresses: [address] })
          await messageReader(stream).next('CONNECT', { signal })
          sendMessage(stream, { type: 'SYNC', addresses: [] })
          stream.abort(new Error('gone'))
        }
      ],
      [
        'silently after CONNECT',
        'none initiator timeout',
        async stream => sendMessage(stream, { type: 'CONNECT', addresses: [address] })
      ]
    ]
    for (const [when, outcome, die] of deaths) {
      it(`outlives one that dies ${when}`, async () => {
        const limits = outcome.endsWith('timeout') ? QUICK_TO_AGREE : PATIENT
        const victim = await start({ punch: 'wait', init: { limits } })
        const { open, relayed } = await attack(victim)
        await die(await open(), relayed)
        await eventually(() => victim.reports.length === 1 && isQuiet(victim), 'the attempt is over')
        assert.deepEqual(outcomes(victim), [outcome])
      })
    }

    const answers: Array<[string, string, (stream: Stream) => Promise<void>]> = [
      ['resets the stream', 'none responder refused-by-peer', async stream => stream.abort(new Error('no'))],
      [
        'resets after CONNECT',
        'none responder refused-by-peer',
        async stream => {
          await messageReader(stream).next('CONNECT', { signal })
          stream.abort(new Error('no'))
        }
      ],
      ['does not answer', 'none responder timeout', async () => undefined],
      [
        'names nothing usable',
        'none responder no-addresses',
        async stream => sendMessage(stream, { type: 'CONNECT', addresses: [Uint8Array.of(1, 2, 3)] })
      ],
      [
        'answers with SYNC',
        'none responder protocol',
        async stream => sendMessage(stream, { type: 'SYNC', addresses: [] })
      ],
      [
        'dies during the punch',
        'tcp responder peer-gone',
        async stream => {
          const reader = messageReader(stream)
          sendMessage(stream, { type: 'CONNECT', addresses: [address] })
          await reader.next('CONNECT', { signal })
          await reader.next('SYNC', { signal })
          stream.abort(new Error('gone'))
        }
      ]
    ]
    for (const [what, outcome, act] of answers) {
      it(`outlives one that ${what} when it is asked`, async () => {
        const limits = { punchAttempts: 1, ...(outcome.endsWith('timeout') ? QUICK_TO_AGREE : PATIENT) }
        const victim = await start({ punch: 'wait', init: { limits } })
        const hostile = await start({ service: 'none' })
        await hostile.libp2p.handle(DCUTR_PROTOCOL, act, { runOnLimitedConnection: true })
        await hostile.libp2p.dial(victim.circuit)
        await eventually(() => victim.reports.length === 1 && isQuiet(victim), 'the attempt is over')
        assert.deepEqual(outcomes(victim), [outcome])
      })
    }

    it('is told whether we announce an address that needs no punch', async () => {
      for (const announce of [true, false]) {
        const { open } = await attack(await start(announce ? { announce } : {}))
        const stream = await open()
        const reader = messageReader(stream)
        sendMessage(stream, { type: 'CONNECT', addresses: [address] })
        assert.equal((await reader.next('CONNECT', { signal })).isPrivate, !announce)
        reader.release()
      }
    })

    it('is told SYNC, and not dialled, when it says that it announces nothing', async () => {
      const victim = await start()
      const hostile = await start({ service: 'none', announce: true })
      const isKnown = async () => (await victim.libp2p.peerStore.get(hostile.libp2p.peerId)).addresses.length > 0
      let isSynced = false
      await hostile.libp2p.handle(
        DCUTR_PROTOCOL,
        async stream => {
          const reader = messageReader(stream)
          await reader.next('CONNECT', { signal })
          await eventually(isKnown, 'identify has told what it announces')
          sendMessage(stream, { type: 'CONNECT', addresses: [address], isPrivate: true })
          await reader.next('SYNC', { signal })
          isSynced = true
        },
        { runOnLimitedConnection: true }
      )
      await hostile.libp2p.dial(victim.circuit)
      await eventually(() => isSynced, 'SYNC')
      assert.ok(!outcomes(victim).some(outcome => outcome.endsWith('unilateral')))
    })

    it('is told CONNECT with the choice of the protocol, before it agreed to it', async () => {
      const victim = await start({ init: { limits: PATIENT } })
      const hostile = await start({ service: 'none' })
      const heard: Uint8Array[] = []
      hostile.libp2p.addEventListener('connection:open', ({ detail }) => {
        const { muxer, onIncomingStream } = detail as unknown as {
          muxer: EventTarget
          onIncomingStream: (event: Event) => void
        }
        if (detail.direct) return
        muxer.removeEventListener('stream', onIncomingStream)
        muxer.addEventListener('stream', event => {
          ;(event as CustomEvent<Stream>).detail.addEventListener('message', ({ data }) => heard.push(data.subarray()))
        })
      })
      await hostile.libp2p.dial(victim.circuit)
      const choice = Buffer.from(selection(DCUTR_PROTOCOL))
      await eventually(() => Buffer.concat(heard).includes(choice), 'the choice came')
      const after = Buffer.concat(heard).subarray(Buffer.concat(heard).indexOf(choice) + choice.byteLength)
      assert.equal(decodeMessage(after.subarray(1, 1 + after[0]!)).type, 'CONNECT')
    })

    const silences: Array<[string, (hostile: Puncher) => void | Promise<void>]> = [
      [
        'answers no CONNECT',
        ({ libp2p }) => libp2p.handle(DCUTR_PROTOCOL, () => undefined, { runOnLimitedConnection: true })
      ],
      [
        'agrees on no protocol',
        ({ libp2p }) =>
          libp2p.addEventListener('connection:open', ({ detail }) => {
            const { muxer, onIncomingStream } = detail as unknown as {
              muxer: EventTarget
              onIncomingStream: (event: Event) => void
            }
            if (!detail.direct) muxer.removeEventListener('stream', onIncomingStream)
          })
      ]
    ]
    for (const [what, keepSilent] of silences) {
      it(`gives one that ${what} its place for one attempt, not for all`, async () => {
        const victim = await start({ init: { limits: { ...QUICK_TO_AGREE, punchAttempts: 3, punchesAtOnce: 1 } } })
        const hostile = await start({ service: 'none' })
        await keepSilent(hostile)
        await hostile.libp2p.dial(victim.circuit)
        await eventually(() => victim.reports.length > 0, 'the first attempt failed')
        await eventually(() => isQuiet(victim), 'it gave up')
        assert.deepEqual(outcomes(victim), ['none responder timeout'])
      })
    }
  })
})
