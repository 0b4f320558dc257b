import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cidOf } from '../blobs/cid.ts'
import { AdminTokenInvalidError } from '../errors.ts'
import { flipBit } from '../faults/testing.ts'
import { eventually } from '../net/testing.ts'
import { startNode, type TestNode } from '../testing.ts'
import { loadAdminToken } from './admin-token.ts'

interface Answer {
  status: number
  body: Record<string, unknown>
  headers: Headers
}

/** Requests to one node, as its operator unless told otherwise. */
function operatorOf(peer: TestNode, token: string) {
  return async (
    method: string,
    path: string,
    options: { body?: unknown; auth?: string | null } = {}
  ): Promise<Answer> => {
    const { body, auth = `Bearer ${token}` } = options
    const answer = await fetch(`${peer.url}${path}`, {
      method,
      headers: auth === null ? {} : { authorization: auth },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) })
    })
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown>, headers: answer.headers }
  }
}
const tokenOf = async (peer: TestNode) => (await readFile(join(peer.dataDir, 'keys', 'admin.token'), 'utf8')).trim()
const store = async (peer: TestNode, bytes: Uint8Array<ArrayBuffer>) => {
  const answer = await fetch(`${peer.url}/store`, { method: 'POST', body: bytes })
  return { status: answer.status, ...((await answer.json()) as { cid: string; error?: string }) }
}

describe('operator routes', () => {
  let peer: TestNode
  let ask: ReturnType<typeof operatorOf>
  let token: string
  const absent = 'bafybeifjihox6xexu6jvcnvckwxmbj7ww2kr76tyovmrv2kwezcjzw76zi'

  before(async () => {
    peer = await startNode({ GC_MAX_BLOB_AGE_DAYS: '0', P2P_ENABLE_DHT: 'false' })
    token = await tokenOf(peer)
    ask = operatorOf(peer, token)
  })
  after(() => peer[Symbol.asyncDispose]())

  it('need the token, from this machine too', async () => {
    assert.equal((await stat(join(peer.dataDir, 'keys', 'admin.token'))).mode & 0o777, 0o600)
    assert.ok(token.length >= 43)
    const routes = [
      ['GET', '/pin/list'],
      ['POST', '/pin/bulk'],
      ['POST', `/pin/${absent}`],
      ['DELETE', `/pin/${absent}`],
      ['POST', '/admin/gc'],
      ['DELETE', `/admin/blob/${absent}`],
      ['GET', '/admin/scrub'],
      ['POST', '/admin/scrub'],
      ['GET', '/admin/blocked'],
      ['POST', `/admin/blocked/${absent}`],
      ['DELETE', `/admin/blocked/${absent}`]
    ] as const
    const wrong = [
      null,
      '',
      'Bearer',
      'Bearer x',
      `Bearer ${token}x`,
      `Bearer ${token.slice(1)}`,
      `Basic ${token}`,
      token
    ]
    for (const [method, path] of routes) {
      for (const auth of wrong) {
        const { status, body, headers } = await ask(method, path, { auth })
        assert.deepEqual([status, body.error], [401, 'UNAUTHORIZED'], `${method} ${path} ${auth}`)
        const challenge = headers.get('www-authenticate') ?? ''
        assert.equal(challenge.includes('invalid_token'), auth?.startsWith('Bearer ') === true, challenge)
      }
    }
    assert.deepEqual((await ask('GET', '/pin/list')).body.total, 0)
    assert.equal((await ask('GET', '/gc/status', { auth: null })).status, 200)
  })

  it('pin what is here, list it, unpin it, and say 404 of what nobody has', async () => {
    const { cid } = await store(peer, randomBytes(1000))
    assert.deepEqual([(await ask('POST', `/pin/${cid}`)).status, (await ask('POST', `/pin/${cid}`)).status], [201, 200])
    const { body } = await ask('GET', '/pin/list')
    assert.deepEqual([body.total, (body.pins as Array<{ cid: string; size: number }>)[0]!.size], [1, 1000])
    assert.deepEqual(
      [(await ask('POST', `/pin/${absent}`)).status, (await ask('POST', '/pin/nonsense')).status],
      [404, 400]
    )
    assert.equal((await ask('DELETE', `/admin/blob/${cid}`)).body.error, 'BLOB_PINNED')
    assert.equal((await ask('DELETE', `/pin/${cid}`)).body.wasPinned, true)
    assert.equal((await ask('DELETE', `/pin/${cid}`)).body.wasPinned, false)
  })

  it('pin many at once and say of each that failed why', async () => {
    const stored = await Promise.all([1, 2, 3].map(() => store(peer, randomBytes(100))))
    const cids = stored.map(({ cid }) => cid)
    const { status, body } = await ask('POST', '/pin/bulk', { body: { cids: [...cids, absent, 'x', cids[0]] } })
    assert.equal(status, 200)
    assert.deepEqual([...(body.done as string[])].sort(), [...cids].sort())
    const failed = body.failed as Array<{ cid: string; error: string }>
    assert.deepEqual(failed.map(({ error }) => error).sort(), ['BLOB_NOT_FOUND', 'CID_INVALID'])
    const undone = await ask('POST', '/pin/bulk', { body: { cids, action: 'unpin' } })
    assert.equal((undone.body.done as string[]).length, 3)
    for (const wrong of ['{', '[]', { cids: [] }, { cids, action: 'burn' }, 'x'.repeat(300_000)]) {
      assert.equal((await ask('POST', '/pin/bulk', { body: wrong })).body.error, 'INVALID_REQUEST')
    }
  })

  it('collect nothing of a node that is alone, however old, and say why', async () => {
    const { cid } = await store(peer, randomBytes(100))
    await eventually(
      async () => ((await ask('POST', '/admin/gc?simulate=true')).body.candidates as number) > 0,
      'is old'
    )
    for (const query of ['?simulate=true', '']) {
      const { status, body } = await ask('POST', `/admin/gc${query}`)
      assert.deepEqual([status, body.simulated, body.removedBlobs], [200, query !== '', 0])
      const kept = (body.kept as Array<{ cid: string; why: string }>).find(row => row.cid === cid)
      assert.match(kept!.why, /copies that are needed/)
    }
    assert.equal((await ask('POST', '/admin/gc?simulate=ture')).status, 400)
    assert.ok(peer.node.store.has(cid))
    const { body } = await ask('GET', '/gc/status')
    assert.deepEqual([body.enabled, body.mode, body.running, body.runs], [true, 'hybrid', false, 1])
  })

  it('run one collection at a time', async () => {
    const [first, second] = await Promise.all([ask('POST', '/admin/gc'), ask('POST', '/admin/gc')])
    const codes = [first.body.error, second.body.error]
    // The first may be over before the second comes.
    assert.ok(codes.every(code => code === undefined || code === 'GC_ALREADY_RUNNING'))
    const running = peer.node.keeping.collector.run()
    await assert.rejects(peer.node.keeping.collector.run(), { code: 'GC_ALREADY_RUNNING', status: 409 })
    await running
  })

  it('delete a last copy only by force', async () => {
    const { cid } = await store(peer, randomBytes(123))
    await ask('POST', `/pin/${cid}`)
    await ask('DELETE', `/pin/${cid}`)
    assert.deepEqual((await ask('DELETE', `/admin/blob/${cid}`)).body.error, 'BLOB_UNDER_REPLICATED')
    const { status, body } = await ask('DELETE', `/admin/blob/${cid}?force=true`)
    assert.deepEqual([status, body.deleted, body.size], [200, true, 123])
    assert.equal((await ask('DELETE', `/admin/blob/${cid}?force=true`)).status, 404)
    assert.equal((await fetch(`${peer.url}/retrieve/${cid}`)).status, 404)
  })

  it('block a blob at store and at read, and unblock it', async () => {
    const bytes = randomBytes(500)
    const { cid } = await store(peer, bytes)
    assert.equal((await ask('POST', `/admin/blocked/${cid}`, { body: { reason: 'test' } })).status, 201)
    for (const path of [`/retrieve/${cid}`, `/retrieve/${cid}?verify=1`]) {
      const answer = await fetch(`${peer.url}${path}`)
      assert.deepEqual([answer.status, ((await answer.json()) as { error: string }).error], [403, 'CONTENT_BLOCKED'])
    }
    assert.equal((await fetch(`${peer.url}/retrieve/${cid}`, { method: 'HEAD' })).status, 403)
    assert.deepEqual([(await store(peer, bytes)).status, (await ask('POST', `/pin/${cid}`)).status], [403, 403])
    const proof = JSON.stringify({ cid, challenge: randomBytes(32).toString('hex'), mode: 'leaves' })
    const headers = { 'content-type': 'application/json' }
    const proved = await fetch(`${peer.url}/proofs/generate`, { method: 'POST', body: proof, headers })
    assert.equal(((await proved.json()) as { error: string }).error, 'CONTENT_BLOCKED')
    await assert.rejects(peer.node.blobs.putReplica(cid, '', (async function* () {})(), {}), {
      code: 'CONTENT_BLOCKED'
    })
    assert.deepEqual((await ask('GET', '/admin/blocked')).body.blocked, [{ cid, reason: 'test' }])
    assert.equal((await ask('DELETE', `/admin/blocked/${cid}`)).body.wasBlocked, true)
    assert.equal((await fetch(`${peer.url}/retrieve/${cid}`)).status, 200)
  })

  it('scrub on demand; /health has the counters and never reads a blob', async () => {
    const { cid } = await store(peer, randomBytes(2000))
    await flipBit(join(peer.dataDir, 'blobs', cid, 'data'))
    const health = async (query = '') =>
      (await (await fetch(`${peer.url}/health${query}`)).json()) as {
        status: string
        integrity: { failed: number; failedCids: string[] }
        sample?: { checked: number }
      }
    assert.equal((await health()).integrity.failed, 0)
    assert.equal(peer.node.store.has(cid), true)
    assert.equal((await ask('POST', '/admin/scrub')).status, 202)
    await eventually(async () => (await ask('GET', '/admin/scrub')).body.passes === 1, 'one pass')
    const { status, integrity } = await health()
    assert.deepEqual([integrity.failed, integrity.failedCids], [1, [cid]])
    assert.equal(status, 'degraded', 'there is no good copy anywhere')
    assert.ok((await health('?deep=1')).sample!.checked > 0)
  })
})

describe('admin token', () => {
  it('comes from ADMIN_TOKEN_FILE when that is set, and must be one', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'warren-token-'))
    try {
      const file = join(dataDir, 'given')
      await writeFile(file, 'a token of enough length\n')
      await assert.rejects(loadAdminToken({ dataDir, file }), AdminTokenInvalidError)
      await writeFile(file, 'short')
      await assert.rejects(loadAdminToken({ dataDir, file }), AdminTokenInvalidError)
      await writeFile(file, 'a-token-of-enough-length\n')
      assert.equal(await loadAdminToken({ dataDir, file }), 'a-token-of-enough-length')
      const made = await loadAdminToken({ dataDir, file: null })
      assert.equal(await loadAdminToken({ dataDir, file: null }), made)
    } finally {
      await rm(dataDir, { recursive: true, force: true })
    }
  })
})

describe('pins', () => {
  it('survive a restart, and fetch what another node has', async () => {
    await using first = await startNode({ REPLICATION_FACTOR: '1', REPLICATION_QUORUM: '1' })
    const bytes = randomBytes(70_000)
    const { cid } = await store(first, bytes)
    const env = { REPLICATION_FACTOR: '1', REPLICATION_QUORUM: '1', P2P_BOOTSTRAP_PEERS: first.node.addresses().join() }
    await using second = await startNode(env)
    await eventually(() => second.node.network.members().length === 2, 'nodes know each other')
    const ask = operatorOf(second, await tokenOf(second))
    assert.equal((await ask('POST', `/pin/${cid}`)).status, 201)
    assert.ok(second.node.store.has(cid))
    assert.equal(await cidOf(second.node.store.read(cid)), cid)
    await second.stop()
    await using again = await startNode({ ...env, DATA_DIR: second.dataDir })
    assert.deepEqual(
      again.node.keeping.pins.list().map(pin => [pin.cid, pin.sizeBytes]),
      [[cid, bytes.length]]
    )
    const foreign = await startNode({ ...env, NODE_SHARDS: '0', SHARD_COUNT: '1024' })
    try {
      await eventually(() => foreign.node.network.members().length >= 2, 'nodes know each other')
      const asForeign = operatorOf(foreign, await tokenOf(foreign))
      assert.equal((await asForeign('POST', `/pin/${cid}`)).body.error, 'SHARD_MISMATCH')
    } finally {
      await foreign[Symbol.asyncDispose]()
    }
  })
})
