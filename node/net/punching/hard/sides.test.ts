import assert from 'node:assert/strict'
import type { Stream } from '@libp2p/interface'
import { streamPair } from '@libp2p/utils'
import { eventually } from '../../testing.ts'
import { coneSide } from './cone-side.ts'
import { DEFAULT_HARD_PUNCH_LIMITS } from './hard-limits.ts'
import type { NatFacts } from './kinds.ts'
import type { Met } from './meet.ts'
import type { Message, MessageType } from './messages.ts'
import type { ObservedBy } from './observe.ts'
import { encodePunch } from './packets.ts'
import { createReflector, type Reflector } from './reflector.ts'
import type { SideContext } from './side.types.ts'
import { bindUdp, closeUdp, sendUdp } from './sockets.ts'
import { symmetricSide } from './symmetric-side.ts'
import { createTalk, type Talk } from './talk.ts'
import { createTestNat, type TestNat } from './testing.ts'

const HOST = '127.0.0.1'
const TOKEN = new Uint8Array(16).fill(7)
/** Fewer packets than ship: these tests share a machine. */
const LIMITS = { ...DEFAULT_HARD_PUNCH_LIMITS, maxSockets: 64, maxPackets: 700 }

/** UDP sockets this process has open. */
const openSockets = () => process.getActiveResourcesInfo().filter(name => name === 'UDPWrap').length

/** The two sides of an attempt on one machine, the symmetric one behind a NAT of plain sockets. */
class Pair {
  readonly nat: TestNat
  readonly ending = new AbortController()
  readonly spent = { symmetric: 0, cone: 0 }
  again = 0
  #reflector!: Reflector
  #streams!: [Stream, Stream]
  readonly #facts: NatFacts

  constructor(allocate: (nth: number) => number, facts: Partial<NatFacts>) {
    this.nat = createTestNat(allocate)
    this.#facts = { hosts: [HOST], step: 0, ports: null, mappings: 16, ...facts }
  }

  async open(): Promise<void> {
    this.#reflector = createReflector({ ports: [0, 0], hosts: [HOST] })
    await this.#reflector.start()
    this.#streams = (await streamPair()) as [Stream, Stream]
  }

  talks(): [Talk, Talk] {
    const options = { signal: this.ending.signal, idleTimeoutMs: 5000 }
    return [createTalk(this.#streams[0], options), createTalk(this.#streams[1], options)]
  }

  #context(side: 'symmetric' | 'cone', talk: Talk, endpoints: ObservedBy[]): SideContext {
    return {
      talk,
      signal: this.ending.signal,
      token: TOKEN,
      host: async () => HOST,
      endpoints,
      facts: this.#facts,
      limits: LIMITS,
      countAgain: async () => {
        this.again++
      },
      spent: packets => {
        this.spent[side] += packets
      }
    }
  }

  #endpoints(): ObservedBy[] {
    const { token } = this.#reflector.token()
    return this.#reflector.ports().map(port => ({ host: HOST, port, token }))
  }

  async symmetric(method: 'sandwich' | 'birthday', talk: Talk): Promise<Met> {
    const behind = async ({ token, ...to }: ObservedBy): Promise<ObservedBy> => ({
      ...(await this.nat.towards(to)),
      token
    })
    const endpoints = await Promise.all(this.#endpoints().map(behind))
    const through: Talk = {
      ...talk,
      // What the cone side says of its port is true outside; inside, the way there begins at the NAT.
      hear: async <T extends MessageType>(...types: T[]) => {
        const message: Message = await talk.hear(...types)
        if (message.type === 'ready') message.port = (await this.nat.towards({ host: HOST, port: message.port })).port
        return message as Message<T>
      }
    }
    return await symmetricSide(method, this.#context('symmetric', through, endpoints))
  }

  cone(talk: Talk): Promise<Met> {
    return coneSide(this.#context('cone', talk, this.#endpoints()))
  }

  /** Both sides until they met; the symmetric one says so, as whoever hands the sockets over does. */
  async meet(method: 'sandwich' | 'birthday'): Promise<[Met, Met]> {
    const [symmetricTalk, coneTalk] = this.talks()
    const symmetric = this.symmetric(method, symmetricTalk).then(async met => {
      await symmetricTalk.say({ type: 'met' })
      return met
    })
    return await Promise.all([symmetric, this.cone(coneTalk)])
  }

  close(): void {
    this.ending.abort(new Error('the test is over'))
    this.#reflector.stop()
    this.nat.close()
    for (const stream of this.#streams) stream.abort(new Error('the test is over'))
  }
}

describe('the two sides of a hard punch', function () {
  this.timeout(30_000)
  const pairs: Pair[] = []
  let before = 0

  beforeEach(() => {
    before = openSockets()
  })
  afterEach(async () => {
    for (const pair of pairs.splice(0)) pair.close()
    await eventually(() => openSockets() <= before, 'every socket is closed')
  })

  async function pairOf(allocate: (nth: number) => number, facts: Partial<NatFacts>): Promise<Pair> {
    const pair = new Pair(allocate, facts)
    pairs.push(pair)
    await pair.open()
    return pair
  }
  const block = () => pairOf(nth => 25_600 + ((nth * 619) % 1024), { ports: { lowest: 25_650, highest: 26_570 } })
  const sequence = () => pairOf(nth => 28_000 + nth, { step: 1 })

  /** What one end sends the other hears, whatever still comes of the punch. */
  async function speak([one, other]: [Met, Met]): Promise<void> {
    const heard = Promise.withResolvers<string>()
    other.socket.on('message', bytes => bytes.length !== 17 && heard.resolve(String(bytes)))
    sendUdp(one.socket, Buffer.from('after the punch'), one.remote)
    assert.equal(await heard.promise, 'after the punch')
    closeUdp(one.socket)
    closeUdp(other.socket)
  }

  it('birthday: one of many sockets and the probing one are a pair, all others are closed', async () => {
    const pair = await block()
    const [symmetric, cone] = await pair.meet('birthday')
    await eventually(() => pair.spent.symmetric + pair.spent.cone > 0, 'packets are counted')
    assert.ok(pair.spent.symmetric + pair.spent.cone <= LIMITS.maxPackets)
    await speak([symmetric, cone])
  })

  it('sandwich: few ports are probed, also when others open between and datagrams are lost', async () => {
    const pair = await sequence()
    const strangers = await pair.nat.towards({ host: HOST, port: 9 })
    const stranger = await bindUdp()
    // Each of these is a new mapping only once: another socket each time would be one more.
    sendUdp(stranger, Buffer.of(1), strangers)
    closeUdp(stranger)
    pair.nat.loseIf(nth => nth === 2 || nth === 4)
    const met = await pair.meet('sandwich')
    assert.ok(pair.spent.symmetric + pair.spent.cone < 60, JSON.stringify(pair.spent))
    await speak(met)
  })

  it('a slice that came out wrong or whose opener was lost is made anew', async () => {
    const pair = await sequence()
    // First slice: both openers; the cone side probes for nothing and says so.
    pair.nat.loseIf(nth => nth === 1 || nth === 2)
    await speak(await pair.meet('sandwich'))
  })

  it('a port that never meets ends with a name and without sockets', async () => {
    const pair = await pairOf(nth => 31_000 + nth, { ports: { lowest: 20_000, highest: 20_040 } })
    const [symmetricTalk, coneTalk] = pair.talks()
    const symmetric = pair.symmetric('birthday', symmetricTalk)
    const cone = pair.cone(coneTalk)
    await assert.rejects(symmetric, { reason: 'no-meeting' })
    void symmetricTalk.end('no-meeting')
    await assert.rejects(cone, { reason: 'no-meeting' })
    assert.equal(pair.again, 0)
  })

  it('a cone side whose port moved goes first with a new socket, and both count a second attempt', async () => {
    const pair = await block()
    const [symmetricTalk, coneTalk] = pair.talks()
    let isFirst = true
    // The first round is lost on the way: the cone side probes nothing and finds its port moved.
    const moving: Talk = {
      ...coneTalk,
      hear: async <T extends MessageType>(...types: T[]) => {
        const message: Message = await coneTalk.hear(...types)
        if (message.type === 'probe' && isFirst) Object.assign(message, { lowest: 1024, highest: 1024 })
        return message as Message<T>
      },
      async say(message) {
        if (message.type === 'missed' && isFirst) {
          isFirst = false
          await coneTalk.say({ ...message, moved: true })
        } else await coneTalk.say(message)
      }
    }
    const symmetric = pair.symmetric('birthday', symmetricTalk).then(async met => {
      await symmetricTalk.say({ type: 'met' })
      return met
    })
    const met = await Promise.all([symmetric, pair.cone(moving)])
    assert.equal(pair.again, 2)
    await speak(met)
  })

  for (const [when, die] of [
    ['before it says anything', async () => undefined],
    ['after its port', async (talk: Talk) => await talk.say({ type: 'ready', port: 30_000 })],
    [
      'in the middle of the probing',
      async (talk: Talk) => {
        await talk.say({ type: 'ready', port: 30_000 })
        await talk.hear('probe')
      }
    ]
  ] as const) {
    it(`a cone side that dies ${when} ends the symmetric one`, async () => {
      const pair = await block()
      const [symmetricTalk, coneTalk] = pair.talks()
      const symmetric = pair.symmetric('birthday', symmetricTalk)
      const end = assert.rejects(symmetric, { reason: 'peer-gone' })
      await die(coneTalk)
      await coneTalk.end()
      await end
    })
  }

  for (const [when, die] of [
    ['before it opens', async () => undefined],
    [
      'while we probe',
      async (talk: Talk) => talk.say({ type: 'probe', lowest: 20_000, highest: 29_000, probes: 600, coneFirst: false })
    ]
  ] as const) {
    it(`a symmetric side that dies ${when} ends the cone one`, async () => {
      const pair = await block()
      const [symmetricTalk, coneTalk] = pair.talks()
      const cone = pair.cone(coneTalk)
      const end = assert.rejects(cone, { reason: 'peer-gone' })
      await symmetricTalk.hear('ready')
      await die(symmetricTalk)
      await symmetricTalk.end()
      await end
    })
  }

  it('asks for more probes than our own limit, or from a range upside down, are refused', async () => {
    for (const hostile of [
      { lowest: 1024, highest: 65_535, probes: LIMITS.maxPackets + 1 },
      { lowest: 3000, highest: 2000, probes: 1 }
    ]) {
      const pair = await block()
      const [symmetricTalk, coneTalk] = pair.talks()
      const end = assert.rejects(pair.cone(coneTalk), { reason: 'protocol' })
      await symmetricTalk.hear('ready')
      await symmetricTalk.say({ type: 'probe', ...hostile, coneFirst: false })
      await end
    }
  })

  it('asks round after round never cost more packets than the limit', async () => {
    const pair = await block()
    const [symmetricTalk, coneTalk] = pair.talks()
    const end = assert.rejects(pair.cone(coneTalk), { reason: 'no-meeting' })
    await symmetricTalk.hear('ready')
    const greedy = async () => {
      for (;;) {
        await symmetricTalk.say({ type: 'probe', lowest: 40_000, highest: 49_999, probes: 690, coneFirst: false })
        await symmetricTalk.hear('missed')
      }
    }
    greedy().catch(() => undefined)
    await end
    assert.ok(pair.spent.cone > 600)
    assert.ok(pair.spent.cone <= LIMITS.maxPackets, `${pair.spent.cone}`)
  })

  it('datagrams of another token, or from another address, meet nobody', async () => {
    const pair = await block()
    const [symmetricTalk, coneTalk] = pair.talks()
    const cone = pair.cone(coneTalk)
    cone.catch(() => undefined)
    const { port } = await symmetricTalk.hear('ready')
    await symmetricTalk.say({ type: 'probe', lowest: 40_000, highest: 40_000, probes: 1, coneFirst: false })
    const stranger = await bindUdp({ host: '127.0.0.9' })
    const other = await bindUdp({ host: HOST })
    const answers: unknown[] = []
    for (const socket of [stranger, other]) socket.on('message', bytes => answers.push(bytes))
    sendUdp(stranger, encodePunch('choose', TOKEN), { host: HOST, port })
    sendUdp(other, encodePunch('choose', new Uint8Array(16)), { host: HOST, port })
    sendUdp(other, encodePunch('confirm', TOKEN), { host: HOST, port })
    assert.deepEqual(await symmetricTalk.hear('missed'), { type: 'missed', moved: false })
    assert.deepEqual(answers, [])
    closeUdp(stranger)
    closeUdp(other)
  })
})
