import assert from 'node:assert/strict'
import { DB_CLIENTS } from './config.ts'
import { BOB, driverMissing, type RunningGateway, startGateway } from './testing/fixtures.ts'

const KIB = 1024

for (const client of DB_CLIENTS) {
  describe(`storage over HTTP, ${client}`, () => {
    let running: RunningGateway
    const missing = driverMissing(client)

    before(async function () {
      if (missing !== null) {
        console.log(`      skipped: ${missing}`)
        return this.skip()
      }
      running = await startGateway({ environment: { DB_CLIENT: client } })
    })
    after(async () => {
      await running?.[Symbol.asyncDispose]()
    })

    const put = (key: string, body: string | Buffer<ArrayBuffer>, headers: Record<string, string> = {}) =>
      running.ask(`/v1/storage/put?key=${encodeURIComponent(key)}`, { method: 'POST', body, headers })
    const get = (key: string, init: RequestInit = {}) =>
      running.ask(`/v1/storage/get?key=${encodeURIComponent(key)}`, init)
    const keys = async (query: string) =>
      ((await (await running.ask(`/v1/storage/list?${query}`)).json()) as { keys: string[] }).keys

    it('puts raw bytes, says so with 201, and gives them back', async () => {
      const stored = await put('a', Buffer.from([0, 1, 255]))
      assert.equal(stored.status, 201)
      assert.deepEqual(await stored.json(), { status: 'ok', key: 'a', size: 3 })
      const found = await get('a')
      assert.equal(found.headers.get('content-type'), 'application/octet-stream')
      assert.deepEqual([...new Uint8Array(await found.arrayBuffer())], [0, 1, 255])
    })

    it('puts a value of JSON and gives it as JSON to who asks for it', async () => {
      const body = JSON.stringify({ key: 'json', value: Buffer.from('héllo').toString('base64') })
      const stored = await running.ask('/v1/storage/put', { method: 'POST', body })
      assert.deepEqual([stored.status, await stored.json()], [201, { status: 'ok', key: 'json', size: 6 }])
      const found = await get('json', { headers: { Accept: 'application/json' } })
      assert.deepEqual(await found.json(), { key: 'json', value: Buffer.from('héllo').toString('base64') })
    })

    it('replaces a value, keeps empty ones, and says which exist', async () => {
      await put('twice', 'one')
      await put('twice', 'two')
      assert.equal(await (await get('twice')).text(), 'two')
      assert.equal((await put('empty', '')).status, 201)
      const empty = await get('empty')
      assert.deepEqual([empty.status, await empty.text()], [200, ''])
      const exists = async (key: string) => (await running.ask(`/v1/storage/exists?key=${key}`)).json()
      assert.deepEqual(await exists('empty'), { exists: true })
      assert.deepEqual(await exists('nobody'), { exists: false })
    })

    it('takes a key by query or JSON, by GET or POST, and by the older path', async () => {
      await running.ask('/v1/storage?key=ways', { method: 'PUT', body: 'v' })
      for (const [path, init] of [
        ['/v1/storage/get?key=ways', {}],
        ['/v1/storage?key=ways', {}],
        ['/v1/storage/get?key=ways', { method: 'POST' }],
        ['/v1/storage/get', { method: 'POST', body: '{"key":"ways"}' }]
      ] as const) {
        assert.equal(await (await running.ask(path, init)).text(), 'v', path)
      }
    })

    it('deletes, and answers 404 for what is not there', async () => {
      await put('gone', 'x')
      const first = await running.ask('/v1/storage/delete', { method: 'POST', body: '{"key":"gone"}' })
      assert.deepEqual([first.status, await first.json()], [200, { status: 'ok', key: 'gone' }])
      const again = await running.ask('/v1/storage/delete?key=gone', { method: 'POST' })
      assert.deepEqual(
        [again.status, await again.json()],
        [404, { error: 'key not found: gone', code: 'KEY_NOT_FOUND' }]
      )
      assert.equal((await get('gone')).status, 404)
    })

    it('lists by prefix with every character as itself, in byte order, up to the limit', async () => {
      for (const key of ['p%a', 'pxa', 'P%b', 'p_1', 'p%', 'p%z', 'p%\u{10ffff}', 'p%é']) await put(key, '')
      assert.deepEqual(await keys('prefix=p%25'), ['p%', 'p%a', 'p%z', 'p%é', 'p%\u{10ffff}'])
      assert.deepEqual(await keys('prefix=p_'), ['p_1'])
      assert.deepEqual(await keys('prefix=p%25&limit=2'), ['p%', 'p%a'])
      assert.equal((await running.ask('/v1/storage/list?limit=0')).status, 400)
      assert.equal((await running.ask('/v1/storage/list?limit=9999999')).status, 200)
      for (let index = 0; index < 105; index += 1) await put(`many/${String(index).padStart(3, '0')}`, '')
      assert.equal((await keys('prefix=many/')).length, 100)
    })

    it('answers HEAD and Range', async () => {
      await put('range', '0123456789')
      const head = await get('range', { method: 'HEAD' })
      assert.deepEqual([head.status, head.headers.get('content-length'), await head.text()], [200, '10', ''])
      const part = await get('range', { headers: { Range: 'bytes=2-4' } })
      assert.deepEqual(
        [part.status, part.headers.get('content-range'), await part.text()],
        [206, 'bytes 2-4/10', '234']
      )
      assert.equal(await (await get('range', { headers: { Range: 'bytes=-3' } })).text(), '789')
      const outside = await get('range', { headers: { Range: 'bytes=10-' } })
      assert.deepEqual([outside.status, outside.headers.get('content-range')], [416, 'bytes */10'])
    })

    it('keeps namespaces apart, whatever the key', async () => {
      await put('mine', 'alice')
      for (const key of ['mine', 'ns::alice::mine', '../alice/mine', 'alice::mine']) {
        const stolen = await get(key, { headers: { 'X-API-Key': BOB } })
        assert.equal(stolen.status, 404, key)
      }
      const list = await running.ask('/v1/storage/list?prefix=', { headers: { 'X-API-Key': BOB } })
      assert.deepEqual(await list.json(), { keys: [] })
      const other = await running.ask('/v1/storage/get?key=mine&namespace=bob')
      assert.deepEqual(
        [other.status, await other.json()],
        [403, { error: 'namespace mismatch', code: 'NAMESPACE_MISMATCH' }]
      )
      assert.equal((await running.ask('/v1/storage/get?key=mine&namespace=alice')).status, 200)
    })

    it('refuses what is no key and no value with 400', async () => {
      const refused = async (answer: Promise<Response>) => {
        const { status } = await answer
        assert.equal(status, 400)
      }
      await refused(running.ask('/v1/storage/get'))
      await refused(running.ask('/v1/storage/get?key='))
      await refused(running.ask('/v1/storage/get?key=%ff'))
      await refused(put('nul\0', 'x'))
      await refused(put('k'.repeat(2000), 'x'))
      for (const body of [
        '',
        '{',
        '[]',
        'null',
        '{"key":1,"value":""}',
        '{"key":"k"}',
        '{"key":"k","value":"%%%"}',
        '{"key":"\\ud800","value":""}'
      ]) {
        await refused(running.ask('/v1/storage/put', { method: 'POST', body }))
      }
    })

    it('answers 503 for a value over 64 KiB without a network, and keeps 64 KiB itself', async () => {
      assert.equal((await put('edge', Buffer.alloc(64 * KIB))).status, 201)
      const over = await put('over', Buffer.alloc(64 * KIB + 1))
      assert.deepEqual([over.status, ((await over.json()) as { code: string }).code], [503, 'NETWORK_UNAVAILABLE'])
      assert.equal((await get('over')).status, 404)
    })

    it('writes the request log behind the requests', async () => {
      await running.ask('/v1/storage/exists?key=logged')
      await running.store.requests.flush()
      assert.equal(running.store.requests.dropped, 0)
    })
  })

  describe(`a full database, ${client}`, () => {
    it('answers 507, keeps nothing half written and goes on reading', async function () {
      const missing = driverMissing(client)
      if (missing !== null) return this.skip()
      await using running = await startGateway({ environment: { DB_CLIENT: client, GATEWAY_DATABASE_MAX_MB: '1' } })
      const put = (key: string) =>
        running.ask(`/v1/storage/put?key=${key}`, { method: 'POST', body: Buffer.alloc(60 * KIB) })
      let full: Response | undefined
      let count = 0
      for (; count < 100 && full === undefined; count += 1) {
        const answer = await put(`k${count}`)
        if (answer.status !== 201) full = answer
      }
      assert.ok(full !== undefined)
      assert.deepEqual([full.status, ((await full.json()) as { code: string }).code], [507, 'STORAGE_FULL'])
      assert.equal((await running.ask(`/v1/storage/get?key=k${count - 1}`)).status, 404)
      assert.equal((await (await running.ask('/v1/storage/get?key=k0')).arrayBuffer()).byteLength, 60 * KIB)
      assert.equal((await running.ask('/v1/storage/delete?key=k0', { method: 'POST' })).status, 200)
      assert.equal((await put('again')).status, 201)
    })
  })
}
