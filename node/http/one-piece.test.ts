import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { appendFile, rm, truncate } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { SEAL_CHUNK_BYTES, SEALED_CHUNK_BYTES } from '../blobs/seal.ts'
import { flipBit } from '../faults/testing.ts'
import { startNode, type TestNode } from '../testing.ts'

const MIB = 1024 * 1024

describe('a blob answered in one piece', function () {
  this.timeout(30_000)
  let peer: TestNode
  before(async () => {
    peer = await startNode()
  })
  after(() => peer[Symbol.asyncDispose]())

  async function store(bytes: Buffer<ArrayBuffer>): Promise<string> {
    const answer = await fetch(`${peer.url}/store`, { method: 'POST', body: bytes })
    return ((await answer.json()) as { cid: string }).cid
  }
  const read = async (cid: string, headers: Record<string, string> = {}) => {
    const answer = await fetch(`${peer.url}/retrieve/${cid}?local=1`, { headers })
    return { status: answer.status, headers: answer.headers, bytes: Buffer.from(await answer.arrayBuffer()) }
  }
  const dataOf = (cid: string) => join(peer.dataDir, 'blobs', cid, 'data')

  it('has its bytes, any range of them, and the headers of every other, however often it is read', async () => {
    for (const size of [1, 1000, SEAL_CHUNK_BYTES, SEAL_CHUNK_BYTES + 1, MIB, MIB + 1, 2 * MIB]) {
      const bytes = randomBytes(size)
      const cid = await store(bytes)
      for (let time = 0; time < 3; time += 1) {
        const whole = await read(cid)
        assert.deepEqual([whole.status, whole.bytes.equals(bytes)], [200, true], `${size} bytes`)
        assert.equal(whole.headers.get('content-length'), String(size))
        assert.equal(whole.headers.get('content-type'), 'application/octet-stream')
        assert.equal(whole.headers.get('etag'), `"${cid}"`)
        assert.ok(whole.headers.get('ratelimit'))
      }
      const tail = await read(cid, { range: `bytes=${Math.floor(size / 2)}-` })
      assert.deepEqual([tail.status, tail.bytes.equals(bytes.subarray(Math.floor(size / 2)))], [206, true])
    }
  })

  it('is refused whole when a bit of any chunk is wrong, after good reads too', async () => {
    for (let chunk = 0; chunk < 4; chunk += 1) {
      const cid = await store(randomBytes(MIB))
      assert.equal((await read(cid)).status, 200)
      await flipBit(dataOf(cid), (chunk * SEALED_CHUNK_BYTES + 100) * 8)
      const answer = await read(cid)
      assert.equal(answer.status, 500)
      assert.equal((JSON.parse(answer.bytes.toString()) as { error: string }).error, 'INTEGRITY_CHECK_FAILED')
      assert.equal(peer.node.store.has(cid), false)
    }
    const small = await store(randomBytes(1000))
    for (let time = 0; time < 3; time += 1) assert.equal((await read(small)).status, 200)
    await flipBit(dataOf(small), 999 * 8)
    assert.equal((await read(small)).status, 500)
  })

  it('is refused when its metadata were changed or are gone, after good reads too', async () => {
    const damages = [
      (path: string) => flipBit(path, 40 * 8),
      (path: string) => appendFile(path, ' '),
      (path: string) => truncate(path, 100),
      (path: string) => rm(path)
    ]
    for (const damage of damages) {
      const cid = await store(randomBytes(1000))
      for (let time = 0; time < 3; time += 1) assert.equal((await read(cid)).status, 200)
      await damage(join(peer.dataDir, 'blobs', cid, 'meta.json'))
      assert.equal((await read(cid)).status, 500)
      assert.equal(peer.node.store.has(cid), false)
    }
  })

  it('is that of the new copy after the old one was deleted, whatever was remembered', async () => {
    const bytes = randomBytes(MIB / 2)
    const cid = await store(bytes)
    assert.equal((await read(cid)).status, 200)
    await peer.node.store.delete(cid)
    assert.equal((await read(cid)).status, 404)
    // It has another key.
    assert.equal(await store(bytes), cid)
    assert.ok((await read(cid)).bytes.equals(bytes))
  })

  it('has its bytes from a pack too, however often it is read', async () => {
    await using packed = await startNode({ PACK_SMALL_BLOBS: 'true' })
    const bytes = randomBytes(3000)
    const stored = await fetch(`${packed.url}/store`, { method: 'POST', body: bytes })
    const { cid } = (await stored.json()) as { cid: string }
    assert.equal(packed.node.store.stats().packs?.packedBlobs, 1)
    for (let time = 0; time < 3; time += 1) {
      const answer = await fetch(`${packed.url}/retrieve/${cid}?local=1`)
      assert.deepEqual([answer.status, (await answer.bytes()).length], [200, 3000])
      const part = await fetch(`${packed.url}/retrieve/${cid}?local=1`, { headers: { range: 'bytes=10-19' } })
      assert.ok(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(10, 20)))
    }
  })

  it('comes whole or not at all while it is deleted', async () => {
    for (const size of [1000, MIB]) {
      const bytes = randomBytes(size)
      const cid = await store(bytes)
      await read(cid)
      const reads = Array.from({ length: 12 }, () => read(cid))
      await peer.node.store.delete(cid)
      for (const answer of [...(await Promise.all(reads)), await read(cid)]) {
        if (answer.status === 200) assert.ok(answer.bytes.equals(bytes))
        else assert.equal(answer.status, 404)
      }
      assert.equal((await read(cid)).status, 404)
      assert.equal(peer.node.store.stats().quarantinedBlobs, quarantined)
    }
  })
  let quarantined = 0
  beforeEach(() => {
    quarantined = peer.node.store.stats().quarantinedBlobs
  })

  it('does not trouble others when its reader goes away before or amid it', async () => {
    const bytes = randomBytes(MIB)
    const cid = await store(bytes)
    for (let time = 0; time < 20; time += 1) {
      const socket = connect(Number(new URL(peer.url).port), '127.0.0.1')
      await once(socket, 'connect')
      socket.write(`GET /retrieve/${cid} HTTP/1.1\r\nhost: x\r\n\r\n`.repeat(4))
      if (time % 2 === 0) await once(socket, 'data')
      socket.destroy()
    }
    assert.ok((await read(cid)).bytes.equals(bytes))
  })

  it('is answered to requests that follow each other on one connection, in their order', async () => {
    const bodies = [randomBytes(MIB), randomBytes(10), randomBytes(300_000)]
    const cids: string[] = []
    for (const body of bodies) cids.push(await store(body))
    const socket = connect(Number(new URL(peer.url).port), '127.0.0.1')
    const requests = cids.map((cid, i) => {
      const close = i === cids.length - 1 ? 'connection: close\r\n' : ''
      return `GET /retrieve/${cid} HTTP/1.1\r\nhost: x\r\n${close}\r\n`
    })
    socket.write(requests.join(''))
    const got: Buffer[] = []
    for await (const piece of socket) got.push(piece as Buffer)
    let rest = Buffer.concat(got)
    for (const body of bodies) {
      const at = rest.indexOf('\r\n\r\n') + 4
      assert.ok(rest.subarray(at, at + body.length).equals(body))
      rest = rest.subarray(at + body.length)
    }
    assert.equal(rest.length, 0)
  })
})
