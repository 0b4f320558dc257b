import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { connect } from 'node:net'
import { cidOf } from '../blobs/cid.ts'
import { startNode, type TestNode } from '../testing.ts'

const MIB = 1024 * 1024

describe('http', () => {
  let peer: TestNode
  const api = (path: string, init?: RequestInit) => fetch(`${peer.url}${path}`, init)
  const store = (body: Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) =>
    api('/store', { method: 'POST', body, headers })

  before(async () => {
    peer = await startNode({ MAX_BLOB_SIZE_MB: '1', MAX_STORAGE_MB: '3', OWNER_ADDRESS: `0x${'1'.repeat(40)}` })
  })
  after(() => peer[Symbol.asyncDispose]())

  it('stores bytes and gives them back', async () => {
    const bytes = randomBytes(300_000)
    const first = await store(bytes, { 'content-type': 'image/png' })
    assert.equal(first.status, 201)
    const answer = (await first.json()) as { cid: string; size: number; encrypted: boolean }
    assert.deepEqual([answer.cid, answer.size, answer.encrypted], [await cidOf([bytes]), bytes.length, true])
    assert.equal((await store(bytes)).status, 200)

    const got = await api(`/retrieve/${answer.cid}`)
    assert.equal(got.status, 200)
    assert.equal(got.headers.get('content-type'), 'image/png')
    assert.equal(got.headers.get('etag'), `"${answer.cid}"`)
    assert.match(got.headers.get('cache-control') ?? '', /immutable/)
    assert.ok(Buffer.from(await got.arrayBuffer()).equals(bytes))

    const verified = await api(`/retrieve/${answer.cid}?verify=1`)
    assert.ok(Buffer.from(await verified.arrayBuffer()).equals(bytes))
    const head = await api(`/retrieve/${answer.cid}`, { method: 'HEAD' })
    assert.deepEqual([head.status, head.headers.get('content-length')], [200, '300000'])
    const part = await api(`/retrieve/${answer.cid}`, { headers: { range: 'bytes=-5' } })
    assert.deepEqual([part.status, part.headers.get('content-range')], [206, 'bytes 299995-299999/300000'])
    assert.ok(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(-5)))
    const beyond = await api(`/retrieve/${answer.cid}`, { headers: { range: 'bytes=300000-' } })
    assert.deepEqual([beyond.status, beyond.headers.get('content-range')], [416, 'bytes */300000'])
    await beyond.body?.cancel()
    const fresh = await api(`/retrieve/${answer.cid}`, { headers: { 'if-none-match': `"${answer.cid}"` } })
    assert.equal(fresh.status, 304)
    assert.equal(((await (await api(`/replication/${answer.cid}`)).json()) as { complete: boolean }).complete, true)
  })

  it('has one shape of errors', async () => {
    const absent = await cidOf([Buffer.from('nobody has this')])
    const table: Array<[string, RequestInit, number, string]> = [
      ['/retrieve/bafynonsense', {}, 400, 'CID_INVALID'],
      ['/retrieve/..%2f..%2fetc%2fpasswd', {}, 400, 'CID_INVALID'],
      [`/retrieve/${absent}`, {}, 404, 'BLOB_NOT_FOUND'],
      ['/store', { method: 'POST' }, 400, 'BLOB_EMPTY'],
      ['/store', { method: 'DELETE' }, 405, 'METHOD_NOT_ALLOWED'],
      ['/nowhere', {}, 404, 'NOT_FOUND'],
      ['/blobs', {}, 401, 'UNAUTHORIZED'],
      ['/replication/x', {}, 400, 'CID_INVALID']
    ]
    for (const [path, init, status, code] of table) {
      const answer = await api(path, init)
      const body = (await answer.json()) as { error: string; message: string; timestamp: number }
      assert.deepEqual([answer.status, body.error], [status, code], path)
      assert.equal(typeof body.message, 'string')
      assert.equal(typeof body.timestamp, 'number')
      assert.equal(answer.headers.get('etag'), null)
    }
  })

  it('refuses a body over the limit by its Content-Length, before it is read', async () => {
    const socket = connect(Number(new URL(peer.url).port), '127.0.0.1')
    socket.write(`POST /store HTTP/1.1\r\nhost: x\r\ncontent-length: ${MIB + 1}\r\n\r\n`)
    const [head] = await new Promise<string[]>((resolve, reject) => {
      socket.once('data', data => resolve([String(data)]))
      socket.once('error', reject)
    })
    // Not one byte of the body was sent.
    assert.match(head ?? '', /^HTTP\/1\.1 413 /)
    assert.match(head ?? '', /PAYLOAD_TOO_LARGE/)
    socket.destroy()
  })

  it('cuts a chunked body at the limit and keeps nothing', async () => {
    const before = peer.node.store.stats()
    const sent = { bytes: 0 }
    const status = await new Promise<number>((resolve, reject) => {
      const req = request(`${peer.url}/store`, { method: 'POST', headers: { 'transfer-encoding': 'chunked' } }, res => {
        resolve(res.statusCode ?? 0)
        res.resume()
        req.destroy()
      })
      req.on('error', reject)
      const more = () => {
        if (sent.bytes > 64 * MIB) return req.end()
        sent.bytes += 65536
        if (req.write(randomBytes(65536))) setImmediate(more)
        else req.once('drain', more)
      }
      more()
    })
    assert.equal(status, 413)
    assert.ok(sent.bytes < 64 * MIB)
    assert.deepEqual(peer.node.store.stats(), before)
  })

  it('lets a client that goes on writing read the refusal, and throws away what it writes', async () => {
    const socket = connect(Number(new URL(peer.url).port), '127.0.0.1')
    const answer = new Promise<string>((resolve, reject) => {
      let text = ''
      socket.on('data', data => {
        text += data
      })
      socket.once('end', () => resolve(text)).once('error', reject)
    })
    socket.write('POST /store HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n')
    for (let i = 0; i < 12; i += 1) {
      socket.write(`${MIB.toString(16)}\r\n`)
      socket.write(randomBytes(MIB))
      socket.write('\r\n')
    }
    const written = new Promise<void>((resolve, reject) => {
      socket.write('0\r\n\r\n', error => (error ? reject(error) : resolve()))
    })
    await written
    assert.match(await answer, /^HTTP\/1\.1 413 .*PAYLOAD_TOO_LARGE/s)
    socket.destroy()
  })

  it('asks for a body with 100 Continue only when it reads it', async () => {
    const first = (path: string) =>
      new Promise<string>((resolve, reject) => {
        const socket = connect(Number(new URL(peer.url).port), '127.0.0.1')
        socket.write(`POST ${path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n`)
        socket.once('error', reject).once('data', data => {
          socket.destroy()
          resolve(String(data))
        })
      })
    assert.match(await first('/store'), /^HTTP\/1\.1 100 /)
    assert.match(await first('/nowhere'), /^HTTP\/1\.1 404 /)
  })

  it('answers a full quota with 507 and takes more when there is room again', async () => {
    const statuses: number[] = []
    for (let i = 0; i < 4; i += 1) {
      const answer = await store(randomBytes(MIB))
      statuses.push(answer.status)
      await answer.body?.cancel()
    }
    assert.deepEqual(statuses, [201, 201, 507, 507])
    assert.equal(peer.node.store.stats().reservedBytes, 0)
    for (const cid of [...peer.node.store.list()]) await peer.node.store.delete(cid)
    assert.equal((await store(randomBytes(MIB))).status, 201)
  })

  it('lets an upload that breaks off leave nothing', async () => {
    const before = peer.node.store.stats()
    const socket = connect(Number(new URL(peer.url).port), '127.0.0.1')
    socket.write('POST /store HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf')
    while (peer.node.store.stats().reservedBytes === 0) await new Promise(setImmediate)
    socket.destroy()
    while (peer.node.store.stats().reservedBytes !== 0) await new Promise(setImmediate)
    assert.deepEqual(peer.node.store.stats(), before)
  })

  it('says who it is and how it is, in the documented shapes', async () => {
    const health = (await (await api('/health')).json()) as Record<string, unknown>
    for (const key of ['status', 'uptime', 'storedBlobs', 'totalSize', 'peerId', 'multiaddrs', 'publicKey', 'peers']) {
      assert.ok(key in health, key)
    }
    assert.match(String(health.publicKey), /^0x[0-9a-f]{64}$/)
    const info = (await (await api('/info')).json()) as Record<string, unknown>
    for (const key of ['nodeId', 'peerId', 'publicKey', 'ownerAddress', 'multiaddrs', 'shards'])
      assert.ok(key in info, key)
    assert.deepEqual(await (await api('/ready')).json(), { ready: true })
    assert.match(await (await api('/metrics')).text(), /warren_blobs_stored/)
    assert.deepEqual(await (await api('/peers')).json(), { count: 0, peers: [] })
  })
})
