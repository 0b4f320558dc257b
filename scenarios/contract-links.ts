/** The part of the contract suite that changes links while they stand. */
import assert from 'node:assert/strict'
import { type Link, linkProbeArgv, type StreamAsk, type StreamSeen } from '../netem/index.ts'
import type { Testnet } from './harness/runtime.ts'

const REFLECTOR_PORT = 46_031
const REFLECT_FOR_MS = 300_000
/** Enough that the quickest of them waited for nobody. */
const PACKETS = 20
const ASKED_MS = 60
/** A timer may be early by this. */
const EARLY_MS = 1
const SETTLE_MS = 500

export interface LinksSuite {
  testnet: () => Testnet
}

/** To be called within the suite's `describe`, where its tests run in order with the others; leaves the testnet as it was. */
export function linksContract({ testnet }: LinksSuite): void {
  const ending = new AbortController()
  let reflecting: Promise<unknown> | null = null
  const router = 'home-a-nat'

  /** The quickest of some packets from alice to the relay (`up`) and back, milliseconds. */
  const quickest = async (): Promise<{ up: number; down: number }> => {
    const relay = testnet().host('relay')
    reflecting ??= relay
      .exec(linkProbeArgv({ reflect: { port: REFLECTOR_PORT, forMs: REFLECT_FOR_MS } }), { signal: ending.signal })
      .catch(() => undefined)
    const streams = (['up', 'down'] as const).map(
      (direction): StreamAsk => ({
        direction,
        packets: PACKETS,
        payloadBytes: 100,
        perSecond: 200,
        earlyBelowMs: 0,
        settleMs: SETTLE_MS
      })
    )
    const { address } = relay.planned.attachment
    const argv = linkProbeArgv({ probe: { address, port: REFLECTOR_PORT, streams } })
    const { code, stdout, stderr } = await testnet().host('alice').exec(argv)
    assert.equal(code, 0, stderr)
    const [up, down] = (JSON.parse(stdout) as StreamSeen[]).map(({ delayMs }) => delayMs?.min ?? 0)
    return { up: up!, down: down! }
  }

  it('gives an access line another link and takes it back', async () => {
    const before = await quickest()
    assert.ok(before.up < ASKED_MS && before.down < ASKED_MS, JSON.stringify(before))
    const undo = await testnet().impair(router, { up: { delayMs: ASKED_MS } })
    const during = await quickest()
    assert.ok(during.up >= ASKED_MS - EARLY_MS, `${during.up} ms`)
    assert.ok(during.down < ASKED_MS, `${during.down} ms`)
    const undoAgain = await testnet().impair(router, { down: { delayMs: ASKED_MS, duplicatePct: 50 } })
    const other = await quickest()
    assert.ok(other.up < ASKED_MS, `${other.up} ms`)
    assert.ok(other.down >= ASKED_MS - EARLY_MS, `${other.down} ms`)
    await undoAgain()
    assert.ok((await quickest()).up >= ASKED_MS - EARLY_MS)
    await undo()
    await undo()
    const after = await quickest()
    const planned = testnet().router(router).planned.link
    for (const direction of ['up', 'down'] as const) {
      assert.ok(after[direction] < ASKED_MS, `${after[direction]} ms`)
      assert.ok(after[direction] >= (planned[direction]?.delayMs ?? 0) - EARLY_MS, 'the planned link is gone')
    }
  })

  it('treats peers by their own prefix', async () => {
    const { address } = testnet().host('relay').planned.attachment
    const undo = await testnet().impair(router, {
      up: { lossPct: 100 },
      peers: { [`${address}/32`]: { up: { delayMs: ASKED_MS }, down: {} } }
    })
    const seen = await quickest()
    assert.ok(seen.up >= ASKED_MS - EARLY_MS, `${seen.up} ms`)
    await undo()
  })

  it('gives a host a link of its own, or says what the topology needs for it', async () => {
    if (testnet().runtime === 'docker') {
      const message = /write `link: \{\}` at that host/
      await assert.rejects(testnet().impair('relay', { delayMs: 1 }), { code: 'CHANGE_REFUSED', message })
      return
    }
    const undo = await testnet().impair('relay', { up: { delayMs: ASKED_MS } })
    const seen = await quickest()
    assert.ok(seen.down >= ASKED_MS - EARLY_MS, `${seen.down} ms`)
    await undo()
    assert.ok((await quickest()).down < ASKED_MS)
  })

  it('refuses a link that is none, with what to write, and names that are not there', async () => {
    const link = { delay: 50, lossPct: '1%' } as unknown as Link
    const message = /UNIT_MISSING.*delayMs: 50[\s\S]*NOT_A_NUMBER.*lossPct: 1/
    await assert.rejects(testnet().impair(router, link), { code: 'CHANGE_REFUSED', message })
    await assert.rejects(testnet().impair('zoe', null), { code: 'UNKNOWN_HOST' })
  })

  it('still believes in the lab after this', async () => {
    ending.abort()
    await reflecting
    assert.deepEqual((await testnet().status()).invalid, [])
  })
}
