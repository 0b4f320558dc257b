import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { ALICE, BOB, eventually, type RunningGateway, startGateway } from '../testing/fixtures.ts'
import { MESSAGE_MAX_BYTES } from './limits.ts'
import { base64, come, metric, open, publish, refusalOf } from './testing.ts'

const WS = '/v1/pubsub/ws'

describe('a topic’s raw sockets', function () {
  this.timeout(30_000)
  let running: RunningGateway
  before(async () => {
    running = await startGateway()
  })
  after(() => running[Symbol.asyncDispose]())

  it('get each message once, in order, in binary frames, their own and those by HTTP too', async () => {
    await using one = open(running, 'room/1')
    await using two = open(running, 'room/1')
    await Promise.all([one.opened, two.opened])
    one.socket.send('as text')
    await come(two, 1)
    one.socket.send(Buffer.from([0, 255, 1]))
    await come(two, 2)
    const answer = await publish(running, 'room/1', base64('by HTTP'))
    assert.deepEqual([answer.status, await answer.json()], [200, { status: 'ok' }])
    for (const client of [one, two]) {
      await come(client, 3)
      assert.deepEqual(client.texts(), ['as text', Buffer.from([0, 255, 1]).toString(), 'by HTTP'])
      assert.ok(client.told.every(({ isBinary }) => isBinary))
    }
  })

  it('get whole bursts in order, and count every delivery', async () => {
    await using reader = open(running, 'burst', { key: BOB })
    await using writer = open(running, 'burst', { key: BOB })
    await Promise.all([reader.opened, writer.opened])
    const sent = Array.from({ length: 500 }, (_, index) => `${index}`)
    for (const text of sent) writer.socket.send(text)
    await Promise.all([come(reader, 500), come(writer, 500)])
    assert.deepEqual(reader.texts(), sent)
    assert.equal(await metric(running, 'warren_gateway_pubsub_deliveries_total', { namespace: 'bob' }), 1000)
    const labels = { namespace: 'bob', from: 'here' }
    assert.equal(await metric(running, 'warren_gateway_pubsub_messages_total', labels), 500)
  })

  it('of one namespace hear nothing of another’s topic of the same name', async () => {
    await using alice = open(running, 'same')
    await using bob = open(running, 'same', { key: BOB })
    await Promise.all([alice.opened, bob.opened])
    bob.socket.send('bob only')
    await publish(running, 'same', base64('alice only'))
    await Promise.all([come(alice, 1), come(bob, 1)])
    await publish(running, 'same', base64('again'))
    await come(alice, 2)
    assert.deepEqual([alice.texts(), bob.texts()], [['alice only', 'again'], ['bob only']])
  })

  it('list their topics to their namespace only, without its prefix', async () => {
    await using alice = open(running, 'listed/b')
    await using other = open(running, 'listed/a')
    await using bob = open(running, 'bobs', { key: BOB })
    await Promise.all([alice.opened, other.opened, bob.opened])
    const { topics } = (await (await running.ask('/v1/pubsub/topics')).json()) as { topics: string[] }
    assert.deepEqual(
      topics.filter(topic => !/^(room|burst|same)/.test(topic)),
      ['listed/a', 'listed/b']
    )
  })
})

describe('the door of a topic', function () {
  this.timeout(30_000)
  let running: RunningGateway
  before(async () => {
    running = await startGateway({ environment: { GATEWAY_PUBSUB_ORIGINS: 'https://app.example' } })
  })
  after(() => running[Symbol.asyncDispose]())

  it('answers as HTTP does before there is a socket', async () => {
    const cases: Array<[string, Record<string, string>, number, string]> = [
      [`${WS}?topic=t`, { 'X-API-Key': '' }, 401, 'API_KEY_MISSING'],
      [`${WS}?topic=t`, { 'X-API-Key': 'nobody' }, 401, 'API_KEY_INVALID'],
      [`${WS}?topic=t&api_key=nobody`, { 'X-API-Key': '' }, 401, 'API_KEY_INVALID'],
      [`${WS}?topic=t&namespace=bob`, {}, 403, 'NAMESPACE_MISMATCH'],
      [WS, {}, 400, 'TOPIC_MISSING'],
      [`${WS}?topic=`, {}, 400, 'TOPIC_MISSING'],
      [`${WS}?topic=t`, { Origin: 'https://elsewhere.example' }, 403, 'ORIGIN_FORBIDDEN'],
      [`${WS}?topic=t`, { Origin: 'null' }, 403, 'ORIGIN_FORBIDDEN'],
      [`${WS}?topic=t`, { Origin: 'https://app.example.elsewhere.example' }, 403, 'ORIGIN_FORBIDDEN'],
      [`${WS}?topic=t`, { Origin: 'http://app.example' }, 403, 'ORIGIN_FORBIDDEN'],
      [`${WS}?topic=t`, { 'Sec-WebSocket-Version': '8' }, 426, 'UPGRADE_REQUIRED'],
      [`${WS}?topic=t&presence=true`, {}, 400, 'INVALID_REQUEST'],
      [`${WS}?topic=t&presence=yes&member_id=a`, {}, 400, 'INVALID_REQUEST'],
      [`${WS}?topic=t&resume=perhaps`, {}, 400, 'INVALID_REQUEST'],
      [`${WS}?topic=t&presence=true&member_id=${'x'.repeat(129)}`, {}, 400, 'INVALID_REQUEST'],
      [`${WS}?topic=t&presence=true&member_id=a&member_meta=[1]`, {}, 400, 'INVALID_REQUEST'],
      [`${WS}?topic=t&presence=true&member_id=a&member_meta={"a":"${'x'.repeat(1024)}"}`, {}, 400, 'INVALID_REQUEST']
    ]
    for (const [path, headers, status, code] of cases) {
      const refusal = await refusalOf(running, encodeURI(path), headers)
      assert.deepEqual([refusal.status, refusal.code], [status, code], path)
    }
    assert.equal((await refusalOf(running, WS)).error, "missing 'topic'")
    assert.equal((await running.ask(`${WS}?topic=t`)).status, 426)
    assert.equal((await running.ask(`${WS}?topic=t`, { method: 'POST' })).status, 405)
    await using own = open(running, 't', { headers: { Origin: 'https://app.example' } })
    await own.opened
  })

  it('lets no name out of its namespace, however it is written', async () => {
    const hostile = [
      'a::b',
      '::',
      ':',
      'ns::bob::same',
      'ns%3A%3Abob%3A%3Asame',
      'a%00b',
      'a%20b',
      'a%0Ab',
      'a%250a',
      '%2e%2e%3a',
      'a+b',
      '%F0%9F%90%87',
      'caf%C3%A9',
      '%EF%BC%9A%EF%BC%9A',
      '%E2%80%8B',
      '%ED%A0%80',
      '%ff',
      '%',
      'a*b',
      '#',
      '%23',
      'a%22b',
      "a'b",
      'a;b',
      'a,b',
      '$share',
      '%7B%7D',
      'a'.repeat(257)
    ]
    for (const name of hostile) {
      const byQuery = await refusalOf(running, `${WS}?topic=${name === '#' ? '%23' : name}`)
      assert.equal(byQuery.status, 400, name)
      const presence = await running.ask(`/v1/pubsub/presence?topic=${name === '#' ? '%23' : name}`)
      assert.equal(presence.status, 400, name)
    }
    const bodies = [
      'ns::bob::same',
      'a\0b',
      'a b',
      'é',
      '：：',
      '\u202e',
      '\ud800',
      '%3A',
      '',
      'a'.repeat(257),
      7,
      null,
      ['a'],
      {}
    ]
    for (const topic of bodies) {
      assert.equal((await publish(running, topic, base64('x'))).status, 400, JSON.stringify(topic))
    }
    const { topics } = (await (await running.ask('/v1/pubsub/topics')).json()) as { topics: string[] }
    assert.deepEqual(topics, [])
    // Every character that is allowed, and the longest.
    for (const name of ['a.b_c/d-e/Z9', '..', '/', 'a'.repeat(256)]) {
      assert.equal((await publish(running, name, base64('x'))).status, 200, name)
    }
  })

  it('takes credentials by query and by subprotocol too, and keeps them out of the log', async () => {
    const base64url = Buffer.from(ALICE).toString('base64url')
    await using byToken = open(running, 't', { key: null, query: { token: ALICE } })
    await using byKey = open(running, 't', { key: null, query: { api_key: ALICE } })
    await using byProtocol = open(running, 't', {
      key: null,
      envelope: true,
      protocols: [`warren.credential.${base64url}`]
    })
    // A header goes first: this one is Bob's.
    await using bob = open(running, 't', { key: BOB, query: { api_key: ALICE } })
    await Promise.all([byToken.opened, byKey.opened, byProtocol.opened, bob.opened])
    assert.equal(byProtocol.socket.protocol, 'warren.pubsub.v1')
    byToken.socket.send('x')
    await Promise.all([come(byToken, 1), come(byKey, 1), come(byProtocol, 1)])
    assert.equal(bob.told.length, 0)
    // Elsewhere the query is no place for them.
    assert.equal((await fetch(`${running.url}/v1/pubsub/topics?api_key=${ALICE}`)).status, 401)
    await Promise.all([byToken, byKey, byProtocol, bob].map(client => client[Symbol.asyncDispose]()))
    await running.store.requests.flush()
    const files = ['gateway.sqlite', 'gateway.sqlite-wal'].map(name => readFile(join(running.config.dataDir, name)))
    const log = Buffer.concat(await Promise.all(files))
    assert.deepEqual([log.includes(WS), log.includes(ALICE), log.includes(base64url)], [true, false, false])
  })

  it('refuses bodies that are no publish', async () => {
    const expected = 'invalid body: expected {topic,data_base64}'
    for (const [body, error] of [
      ['{}', expected],
      ['[]', expected],
      ['x', expected],
      ['{"topic":"t"}', expected],
      ['{"topic":"t","data_base64":1}', expected],
      ['{"topic":"t","data_base64":"%%%="}', 'invalid base64 data'],
      ['{"topic":"t","data_base64":"YQ"}', 'invalid base64 data']
    ]) {
      const answer = await running.ask('/v1/pubsub/publish', { method: 'POST', body })
      assert.deepEqual([answer.status, ((await answer.json()) as { error: string }).error], [400, error], body)
    }
    const most = Buffer.alloc(MESSAGE_MAX_BYTES).toString('base64')
    assert.equal((await publish(running, 't', most)).status, 200)
    const more = Buffer.alloc(MESSAGE_MAX_BYTES + 1).toString('base64')
    assert.deepEqual(await codeOf(publish(running, 't', more)), { status: 413, code: 'BODY_TOO_LARGE' })
    assert.equal((await fetch(`${running.url}/v1/pubsub/publish`, { method: 'POST', body: '{}' })).status, 401)
    assert.equal((await running.ask('/v1/pubsub/publish?namespace=bob', { method: 'POST', body: '{}' })).status, 403)
    assert.equal((await running.ask('/v1/pubsub/publish')).status, 405)
  })
})

describe('limits on topics’ sockets', function () {
  this.timeout(30_000)

  it('are of the gateway, of a namespace and of an address, and free again when one closes', async () => {
    const environment = {
      GATEWAY_PUBSUB_MAX_SOCKETS: '4',
      GATEWAY_PUBSUB_MAX_NAMESPACE_SOCKETS: '2',
      GATEWAY_PUBSUB_MAX_ADDRESS_SOCKETS: '3'
    }
    await using running = await startGateway({ environment })
    await using one = open(running, 't')
    await using two = open(running, 'u')
    await Promise.all([one.opened, two.opened])
    const namespace = await refusalOf(running, `${WS}?topic=t`)
    assert.deepEqual([namespace.status, namespace.code, namespace.headers['retry-after']], [429, 'SOCKET_LIMIT', '30'])
    await using three = open(running, 't', { key: BOB })
    await three.opened
    const address = await refusalOf(running, `${WS}?topic=t`, { 'X-API-Key': BOB })
    assert.deepEqual([address.status, address.code], [429, 'SOCKET_LIMIT'])
    await using four = open(running, 't', { key: BOB, localAddress: '127.0.0.9' })
    await four.opened
    const all = await refusalOf(running, `${WS}?topic=t`)
    assert.deepEqual([all.status, all.code], [503, 'SOCKETS_FULL'])
    assert.equal(await metric(running, 'warren_gateway_pubsub_sockets', { namespace: 'alice' }), 2)
    one.socket.close()
    await one.closed
    await eventually(async () => (await metric(running, 'warren_gateway_pubsub_sockets', { namespace: 'alice' })) === 1)
    two.socket.close()
    await two.closed
    await eventually(async () => (await metric(running, 'warren_gateway_pubsub_sockets', { namespace: 'alice' })) === 0)
    await using again = open(running, 't')
    await again.opened
  })

  it('count an IPv4 address as one, also where the gateway listens on IPv6 and sees it mapped', async () => {
    await using running = await startGateway({ environment: { GATEWAY_PUBSUB_MAX_ADDRESS_SOCKETS: '1' } })
    const from = (address: string) => open(running, 't', { headers: { 'X-Forwarded-For': address } })
    await using one = from('::ffff:192.0.2.1')
    await using another = from('::ffff:192.0.2.2')
    await Promise.all([one.opened, another.opened])
    const again = await refusalOf(running, `${WS}?topic=t`, { 'X-Forwarded-For': '192.0.2.1' })
    assert.deepEqual([again.status, again.code], [429, 'SOCKET_LIMIT'])
  })

  it('hold for topics, of each namespace', async () => {
    await using running = await startGateway({ pubsubLimits: { namespaceTopicsMax: 3, topicsMax: 4 } })
    for (const topic of ['a', 'b', 'c', 'a']) assert.equal((await publish(running, topic, '')).status, 200)
    assert.deepEqual(await codeOf(publish(running, 'd', '')), { status: 429, code: 'TOPICS_FULL' })
    assert.equal((await publish(running, 'a', '', BOB)).status, 200)
  })

  it('that the gateway has leave room: what nobody listens to makes way, of whoever has the most', async () => {
    await using running = await startGateway({ pubsubLimits: { namespaceTopicsMax: 3, topicsMax: 4 } })
    const topics = () => metric(running, 'warren_gateway_pubsub_topics')
    await using listener = open(running, 'a')
    await listener.opened
    for (const [topic, key] of [
      ['b', ALICE],
      ['c', ALICE],
      ['a', BOB]
    ] as const) {
      assert.equal((await publish(running, topic, '', key)).status, 200)
    }
    assert.equal(await topics(), 4)
    // Two of alice's make way, and none that somebody listens to.
    await using second = open(running, 'b', { key: BOB })
    await using third = open(running, 'c', { key: BOB })
    await Promise.all([second.opened, third.opened])
    assert.equal(await topics(), 4)
    await publish(running, 'a', base64('still here'))
    await come(listener, 1)
    // Who has few takes from who has more, not the other way round.
    assert.deepEqual(await codeOf(publish(running, 'd', '', BOB)), { status: 429, code: 'TOPICS_FULL' })
    assert.equal((await publish(running, 'b', '')).status, 200)
    assert.equal((await publish(running, 'c', '')).status, 200)
    assert.equal(await topics(), 4)
    await using fourth = open(running, 'c')
    await fourth.opened
    assert.deepEqual(await codeOf(publish(running, 'a', '', BOB)), { status: 429, code: 'TOPICS_FULL' })
  })

  it('that the gateway has give nobody a topic of who has fewer', async () => {
    await using running = await startGateway({ pubsubLimits: { namespaceTopicsMax: 4, topicsMax: 4 } })
    await using one = open(running, 'a')
    await using two = open(running, 'b')
    await using three = open(running, 'c')
    await Promise.all([one.opened, two.opened, three.opened])
    assert.equal((await publish(running, 'a', '', BOB)).status, 200)
    // Bob's is the only one that nobody listens to.
    assert.deepEqual(await codeOf(publish(running, 'd', '')), { status: 429, code: 'TOPICS_FULL' })
    assert.equal((await publish(running, 'b', '', BOB)).status, 200)
  })

  it('end who floods, sends too much, or breaks the protocol, and nobody else', async () => {
    await using running = await startGateway()
    await using calm = open(running, 't')
    await calm.opened
    await using big = open(running, 'big')
    await big.opened
    big.socket.send(Buffer.alloc(MESSAGE_MAX_BYTES + 1))
    assert.equal(await big.closed, 1009)
    await using huge = open(running, 'big')
    await huge.opened
    huge.socket.send(Buffer.alloc(1024 * 1024))
    assert.equal(await huge.closed, 1009)
    await using fragments = open(running, 'big')
    await fragments.opened
    for (let index = 0; index < 100; index += 1) fragments.socket.send('x', { fin: false })
    assert.equal(await fragments.closed, 1008)
    await using flood = open(running, 'flood')
    await flood.opened
    for (let index = 0; index < 10_000; index += 1) flood.socket.send('')
    assert.equal(await flood.closed, 1008)
    // What a client of ours cannot be made to send: raw frames, each the last thing said on a connection of its own.
    const frames: Array<[string, Buffer, number]> = [
      ['unmasked', Buffer.from([0x82, 1, 65]), 1002],
      ['text that is not UTF-8', masked(0x81, Buffer.from([0xff, 0xfe])), 1007],
      ['an opcode that is none', masked(0x83, Buffer.from('x')), 1002],
      ['a reserved bit', masked(0xc2, Buffer.from('x')), 1002],
      ['a continuation of nothing', masked(0x80, Buffer.from('x')), 1002],
      ['a ping in pieces', masked(0x09, Buffer.from('x')), 1002],
      ['a length of 2^63', Buffer.from([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), 1009]
    ]
    for (const [what, frame, code] of frames) assert.equal(await codeAfter(running, frame), code, what)
    calm.socket.send('still here')
    await come(calm, 1)
    assert.equal(calm.told.length, 1)
  })

  it('drop what a reader does not take, count it and tell the gap; others lose nothing', async () => {
    await using running = await startGateway()
    await using slow = open(running, 't', { envelope: true, key: BOB })
    await using fast = open(running, 't', { envelope: true, key: BOB })
    await Promise.all([slow.opened, fast.opened])
    slow.socket.pause()
    const dropped = () => metric(running, 'warren_gateway_pubsub_drops_total', { namespace: 'bob', why: 'slow' })
    const payload = Buffer.alloc(MESSAGE_MAX_BYTES, 'x').toString('base64')
    let sent = 0
    while ((await dropped()) < 20) {
      await Promise.all(Array.from({ length: 10 }, () => publish(running, 't', payload, BOB)))
      sent += 10
      assert.ok(sent < 2_000, 'nothing was dropped')
    }
    await come(fast, sent)
    assert.deepEqual(
      fast.messages().map(({ seq }) => seq),
      Array.from({ length: sent }, (_, index) => index + 1)
    )
    slow.socket.resume()
    const lost = await dropped()
    const [gap] = await eventually(async () => slow.typed('gap').length > 0 && slow.typed('gap'))
    assert.deepEqual([gap?.from, gap?.to], [sent - lost + 1, sent])
    assert.equal(slow.messages().length, sent - lost)
    await publish(running, 't', base64('after'), BOB)
    await eventually(async () => slow.messages().at(-1)?.seq === sent + 1)
  })

  it('close with 1013 a reader that stands still, raw or not', async () => {
    await using running = await startGateway({ pubsubLimits: { sockets: { stalledMaxMs: 200 } } })
    await using raw = open(running, 't')
    await using slow = open(running, 't', { envelope: true })
    await Promise.all([raw.opened, slow.opened])
    for (const { socket } of [raw, slow]) socket.pause()
    const payload = Buffer.alloc(MESSAGE_MAX_BYTES).toString('base64')
    await eventually(async () => {
      await Promise.all(Array.from({ length: 10 }, () => publish(running, 't', payload)))
      return (await metric(running, 'warren_gateway_pubsub_socket_closes_total', { code: '1013' })) === 2
    }, 20_000)
    await eventually(async () => (await metric(running, 'warren_gateway_pubsub_sockets', { namespace: 'alice' })) === 0)
  })

  it('cut sockets that leave a ping unanswered', async () => {
    await using running = await startGateway({ pubsubLimits: { sockets: { pingMs: 600 } } })
    await using alive = open(running, 't')
    await using dead = open(running, 't', { autoPong: false })
    const pinged = once(alive.socket, 'ping')
    assert.equal(await dead.closed, 1006)
    assert.equal((await pinged).toString(), 'ping')
    assert.equal(alive.socket.readyState, alive.socket.OPEN)
  })

  it('close them with 1001 when the gateway stops, and with 1008 when the key has gone', async () => {
    const running = await startGateway({ pubsubLimits: { sockets: { recheckMs: 100 } } })
    await using alice = open(running, 't')
    await using bob = open(running, 't', { key: BOB })
    await Promise.all([alice.opened, bob.opened])
    await running.store.apiKeys.seed(
      running.config.apiKeys.filter(({ namespace }) => namespace === 'bob'),
      ['default']
    )
    assert.equal(await alice.closed, 1008)
    assert.equal(bob.socket.readyState, bob.socket.OPEN)
    running.gateway.drain()
    const late = await refusalOf(running, `${WS}?topic=t`, { 'X-API-Key': BOB })
    assert.deepEqual([late.status, late.code], [503, 'STOPPING'])
    await running[Symbol.asyncDispose]()
    assert.equal(await bob.closed, 1001)
  })
})

async function codeOf(answering: Promise<Response>) {
  const answer = await answering
  return { status: answer.status, code: ((await answer.json()) as { code?: string }).code }
}

/** A client's frame with an all-zero mask; up to 125 bytes. */
function masked(first: number, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from([first, 0x80 | payload.byteLength, 0, 0, 0, 0]), payload])
}

/** The close code that a hand-made frame is answered with. */
async function codeAfter(running: RunningGateway, frame: Buffer): Promise<number> {
  const socket = connect(running.port, '127.0.0.1')
  socket.write(
    `GET ${WS}?topic=raw HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-API-Key: ${ALICE}\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${Buffer.alloc(16).toString('base64')}\r\n\r\n`
  )
  const chunks: Buffer[] = []
  let sent = false
  for await (const chunk of socket) {
    chunks.push(chunk as Buffer)
    if (!sent && Buffer.concat(chunks).includes('\r\n\r\n')) {
      sent = true
      socket.write(frame)
    }
  }
  const all = Buffer.concat(chunks)
  const frames = all.subarray(all.indexOf('\r\n\r\n') + 4)
  assert.equal(frames[0], 0x88)
  return frames.readUInt16BE(2)
}
