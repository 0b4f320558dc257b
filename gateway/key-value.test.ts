import assert from 'node:assert/strict'
import { request } from 'node:http'
import { ALICE, BOB, type RunningGateway, startGateway } from './testing/fixtures.ts'

const KIB = 1024

type Body = Record<string, unknown>

function clientOf(running: RunningGateway) {
  const path = (what: string, key: string) => `/v1/storage/${what}?key=${encodeURIComponent(key)}`
  return {
    put: (key: string, body: string | Buffer<ArrayBuffer>, headers: Record<string, string> = {}) =>
      running.ask(path('put', key), { method: 'PUT', body, headers }),
    get: (key: string, headers: Record<string, string> = {}, method = 'GET') =>
      running.ask(path('get', key), { method, headers }),
    remove: (key: string, headers: Record<string, string> = {}) =>
      running.ask(path('delete', key), { method: 'DELETE', headers }),
    exists: async (key: string) => ((await (await running.ask(path('exists', key))).json()) as Body).exists,
    async list(query: Record<string, string>, headers: Record<string, string> = {}) {
      const answer = await running.ask(`/v1/storage/list?${new URLSearchParams(query)}`, { headers })
      const body = (await answer.json()) as { keys: string[]; next_cursor?: string; code?: string }
      return { status: answer.status, ...body }
    }
  }
}

const etagOf = (answer: Response) => answer.headers.get('etag') ?? ''

async function failure(answer: Response | Promise<Response>): Promise<[number, unknown]> {
  const { status } = await answer
  return [status, ((await (await answer).json()) as Body).code]
}

describe('conditional requests', () => {
  let running: RunningGateway
  let client: ReturnType<typeof clientOf>
  before(async () => {
    running = await startGateway()
    client = clientOf(running)
  })
  after(() => running[Symbol.asyncDispose]())

  const FAILED = [412, 'PRECONDITION_FAILED']

  it('know a value by an ETag that every put changes, also one of the same bytes', async () => {
    const first = etagOf(await client.put('tag', 'v'))
    const second = etagOf(await client.put('tag', 'v'))
    assert.match(first, /^"[!#-~]+"$/)
    assert.notEqual(first, second)
    for (const method of ['GET', 'HEAD', 'POST']) assert.equal(etagOf(await client.get('tag', {}, method)), second)
    assert.equal(etagOf(await client.get('tag', { Accept: 'application/json' })), second)
  })

  it('create only what is not there', async () => {
    const created = await client.put('new', 'one', { 'If-None-Match': '*' })
    assert.equal(created.status, 201)
    const again = await client.put('new', 'two', { 'If-None-Match': '*' })
    assert.deepEqual(await failure(again), FAILED)
    assert.equal(await (await client.get('new')).text(), 'one')
    await client.remove('new')
    assert.equal((await client.put('new', 'three', { 'If-None-Match': '*' })).status, 201)
  })

  it('replace only what is still as it was read', async () => {
    const etag = etagOf(await client.put('cas', 'one'))
    assert.deepEqual(await failure(client.put('absent', 'x', { 'If-Match': '*' })), FAILED)
    assert.equal(await client.exists('absent'), false)
    assert.equal((await client.put('cas', 'two', { 'If-Match': `"other", ${etag}` })).status, 201)
    assert.deepEqual(await failure(client.put('cas', 'three', { 'If-Match': etag })), FAILED)
    assert.deepEqual(await failure(client.put('cas', 'three', { 'If-Match': `W/${etag}` })), FAILED)
    assert.equal((await client.put('cas', 'four', { 'If-Match': '*' })).status, 201)
    const four = etagOf(await client.get('cas'))
    assert.deepEqual(await failure(client.put('cas', 'five', { 'If-None-Match': four })), FAILED)
    assert.deepEqual(await failure(client.put('cas', 'five', { 'If-Match': four, 'If-None-Match': four })), FAILED)
    assert.equal((await client.put('cas', 'six', { 'If-None-Match': etag })).status, 201)
    assert.equal(await (await client.get('cas')).text(), 'six')
  })

  it('hold for the JSON form, and say the tenant’s own key when they fail', async () => {
    const put = (headers: Record<string, string>) =>
      running.ask('/v1/storage/put', { method: 'POST', body: '{"key":"json","value":"dg=="}', headers })
    assert.equal((await put({ 'If-None-Match': '*' })).status, 201)
    const refused = await put({ 'If-None-Match': '*' })
    assert.equal(refused.status, 412)
    assert.match(((await refused.json()) as { error: string }).error, /^the value of json is not/)
  })

  it('delete only what is still as it was read', async () => {
    const etag = etagOf(await client.put('del', 'one'))
    await client.put('del', 'two')
    assert.deepEqual(await failure(client.remove('del', { 'If-Match': etag })), FAILED)
    assert.equal((await client.remove('del', { 'If-Match': etagOf(await client.get('del')) })).status, 200)
    assert.deepEqual(await failure(client.remove('del', { 'If-Match': '*' })), [404, 'KEY_NOT_FOUND'])
  })

  it('answer 304 to who has the value, and no range of another one', async () => {
    const etag = etagOf(await client.put('read', '0123456789'))
    const known = await client.get('read', { 'If-None-Match': etag })
    assert.deepEqual([known.status, await known.text(), etagOf(known)], [304, '', etag])
    assert.equal((await client.get('read', { 'If-None-Match': '"other"' })).status, 200)
    const part = await client.get('read', { Range: 'bytes=0-1', 'If-Range': etag })
    assert.deepEqual([part.status, await part.text()], [206, '01'])
    const whole = await client.get('read', { Range: 'bytes=0-1', 'If-Range': '"other"' })
    assert.deepEqual([whole.status, await whole.text()], [200, '0123456789'])
  })

  it('that are not understood are 400, and nothing is written', async () => {
    for (const value of ['etag', '"a" "b"', '"']) {
      assert.deepEqual(await failure(client.put('odd', 'x', { 'If-Match': value })), [400, 'INVALID_REQUEST'])
      assert.deepEqual(await failure(client.remove('odd', { 'If-None-Match': value })), [400, 'INVALID_REQUEST'])
    }
    assert.equal(await client.exists('odd'), false)
  })

  it('let exactly one of many who write at once win, at two gateways too', async () => {
    await using second = await startGateway({ dataDir: running.config.dataDir, environment: { NODE_ID: 'second' } })
    const other = clientOf(second)
    const race = async (headers: Record<string, string>) => {
      const answers = await Promise.all(
        Array.from({ length: 40 }, (_, index) => (index % 2 ? client : other).put('race', `${index}`, headers))
      )
      const winners = answers.flatMap((answer, index) => (answer.status === 201 ? [`${index}`] : []))
      assert.equal(winners.length, 1)
      assert.ok(answers.every(({ status }) => status === 201 || status === 412))
      assert.deepEqual([await (await client.get('race')).text()], winners)
    }
    await race({ 'If-None-Match': '*' })
    await race({ 'If-Match': etagOf(await other.get('race')) })
  })
})

describe('time to live', () => {
  let running: RunningGateway
  let client: ReturnType<typeof clientOf>
  let now = Date.parse('2026-01-02T03:04:05Z')
  before(async () => {
    running = await startGateway({ nowMs: () => now })
    client = clientOf(running)
  })
  after(() => running[Symbol.asyncDispose]())

  it('is a header or a field, and is told when the value is put and read', async () => {
    const put = await client.put('raw', 'v', { 'X-TTL-Seconds': '60' })
    const ends = new Date(now + 60_000).toISOString()
    assert.deepEqual(await put.json(), { status: 'ok', key: 'raw', size: 1, expires_at: ends })
    const body = JSON.stringify({ key: 'json', value: 'dg==', ttl_seconds: 60 })
    const json = await running.ask('/v1/storage/put', { method: 'POST', body })
    assert.equal(((await json.json()) as Body).expires_at, ends)
    assert.equal((await client.get('raw')).headers.get('x-expires-at'), ends)
    assert.deepEqual(await (await client.get('json', { Accept: 'application/json' })).json(), {
      key: 'json',
      value: 'dg==',
      expires_at: ends
    })
  })

  it('ends for every reader at once, before any sweep', async () => {
    await client.put('short', 'v', { 'X-TTL-Seconds': '10' })
    const etag = etagOf(await client.get('short'))
    now += 9_999
    assert.equal((await client.get('short')).status, 200)
    now += 1
    assert.deepEqual(await failure(client.get('short')), [404, 'KEY_NOT_FOUND'])
    assert.equal((await client.get('short', {}, 'HEAD')).status, 404)
    assert.equal(await client.exists('short'), false)
    assert.deepEqual((await client.list({ prefix: 'short' })).keys, [])
    assert.deepEqual(await failure(client.remove('short')), [404, 'KEY_NOT_FOUND'])
    assert.deepEqual(await failure(client.put('short', 'x', { 'If-Match': etag })), [412, 'PRECONDITION_FAILED'])
    assert.equal((await client.put('short', 'x', { 'If-None-Match': '*' })).status, 201)
  })

  it('is replaced with the value: a put without one lasts', async () => {
    await client.put('lasts', 'v', { 'X-TTL-Seconds': '1' })
    const put = await client.put('lasts', 'w')
    assert.deepEqual(await put.json(), { status: 'ok', key: 'lasts', size: 1 })
    now += 100_000
    assert.equal(await (await client.get('lasts')).text(), 'w')
  })

  it('is swept in bounded batches, of what is over only', async () => {
    const { values } = running.store
    while ((await values.sweep()) > 0);
    const content = { value: Buffer.from('v'), cid: null, sizeBytes: 1 }
    const put = (index: number, lifeMs: number) =>
      values.put(
        { namespace: 'alice', key: `ns::alice::swept/${index}` },
        { content, expiresAtMs: now + lifeMs, condition: null }
      )
    await Promise.all(Array.from({ length: 1_100 }, (_, index) => put(index, index < 1_050 ? 1_000 : 2_000)))
    assert.equal(await values.sweep(), 0)
    now += 1_000
    assert.deepEqual(
      [await values.sweep(), await values.sweep(), await values.sweep(), await values.sweep()],
      [...[500, 500, 50, 0]]
    )
    assert.equal((await client.list({ prefix: 'swept/' })).keys.length, 50)
    assert.equal(await (await client.get('lasts')).text(), 'w')
  })

  it('is 400 when it is no whole number of seconds from one to ten years', async () => {
    for (const seconds of ['0', '-1', '1.5', '1e3', 'x', '315360001', '9999999999', '0x10', '٣']) {
      const header = Buffer.from(seconds).toString('latin1')
      assert.deepEqual(await failure(client.put('bad', 'v', { 'X-TTL-Seconds': header })), [400, 'INVALID_REQUEST'])
    }
    for (const seconds of ['0', '-1', '1.5', '"60"', 'null', '1e400', '[]', 'true', '315360001']) {
      const body = `{"key":"bad","value":"","ttl_seconds":${seconds}}`
      const answer = running.ask('/v1/storage/put', { method: 'POST', body })
      assert.deepEqual(await failure(answer), [400, 'INVALID_REQUEST'], seconds)
    }
    assert.equal(await client.exists('bad'), false)
    assert.equal((await client.put('good', 'v', { 'X-TTL-Seconds': '315360000' })).status, 201)
  })
})

describe('pages of keys', () => {
  let running: RunningGateway
  let client: ReturnType<typeof clientOf>
  before(async () => {
    running = await startGateway()
    client = clientOf(running)
  })
  after(() => running[Symbol.asyncDispose]())

  it('have every key that is there all the time exactly once, whatever is written between them', async () => {
    const stays = Array.from({ length: 25 }, (_, index) => `page/${String(index * 2).padStart(3, '0')}%_é`)
    for (const key of stays) await client.put(key, '')
    const seen: string[] = []
    let cursor: string | undefined
    for (let turn = 0; ; turn += 1) {
      const page = await client.list({ prefix: 'page/', limit: '4', ...(cursor === undefined ? {} : { cursor }) })
      assert.equal(page.status, 200)
      seen.push(...page.keys)
      cursor = page.next_cursor
      if (cursor === undefined) break
      // Before the place, behind it, and the key of the place itself.
      await client.put(`page/${String(turn).padStart(3, '0')}-new`, '')
      await client.put(`page/900-${turn}`, '')
      const last = page.keys.at(-1) as string
      await client.remove(last)
      await client.put(last, 'again')
    }
    assert.deepEqual([...seen].sort(), seen)
    assert.equal(new Set(seen).size, seen.length)
    assert.deepEqual(
      seen.filter(key => stays.includes(key)),
      stays
    )
  })

  it('end without a cursor, also where the last is full', async () => {
    for (const key of ['end/a', 'end/b']) await client.put(key, '')
    assert.deepEqual(await client.list({ prefix: 'end/', limit: '2' }), { status: 200, keys: ['end/a', 'end/b'] })
    const { next_cursor: cursor = '' } = await client.list({ prefix: 'end/', limit: '1' })
    assert.deepEqual(await client.list({ prefix: 'end/', cursor }), { status: 200, keys: ['end/b'] })
    await client.remove('end/b')
    assert.deepEqual(await client.list({ prefix: 'end/', cursor }), { status: 200, keys: [] })
  })

  it('go on at another gateway of the same data directory', async () => {
    for (const key of ['two/a', 'two/b']) await client.put(key, '')
    const { next_cursor: cursor = '' } = await client.list({ prefix: 'two/', limit: '1' })
    await using other = await startGateway({ dataDir: running.config.dataDir, environment: { NODE_ID: 'other' } })
    assert.deepEqual((await clientOf(other).list({ prefix: 'two/', cursor })).keys, ['two/b'])
  })

  it('have cursors that tell nothing and are good for nobody and nothing else: 400', async () => {
    const long = 'k'.repeat(KIB)
    for (const key of ['secret/a', 'secret/b', long]) await client.put(key, '')
    const { next_cursor: cursor = '' } = await client.list({ prefix: 'secret/', limit: '1' })
    assert.ok(cursor.length > 40)
    assert.equal(Buffer.from(cursor, 'base64url').includes('secret'), false)
    const refused = [
      client.list({ prefix: 'secret/', cursor }, { 'X-API-Key': BOB }),
      client.list({ prefix: 'secret', cursor }),
      client.list({ cursor }),
      client.list({ prefix: 'secret/', cursor: cursor.slice(1) }),
      client.list({ prefix: 'secret/', cursor: `${cursor.slice(0, -4)}AAAA` }),
      client.list({ prefix: 'secret/', cursor: 'secret/a' }),
      client.list({ prefix: 'secret/', cursor: 'A'.repeat(5000) })
    ]
    for (const { status, code } of await Promise.all(refused))
      assert.deepEqual([status, code], [400, 'INVALID_REQUEST'])
    await client.put(`${long.slice(0, -1)}l`, '')
    const first = await client.list({ prefix: 'k', limit: '1' })
    assert.deepEqual((await client.list({ prefix: 'k', cursor: first.next_cursor ?? '' })).keys, [
      `${long.slice(0, -1)}l`
    ])
  })
})

describe('keys and values that are odd', () => {
  let running: RunningGateway
  let client: ReturnType<typeof clientOf>
  before(async () => {
    running = await startGateway({ environment: { MAX_BLOB_SIZE_MB: '1' } })
    client = clientOf(running)
  })
  after(() => running[Symbol.asyncDispose]())

  it('are kept apart and given back as they are', async () => {
    const keys = [
      '%',
      '_',
      '%00',
      '::',
      'ns::bob::x',
      ' ',
      '\n\r\t',
      '"',
      "'; DROP TABLE kv_storage; --",
      '../..',
      '\\',
      '+'
    ]
    keys.push(
      'é',
      'e\u0301',
      '\ufeff',
      '\u202e',
      '\ud83d\ude00',
      '\u{10ffff}',
      'k'.repeat(KIB),
      '__proto__',
      '{"key":1}'
    )
    for (const [index, key] of keys.entries()) assert.equal((await client.put(key, `${index}`)).status, 201, key)
    for (const [index, key] of keys.entries()) {
      assert.equal(await (await client.get(key)).text(), `${index}`, key)
      const { keys: listed } = await client.list({ prefix: key, limit: '1' })
      assert.deepEqual(listed, [key])
    }
    const bytewise = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    assert.deepEqual((await client.list({})).keys, bytewise)
    assert.deepEqual((await client.list({}, { 'X-API-Key': BOB })).keys, [])
  })

  it('are 400 where they can be no key', async () => {
    for (const key of ['\0', 'a\0b', 'k'.repeat(KIB + 1), 'é'.repeat(513), 'k'.repeat(10 * KIB)]) {
      const refused = [client.put(key, 'v'), client.get(key), client.remove(key)]
      refused.push(running.ask(`/v1/storage/list?prefix=${encodeURIComponent(key)}`))
      for (const answer of refused) assert.deepEqual(await failure(answer), [400, 'KEY_INVALID'])
    }
    for (const query of ['key=%', 'key=%ff', 'key=%c0%80', 'key=%ed%a0%80', '%ff=a&key=b', 'key=a&namespace=%ff']) {
      assert.equal((await running.ask(`/v1/storage/get?${query}`)).status, 400, query)
    }
  })

  it('are 400 where they are no JSON, no UTF-8 or no base64', async () => {
    const bodies: (string | Buffer<ArrayBuffer>)[] = [
      'A',
      'A===',
      'AA=A',
      'AAA',
      'AA A=',
      'AA-_',
      '====',
      '=AAA',
      'QQ==\n'
    ]
    for (const [index, value] of bodies.entries()) bodies[index] = JSON.stringify({ key: 'bad', value })
    bodies.push(Buffer.from('{"key":"bad","value":"","x":"\xff"}', 'latin1'), Buffer.from('\xc3\x28', 'latin1'))
    bodies.push('{"key":"bad\\u0000","value":""}', '{"key":["bad"],"value":""}', '{"key":"bad","value":{}}')
    bodies.push('['.repeat(100_000), '{"__proto__":{"key":"bad"},"value":""}')
    for (const body of bodies) {
      const answer = await running.ask('/v1/storage/put', { method: 'POST', body })
      assert.equal(answer.status, 400, String(body).slice(0, 40))
    }
    assert.equal(await client.exists('bad'), false)
  })

  it('are 413 over their limits, and nothing is kept', async () => {
    const json = JSON.stringify({ key: 'large', value: 'A'.repeat(KIB * KIB) })
    assert.deepEqual(await failure(running.ask('/v1/storage/put', { method: 'POST', body: json })), [
      ...[413, 'BODY_TOO_LARGE']
    ])
    const huge = new Promise<number | undefined>((resolve, reject) => {
      const headers = { 'X-API-Key': ALICE, 'Content-Length': 1024 ** 3 }
      const sent = request(`${running.url}/v1/storage/put?key=large`, { method: 'PUT', headers }, answer => {
        resolve(answer.statusCode)
        sent.destroy()
      })
      sent.once('error', reject).flushHeaders()
    })
    assert.equal(await huge, 413)
    assert.equal(await client.exists('large'), false)
  })
})
