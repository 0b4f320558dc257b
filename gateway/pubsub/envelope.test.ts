import assert from 'node:assert/strict'
import { BOB, eventually, type RunningGateway, startGateway } from '../testing/fixtures.ts'
import { REPLAY_MAX_MESSAGES } from './limits.ts'
import { base64, come, open, publish } from './testing.ts'

describe('sockets of warren.pubsub.v1', function () {
  this.timeout(30_000)
  let running: RunningGateway
  before(async () => {
    running = await startGateway()
  })
  after(() => running[Symbol.asyncDispose]())

  it('get envelopes in text frames, numbered by publisher', async () => {
    await using client = open(running, 'e', { envelope: true })
    await using raw = open(running, 'e')
    await Promise.all([client.opened, raw.opened])
    const beforeMs = Date.now()
    raw.socket.send(Buffer.from([0, 255]))
    client.say({ type: 'publish', data: base64('second') })
    await Promise.all([come(client, 2), come(raw, 2)])
    assert.ok(client.told.every(({ isBinary }) => !isBinary))
    const [first, second] = client.json()
    assert.deepEqual(Object.keys(first ?? {}), ['seq', 'publisher', 'topic', 'timestamp', 'data'])
    assert.deepEqual([first?.seq, first?.topic, first?.data], [1, 'e', Buffer.from([0, 255]).toString('base64')])
    assert.deepEqual([second?.seq, second?.publisher], [2, first?.publisher])
    assert.match(String(first?.publisher), /^[\w-]{16}$/)
    assert.ok(Number(first?.timestamp) >= beforeMs && Number(first?.timestamp) <= Date.now())
    assert.equal(raw.texts()[1], 'second')
  })

  it('are told where their message stands when it has an id, and nothing for a ping', async () => {
    await using client = open(running, 'acks', { envelope: true })
    await client.opened
    client.say({ type: 'ping' })
    client.say({ type: 'publish', data: '', id: 'mine' })
    await come(client, 2)
    const [message] = client.messages()
    const { publisher, seq } = message ?? {}
    assert.deepEqual(client.typed('published'), [{ type: 'published', id: 'mine', publisher, seq }])
    assert.equal(client.told.length, 2)
    const tooMuch = Buffer.alloc(65_537).toString('base64')
    client.say({ type: 'publish', data: tooMuch, id: 'big' })
    await come(client, 3)
    assert.deepEqual([client.typed('error')[0]?.code, client.typed('error')[0]?.id], ['BODY_TOO_LARGE', 'big'])
  })

  it('are closed with 1008 for what is no message', async () => {
    const hostile = [
      'x',
      '',
      '[]',
      'null',
      '1',
      '{}',
      '{"type":"subscribe","topic":"ns::bob::t"}',
      '{"type":"publish"}',
      '{"type":"publish","data":"%"}',
      '{"type":"publish","data":"YQ"}',
      '{"type":"publish","data":[]}',
      '{"type":"publish","data":"","id":{}}',
      '{"type":"resume","after":[1]}',
      '{"type":"resume","after":{"p":-1}}',
      '{"type":"resume","after":{"p":1.5}}',
      '{"type":"resume","after":{"p":"1"}}',
      '{"type":"resume","since":"now"}',
      JSON.stringify({
        type: 'resume',
        after: Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`p${at}`, 1]))
      }),
      `${'['.repeat(40_000)}`
    ]
    for (const text of hostile) {
      await using client = open(running, 'hostile', { envelope: true })
      await client.opened
      client.socket.send(text)
      assert.equal(await client.closed, 1008, text.slice(0, 80))
      assert.equal(client.told.length, 0)
    }
    await using binary = open(running, 'hostile', { envelope: true })
    await binary.opened
    binary.socket.send(Buffer.from('{"type":"ping"}'))
    assert.equal(await binary.closed, 1008)
  })

  it('resume after the last they have, each message once, then go on', async () => {
    await using first = open(running, 'r', { envelope: true })
    await first.opened
    for (const text of ['1', '2', '3']) first.say({ type: 'publish', data: base64(text) })
    await come(first, 3)
    const { publisher } = first.messages()[1] ?? {}
    await using back = open(running, 'r', { envelope: true, query: { resume: 'true' } })
    await back.opened
    first.say({ type: 'publish', data: base64('4') })
    await come(first, 4)
    assert.equal(back.told.length, 0)
    back.say({ type: 'resume', after: { [String(publisher)]: 2 } })
    await eventually(async () => back.typed('resumed').length === 1)
    first.say({ type: 'publish', data: base64('5') })
    await eventually(async () => back.data().includes('5'))
    assert.deepEqual(back.data(), ['3', '4', '5'])
    assert.deepEqual(back.typed('resumed'), [{ type: 'resumed', topic: 'r', messages: 2 }])
    assert.deepEqual(back.typed('gap'), [])
    back.say({ type: 'resume', after: {} })
    await eventually(async () => back.typed('error').length === 1)
    assert.equal(back.typed('error')[0]?.code, 'NOT_HELD')
    await using without = open(running, 'r', { envelope: true, query: { resume: 'true' } })
    await without.opened
    without.say({ type: 'resume', since: Number(first.messages()[3]?.timestamp) - 1 })
    await eventually(async () => without.typed('resumed').length === 1)
    assert.deepEqual(without.data().slice(-2), ['4', '5'])
  })

  it('are told the gap of what is not kept any more, or was never known', async () => {
    await using writer = open(running, 'g', { envelope: true })
    await writer.opened
    const count = REPLAY_MAX_MESSAGES + 10
    for (let index = 0; index < count; index += 1) writer.say({ type: 'publish', data: base64(`${index}`) })
    await come(writer, count)
    const publisher = String(writer.messages()[0]?.publisher)
    await using back = open(running, 'g', { envelope: true, query: { resume: 'true' } })
    await back.opened
    back.say({ type: 'resume', after: { [publisher]: 3, stranger: 7 } })
    await eventually(async () => back.typed('resumed').length === 1)
    assert.deepEqual(back.typed('gap'), [
      { type: 'gap', topic: 'g', publisher, from: 4, to: 10 },
      { type: 'gap', topic: 'g', publisher: 'stranger', from: 8, to: null }
    ])
    assert.deepEqual(
      back.messages().map(({ seq }) => seq),
      Array.from({ length: REPLAY_MAX_MESSAGES }, (_, index) => 11 + index)
    )
  })

  it('do not wait for a resume for ever', async () => {
    await using short = await startGateway({ pubsubLimits: { sockets: { resumeTimeoutMs: 50 } } })
    await using client = open(short, 't', { envelope: true, query: { resume: 'true' } })
    assert.equal(await client.closed, 1008)
  })

  it('are told who comes and goes, and others can ask', async () => {
    const who = { presence: 'true', member_id: 'ann', member_meta: '{"colour":"red"}' }
    await using watcher = open(running, 'p', { envelope: true })
    await watcher.opened
    await using ann = open(running, 'p', { envelope: true, query: who })
    await using annAgain = open(running, 'p', { query: who })
    await Promise.all([ann.opened, annAgain.opened])
    await using bob = open(running, 'p', { key: BOB, query: { presence: 'true', member_id: 'bob' } })
    await bob.opened
    await Promise.all([come(watcher, 1), come(ann, 1)])
    const answer = await (await running.ask('/v1/pubsub/presence?topic=p')).json()
    const [member] = (answer as { members: Array<{ joined_at: number }> }).members
    assert.deepEqual(answer, {
      topic: 'p',
      members: [{ member_id: 'ann', joined_at: member?.joined_at, meta: { colour: 'red' } }],
      count: 1
    })
    ann.socket.close()
    await ann.closed
    annAgain.socket.close()
    await come(watcher, 2)
    const [join, leave] = watcher.json()
    const { timestamp } = leave as { timestamp: number }
    const meta = { colour: 'red' }
    assert.deepEqual(join, { topic: 'p', type: 'presence.join', member_id: 'ann', timestamp: member?.joined_at, meta })
    assert.deepEqual(leave, { topic: 'p', type: 'presence.leave', member_id: 'ann', timestamp })
    assert.ok(Math.abs(timestamp - Date.now() / 1000) < 60)
    // Raw sockets get payloads only.
    assert.equal(annAgain.told.length, 0)
    const empty = await (await running.ask('/v1/pubsub/presence?topic=nobody')).json()
    assert.deepEqual(empty, { topic: 'nobody', members: [], count: 0 })
    assert.equal((await running.ask('/v1/pubsub/presence')).status, 400)
  })

  it('keep messages in order that were published in one go by many', async () => {
    await using reader = open(running, 'many', { envelope: true })
    await reader.opened
    await Promise.all(Array.from({ length: 100 }, (_, index) => publish(running, 'many', base64(`${index}`))))
    await come(reader, 100)
    assert.deepEqual(
      reader.messages().map(({ seq }) => seq),
      Array.from({ length: 100 }, (_, index) => index + 1)
    )
    assert.equal(new Set(reader.data()).size, 100)
  })
})
