import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { sha256 } from 'multiformats/hashes/sha2'
import { cidOf } from '../blobs/cid.ts'
import { eventually } from '../net/testing.ts'
import { startNode, type TestNode } from '../testing.ts'

const MIB = 1024 * 1024
const json = { 'content-type': 'application/json' }
const errorOf = async (answer: Response) => ((await answer.json()) as { error: string }).error
/** Without fetch's own decoding and forbidden headers. */
const ask = (url: string, headers: Record<string, string>, method = 'GET') =>
  new Promise<{ status: number; headers: Record<string, string | undefined>; body: Buffer }>((resolve, reject) => {
    const req = request(url, { method, headers }, res => {
      const pieces: Buffer[] = []
      res.on('data', piece => pieces.push(piece))
      res.on('end', () => {
        resolve({ status: res.statusCode ?? 0, headers: res.headers as never, body: Buffer.concat(pieces) })
      })
    })
    req.once('error', reject)
    req.end()
  })
/** What a node answers to bytes that stop. */
const answerTo = (url: string, text: string) =>
  new Promise<string>((resolve, reject) => {
    let answer = ''
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.on('data', data => {
      answer += data
    })
    socket.once('end', () => resolve(answer)).once('error', reject)
    socket.write(text)
  })

describe('what stands before the routes', function () {
  this.timeout(30_000)
  let peer: TestNode
  before(async () => {
    peer = await startNode({
      MAX_BLOB_SIZE_MB: '1',
      COMPRESSION_ENABLED: 'true',
      HTTP_REQUEST_TIMEOUT_MS: '300',
      CORS_ORIGIN: 'https://app.example'
    })
  })
  after(() => peer[Symbol.asyncDispose]())

  it('refuses over the rate by 429 in the one shape, with the standard headers, and only that class', async () => {
    await using limited = await startNode({ HTTP_RATE_READ: '2' })
    const get = () => fetch(`${limited.url}/retrieve/x`)
    const first = await get()
    assert.equal(first.status, 400)
    assert.equal(first.headers.get('ratelimit-policy'), '"read";q=2;w=60')
    assert.match(first.headers.get('ratelimit') ?? '', /^"read";r=1;t=(60|59)$/)
    assert.deepEqual(
      ['limit', 'remaining'].map(end => first.headers.get(`ratelimit-${end}`)),
      ['2', '1']
    )
    await get()
    const third = await get()
    assert.equal(third.status, 429)
    assert.equal(third.headers.get('retry-after'), '60')
    const body = (await third.json()) as Record<string, unknown>
    assert.deepEqual([body.error, body.retryAfter], ['RATE_LIMITED', 60])
    assert.equal((await fetch(`${limited.url}/health`)).status, 200)
  })

  it('bounds the reads that work a CID out: a rate of their own, and some at once, whatever range they ask for', async () => {
    await using limited = await startNode({ HTTP_RATE_VERIFY: '2' })
    const body = randomBytes(1000)
    const { cid } = (await (await fetch(`${limited.url}/store`, { method: 'POST', body })).json()) as { cid: string }
    const read = (query: string) => fetch(`${limited.url}/retrieve/${cid}${query}`, { headers: { range: 'bytes=0-0' } })
    const verified = [await read('?verify=1'), await read('?verify=1'), await read('?verify=1')]
    assert.deepEqual(
      verified.map(({ status }) => status),
      [206, 206, 429]
    )
    assert.equal(verified[2]!.headers.get('ratelimit-policy'), '"verify";q=2;w=60')
    assert.equal((await read('')).status, 206)

    await using busy = await startNode({ HTTP_MAX_VERIFIES: '2' })
    // One that fails gives its place back.
    const absent = await cidOf([randomBytes(9)])
    for (const _time of [1, 2]) {
      assert.equal((await fetch(`${busy.url}/retrieve/${absent}?verify=1&local=1`)).status, 404)
    }
    const large = randomBytes(16 * MIB)
    const stored = await fetch(`${busy.url}/store`, { method: 'POST', body: large })
    const other = ((await stored.json()) as { cid: string }).cid
    const answers = await Promise.all(
      Array.from({ length: 8 }, () =>
        fetch(`${busy.url}/retrieve/${other}?verify=1`, { headers: { range: 'bytes=0-0' } })
      )
    )
    // One address has half of the places.
    const refused = answers.filter(({ status }) => status === 429)
    assert.ok(refused.length > 0 && answers.some(({ status }) => status === 206), 'one goes on, others wait for it')
    const told = (await refused[0]!.json()) as { error: string; retryAfter: number; details: { limit: string } }
    assert.deepEqual([told.error, told.details.limit], ['SHARE_EXCEEDED', 'HTTP_MAX_VERIFIES'])
    assert.equal(refused[0]!.headers.get('retry-after'), String(told.retryAfter))
  })

  it('gives one address its share of uploads, and of downloads until a reader that takes nothing is ended', async () => {
    await using node = await startNode({
      MAX_BLOB_SIZE_MB: '64',
      HTTP_MAX_UPLOADS_PER_ADDRESS: '2',
      HTTP_MAX_DOWNLOADS_PER_ADDRESS: '1',
      HTTP_STALL_TIMEOUT_MS: '500',
      HTTP_BODY_MS_PER_MIB: '250'
    })
    const refusal = async (answer: Response) => {
      const { error, details, retryAfter } = (await answer.json()) as Record<string, unknown>
      assert.equal(answer.headers.get('retry-after'), String(retryAfter))
      return [answer.status, error, (details as { limit: string }).limit]
    }
    const port = Number(new URL(node.url).port)
    const open = Array.from({ length: 2 }, () => connect(port, '127.0.0.1'))
    for (const socket of open) socket.write('POST /store HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf')
    await eventually(() => node.node.store.stats().reservedBytes === 2000, 'both are under way')
    const put = (body: Buffer<ArrayBuffer>) => fetch(`${node.url}/store`, { method: 'POST', body })
    assert.deepEqual(await refusal(await put(randomBytes(9))), [429, 'SHARE_EXCEEDED', 'HTTP_MAX_UPLOADS_PER_ADDRESS'])
    const body = JSON.stringify({ ciphertext: randomBytes(9).toString('base64') })
    const inJson = await fetch(`${node.url}/store`, { method: 'POST', headers: json, body })
    assert.deepEqual(await refusal(inJson), [429, 'SHARE_EXCEEDED', 'HTTP_MAX_UPLOADS_PER_ADDRESS'])
    for (const socket of open) socket.destroy()
    await eventually(() => node.node.store.stats().reservedBytes === 0, 'both are gone')

    const { cid } = (await (await put(randomBytes(48 * MIB))).json()) as { cid: string }
    const slow = connect(port, '127.0.0.1')
    const ended = once(slow, 'close')
    slow.on('error', () => {})
    slow.write(`GET /retrieve/${cid} HTTP/1.1\r\nhost: x\r\n\r\n`)
    await once(slow, 'readable')
    const read = () => fetch(`${node.url}/retrieve/${cid}`, { headers: { range: 'bytes=0-9' } })
    assert.deepEqual(await refusal(await read()), [429, 'SHARE_EXCEEDED', 'HTTP_MAX_DOWNLOADS_PER_ADDRESS'])
    const blob = () => fetch(`${node.url}/blob/${cid}`)
    assert.deepEqual(await refusal(await blob()), [429, 'SHARE_EXCEEDED', 'HTTP_MAX_DOWNLOADS_PER_ADDRESS'])
    const again = await eventually(async () => {
      const answer = await read()
      return answer.status === 206 ? answer : void (await answer.body?.cancel())
    }, 'its place is free again')
    assert.equal((await again!.arrayBuffer()).byteLength, 10)
    slow.resume()
    await ended
  })

  it('takes no place for a download whose client left while the blob was looked for', async () => {
    await using node = await startNode({ HTTP_MAX_DOWNLOADS_PER_ADDRESS: '1' })
    const { cid, read, looks } = await slowToFind(node)
    await leave(node, `GET /retrieve/${cid} HTTP/1.1\r\nhost: x\r\nrange: bytes=0-0\r\n\r\n`, looks.begun)
    looks.go()
    await looks.over
    assert.equal(await read(), 206)
  })

  it('tells browsers which pages may use it, and refuses the others what they would do unasked', async () => {
    const from = (origin: string, method = 'GET', more: Record<string, string> = {}) =>
      fetch(`${peer.url}/peers/connect`, { method, headers: { ...more, origin } })
    const allowed = await from('https://app.example')
    assert.equal(allowed.headers.get('access-control-allow-origin'), 'https://app.example')
    assert.match(allowed.headers.get('vary') ?? '', /Origin/)
    const preflight = { 'access-control-request-method': 'POST' }
    const asked = await from('https://app.example', 'OPTIONS', preflight)
    assert.equal(asked.status, 204)
    assert.match(asked.headers.get('access-control-allow-methods') ?? '', /POST/)
    const foreign = await from('https://evil.example', 'OPTIONS', preflight)
    assert.equal(foreign.headers.get('access-control-allow-origin'), null)
    assert.equal(foreign.headers.get('access-control-allow-methods'), null)
    const refused = await from('https://evil.example', 'POST')
    assert.deepEqual([refused.status, await errorOf(refused)], [403, 'FORBIDDEN'])
    // A page of the node itself is no other origin.
    assert.equal((await from(peer.url, 'POST')).status, 401)
  })

  it('compresses large JSON for who takes it, and never blobs', async () => {
    const plain = await ask(`${peer.url}/shards`, {})
    const zipped = await ask(`${peer.url}/shards`, { 'accept-encoding': 'gzip' })
    const brotli = await ask(`${peer.url}/shards`, { 'accept-encoding': 'br, gzip' })
    assert.equal(plain.headers['content-encoding'], undefined)
    assert.deepEqual(
      [zipped, brotli].map(({ headers }) => headers['content-encoding']),
      ['gzip', 'br']
    )
    assert.ok(zipped.body.length < plain.body.length / 2)
    assert.deepEqual(gunzipSync(zipped.body), plain.body)
    assert.deepEqual(brotliDecompressSync(brotli.body), plain.body)
    assert.match(zipped.headers['content-type'] ?? '', /^application\/json/)
    assert.equal(Number(zipped.headers['content-length']), zipped.body.length)
    assert.equal((await ask(`${peer.url}/ready`, { 'accept-encoding': 'gzip' })).headers['content-encoding'], undefined)
    const body = Buffer.alloc(100_000)
    const { cid } = (await (await fetch(`${peer.url}/store`, { method: 'POST', body })).json()) as { cid: string }
    const blob = await ask(`${peer.url}/retrieve/${cid}`, { 'accept-encoding': 'gzip' })
    assert.deepEqual([blob.headers['content-encoding'], blob.body.length], [undefined, body.length])
    await using usual = await startNode()
    assert.equal(
      (await ask(`${usual.url}/shards`, { 'accept-encoding': 'gzip' })).headers['content-encoding'],
      undefined
    )
  })

  it('ends a body that falls silent, one that drips, and headers that do not come, by 408 or 400 in the one shape', async () => {
    const head = 'POST /store HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n'
    assert.match(await answerTo(peer.url, `${head}half`), /^HTTP\/1\.1 408 .*"error":"REQUEST_TIMEOUT"/s)
    const socket = connect(Number(new URL(peer.url).port), '127.0.0.1')
    const dripping = setInterval(() => socket.write('x'), 50)
    const answer = await new Promise<string>((resolve, reject) => {
      socket.once('data', data => resolve(String(data))).once('error', reject)
      socket.write(head)
    })
    clearInterval(dripping)
    socket.destroy()
    assert.match(answer, /^HTTP\/1\.1 408 .*"error":"REQUEST_TIMEOUT"/s)
    assert.match(await answerTo(peer.url, 'nonsense\r\n\r\n'), /^HTTP\/1\.1 400 .*"error":"INVALID_REQUEST"/s)
    const long = `GET / HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`
    assert.match(await answerTo(peer.url, long), /^HTTP\/1\.1 431 .*"error":"HEADERS_TOO_LARGE"/s)
    assert.equal(peer.node.store.stats().reservedBytes, 0)
  })

  it('lets only the operator make connections', async () => {
    const body = JSON.stringify({ multiaddr: peer.node.addresses()[0] })
    for (const authorization of ['', 'Bearer nonsense']) {
      const headers = { ...json, authorization }
      const answer = await fetch(`${peer.url}/peers/connect`, { method: 'POST', headers, body })
      assert.deepEqual([answer.status, await errorOf(answer)], [401, 'UNAUTHORIZED'])
    }
  })

  it('gives lists of blobs to the operator only, or to all that reach it when the operator says so', async () => {
    const token = (await readFile(join(peer.dataDir, 'keys', 'admin.token'), 'utf8')).trim()
    await using open = await startNode({ HTTP_LIST_BLOBS: '1' })
    for (const path of ['/blobs', '/replication']) {
      // What a proxy on this machine sends that adds no header: nothing tells it from a program here.
      const answer = await fetch(`${peer.url}${path}`)
      assert.deepEqual([answer.status, await errorOf(answer)], [401, 'UNAUTHORIZED'])
      const headers = { authorization: `Bearer ${token}` }
      assert.equal((await fetch(`${peer.url}${path}`, { headers })).status, 200)
      const wrong = await fetch(`${peer.url}${path}?limit=-1`, { headers })
      assert.deepEqual([wrong.status, await errorOf(wrong)], [400, 'INVALID_REQUEST'])
      assert.equal((await fetch(`${open.url}${path}`)).status, 200)
    }
  })
})

describe('blobs in other forms', function () {
  this.timeout(30_000)
  let peer: TestNode
  before(async () => {
    peer = await startNode({ MAX_BLOB_SIZE_MB: '1' })
  })
  after(() => peer[Symbol.asyncDispose]())
  const post = (path: string, body: unknown, on = peer) =>
    fetch(`${on.url}${path}`, { method: 'POST', headers: json, body: JSON.stringify(body) })

  it('are stored from JSON with the type behind the bytes, and read back in JSON', async () => {
    const bytes = randomBytes(500_001)
    const answer = await post('/store', { ciphertext: bytes.toString('base64'), mimeType: 'image/png' })
    assert.equal(answer.status, 201)
    const { cid, success, replicationStatus } = (await answer.json()) as Record<string, unknown>
    assert.deepEqual([success, replicationStatus], [true, { target: 3, confirmed: 1 }])
    const got = await fetch(`${peer.url}/retrieve/${cid}`)
    assert.equal(got.headers.get('content-type'), 'image/png')
    assert.deepEqual(Buffer.from(await got.arrayBuffer()), bytes)
    const inJson = (await (await fetch(`${peer.url}/blob/${cid}`)).json()) as Record<string, unknown>
    assert.deepEqual([inJson.cid, inJson.mimeType, inJson.size, inJson.version], [cid, 'image/png', bytes.length, 1])
    assert.deepEqual(Buffer.from(String(inJson.ciphertext), 'base64'), bytes)
    assert.equal((await fetch(`${peer.url}/blob/${cid}`, { method: 'HEAD' })).status, 200)
    const status = (await (await fetch(`${peer.url}/blobs/${cid}/status`)).json()) as Record<string, unknown>
    assert.deepEqual([status.stored, status.size, status.pinned], [true, bytes.length, false])
  })

  it('are kept as replicas only under the CID they have', async () => {
    const bytes = randomBytes(1000)
    const ciphertext = bytes.toString('base64')
    const { cid } = (await (await post('/store', { ciphertext })).json()) as { cid: string }
    await using other = await startNode()
    const wrong = await post('/replicate', { cid, ciphertext: randomBytes(1000).toString('base64') }, other)
    assert.deepEqual([wrong.status, await errorOf(wrong)], [400, 'CID_MISMATCH'])
    assert.equal(other.node.store.stats().storedBlobs, 0)
    const late = await post('/replicate', { ciphertext, cid }, other)
    assert.equal(late.status, 400)
    const form = { cid, ciphertext, mimeType: 'image/gif', fromPeer: 'x' }
    const answers = [await post('/replicate', form, other), await post('/replicate', form, other)]
    assert.deepEqual(
      await Promise.all(answers.map(answer => answer.json())),
      [false, true].map(alreadyStored => ({ success: true, cid, alreadyStored }))
    )
    assert.equal((await other.node.store.stat(cid))?.mimeType, 'image/gif')
  })

  it('are answered before their end without leaving the sender on a connection that nobody reads', async () => {
    const bytes = randomBytes(9 * MIB)
    const ciphertext = bytes.toString('base64')
    await using roomy = await startNode({ MAX_BLOB_SIZE_MB: '40' })
    const stored = await fetch(`${roomy.url}/store`, { method: 'POST', body: bytes })
    const { cid } = (await stored.json()) as { cid: string }
    const table: Array<[string, object, number]> = [
      ['/replicate', { cid, ciphertext }, 200],
      ['/replicate', { cid: 'none', ciphertext }, 400],
      ['/replicate', { ciphertext, cid }, 400],
      ['/store', { misspelt: ciphertext }, 400]
    ]
    for (const [path, form, status] of table) {
      const { promise: sent, resolve, reject } = Promise.withResolvers<void>()
      const { promise: answered, resolve: answer } = Promise.withResolvers<number>()
      const body = JSON.stringify(form)
      const options = { method: 'POST', headers: { ...json, 'content-length': body.length } }
      const req = request(`${roomy.url}${path}`, options, res => answer(res.resume().statusCode ?? 0))
      req.once('finish', resolve).once('error', reject).end(body)
      assert.equal(await answered, status)
      await sent.catch(error => assert.fail(`${path} ${status}: ${error.message}`))
    }
  })

  it('are found by the names other programs give them, after a restart too', async () => {
    const bytes = randomBytes(1000)
    const { cid } = (await (await fetch(`${peer.url}/store`, { method: 'POST', body: bytes })).json()) as {
      cid: string
    }
    const asRaw = CID.createV1(raw.code, await sha256.digest(bytes)).toString()
    const asV0 = CID.createV0(CID.parse(cid).multihash as never).toString()
    assert.match(asRaw, /^bafk/)
    assert.match(asV0, /^Qm/)
    const read = async (url: string, name: string) => {
      const answer = await fetch(`${url}/retrieve/${name}`)
      assert.equal(answer.headers.get('etag'), `"${cid}"`)
      return Buffer.from(await answer.arrayBuffer())
    }
    for (const name of [asRaw, asV0]) assert.deepEqual(await read(peer.url, name), bytes)
    const absent = CID.createV1(raw.code, await sha256.digest(randomBytes(9))).toString()
    const answer = await fetch(`${peer.url}/retrieve/${absent}`)
    assert.deepEqual([answer.status, await errorOf(answer)], [404, 'BLOB_NOT_FOUND'])
    // What is more than one block has no such name, whether its size is told before or not.
    const large = [randomBytes(300_000), randomBytes(300_000)]
    await fetch(`${peer.url}/store`, { method: 'POST', body: large[0]! })
    const chunked = new Blob([large[1]!]).stream()
    await fetch(`${peer.url}/store`, { method: 'POST', body: chunked, duplex: 'half' } as RequestInit)
    for (const bytes of large) {
      const name = CID.createV1(raw.code, await sha256.digest(bytes)).toString()
      assert.equal((await fetch(`${peer.url}/retrieve/${name}`)).status, 404)
    }
    await peer.stop()
    await using again = await startNode({ DATA_DIR: peer.dataDir, MAX_BLOB_SIZE_MB: '1' })
    assert.deepEqual(await read(again.url, asRaw), bytes)
  })

  it('are refused when their declared class of content is not taken', async () => {
    await using picky = await startNode({ CONTENT_TYPES: 'media,posts' })
    const ciphertext = Buffer.from('x').toString('base64')
    const store = (contentType?: string) => post('/store', { ciphertext, contentType }, picky)
    const raw = (query: string) => fetch(`${picky.url}/store${query}`, { method: 'POST', body: 'y' })
    assert.equal((await store('media')).status, 201)
    assert.equal((await raw('?contentType=posts')).status, 201)
    for (const answer of [await store('messages'), await store(), await raw(''), await raw('?contentType=listings')]) {
      assert.deepEqual([answer.status, await errorOf(answer)], [403, 'CONTENT_TYPE_REJECTED'])
    }
    assert.equal(picky.node.store.stats().storedBlobs, 2)
  })

  it('are up to the limit whichever form they come in', async () => {
    await using node = await startNode({ MAX_BLOB_SIZE_MB: '1' })
    const table: Array<[number, number]> = [
      [MIB, 201],
      [MIB + 1, 413]
    ]
    for (const [size, status] of table) {
      const bytes = randomBytes(size)
      const answer = await post('/store', { ciphertext: bytes.toString('base64') }, node)
      assert.equal(answer.status, status, await answer.text())
    }
  })
})

/** A blob whose size the store tells only after `looks.go()`. */
async function slowToFind({ node: { store }, url }: TestNode) {
  const stored = await fetch(`${url}/store`, { method: 'POST', body: randomBytes(1000) })
  const { cid } = (await stored.json()) as { cid: string }
  const begun = Promise.withResolvers<void>()
  const may = Promise.withResolvers<void>()
  const over = Promise.withResolvers<void>()
  const { stat } = store
  store.stat = async of => {
    begun.resolve()
    await may.promise
    // Whoever asked goes on before this is told.
    setImmediate(over.resolve)
    return await stat(of)
  }
  const read = async () => {
    const answer = await fetch(`${url}/retrieve/${cid}`, { headers: { range: 'bytes=0-9' } })
    await answer.arrayBuffer()
    return answer.status
  }
  return { cid, read, looks: { begun: begun.promise, go: may.resolve, over: over.promise } }
}

/** Ask, end the connection when `when` comes, and wait until the server knows. */
async function leave({ url }: TestNode, asking: string, when: Promise<void>): Promise<void> {
  const { promise: server, resolve } = Promise.withResolvers<Socket>()
  const onRequest = (message: unknown) => resolve((message as { socket: Socket }).socket)
  subscribe('http.server.request.start', onRequest)
  try {
    const client = connect(Number(new URL(url).port), '127.0.0.1')
    client.write(asking)
    await when
    const gone = once(await server, 'close')
    client.destroy()
    await gone
  } finally {
    unsubscribe('http.server.request.start', onRequest)
  }
}
