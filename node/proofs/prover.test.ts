import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cidOf } from '../blobs/cid.ts'
import { openStore } from '../blobs/store.ts'
import type { BlobStore } from '../blobs/store.types.ts'
import { ephemeralIdentity, type Identity } from '../identity.ts'
import { silentLog } from '../log.ts'
import { createProver, PROOFS_WAITING_MAX, type Prover, WHOLE_PROOFS_AT_ONCE } from './prover.ts'
import { createSavedProofs } from './saved.ts'
import { CHALLENGE_LIFE_MS, type Expected, hourChallenge, newChallenge, type ProofMode } from './statement.ts'
import { createUsedChallenges } from './used-challenges.ts'
import { verifyLeaves, verifyWhole } from './verify.ts'

const MIB = 1024 * 1024
const HOUR_MS = 3600_000

describe('the prover', () => {
  let dataDir: string
  let store: BlobStore
  let identity: Identity
  let prover: Prover
  const bytes = randomBytes(3 * MIB + 5)
  let cid: string
  const path = () => join(dataDir, 'blobs', cid, 'data')

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-prover-'))
    const log = silentLog()
    store = await openStore({ dataDir, capacityBytes: 64 * MIB, secret: Buffer.alloc(32, 1), log })
    identity = await ephemeralIdentity()
    prover = createProver({ store, identity, nodeId: 'node-a', saved: createSavedProofs({ dataDir, log }) })
    async function* source() {
      yield bytes
    }
    const staged = await store.stage(source(), { maxBytes: 64 * MIB })
    cid = staged.cid
    await staged.commit()
  })
  afterEach(() => rm(dataDir, { recursive: true, force: true }))

  const expected = (mode: ProofMode, challenge: string, leaves: number): Expected => ({
    mode,
    cid,
    challenge,
    peerId: identity.peerId,
    nodeId: 'node-a',
    leaves,
    nowMs: Date.now()
  })

  it('proves a blob to whoever has a replica, and by leaves to whoever has the CID', async () => {
    const challenge = newChallenge()
    assert.equal(prover.lastProofMs(), null)
    const whole = await prover.prove({ cid, mode: 'whole', challenge })
    assert.equal(prover.lastProofMs(), whole.statement.timestamp)
    await verifyWhole(whole.statement, expected('whole', challenge, 0), () => [bytes])
    assert.equal(whole.payloadBytes, 0)
    const second = newChallenge()
    const leaves = await prover.prove({ cid, mode: 'leaves', challenge: second, leaves: 4 })
    await verifyLeaves(leaves.statement, expected('leaves', second, 4), leaves.blocks())
    const hour = await prover.prove({ cid, mode: 'hour' })
    await verifyWhole(hour.statement, expected('hour', '', 0), () => [bytes])
  })

  it('has another hash for each byte of the blob', async () => {
    const challenge = newChallenge()
    const { statement } = await prover.prove({ cid, mode: 'whole', challenge })
    for (const at of [0, MIB, bytes.length - 1]) {
      const other = Buffer.from(bytes)
      other[at]! ^= 1
      const verified = verifyWhole(statement, expected('whole', challenge, 0), () => [other])
      await assert.rejects(verified, { reason: 'BYTES_WRONG' })
    }
    const shorter = verifyWhole(statement, expected('whole', challenge, 0), () => [bytes.subarray(1)])
    await assert.rejects(shorter, { reason: 'SIZE_WRONG' })
  })

  it('answers a challenge once, and again only when its answer did not arrive', async () => {
    const challenge = newChallenge()
    const first = await prover.prove({ cid, mode: 'leaves', challenge })
    for (const mode of ['leaves', 'whole'] as const) {
      await assert.rejects(prover.prove({ cid, mode, challenge }), { code: 'CHALLENGE_REPLAYED', status: 409 })
    }
    first.undelivered()
    await prover.prove({ cid, mode: 'leaves', challenge })
    const both = newChallenge()
    const answers = await Promise.allSettled([1, 2].map(() => prover.prove({ cid, mode: 'whole', challenge: both })))
    assert.equal(answers.filter(({ status }) => status === 'fulfilled').length, 1)
    // The challenge of an hour is no secret, and is answered as often as it is asked.
    await prover.prove({ cid, mode: 'hour' })
    await prover.prove({ cid, mode: 'hour', challenge: hourChallenge(cid, Date.now()) })
  })

  it('refuses what is no challenge, no CID or not here, and uses no challenge up for it', async () => {
    const challenge = newChallenge()
    const absent = await cidOf([Buffer.from('nobody has this')])
    const table: Array<[Parameters<Prover['prove']>[0], string]> = [
      [{ cid, mode: 'whole' }, 'CHALLENGE_INVALID'],
      [{ cid, mode: 'leaves', challenge: 'x' }, 'CHALLENGE_INVALID'],
      [{ cid, mode: 'hour', challenge }, 'CHALLENGE_INVALID'],
      [{ cid: 'x', mode: 'whole', challenge }, 'CID_INVALID'],
      [{ cid: absent, mode: 'whole', challenge }, 'BLOB_NOT_FOUND']
    ]
    for (const [request, code] of table) await assert.rejects(prover.prove(request), { code })
    await prover.prove({ cid, mode: 'whole', challenge })
    const { generated, refused } = await prover.statistics()
    assert.deepEqual(generated, { whole: 1, leaves: 0, hour: 0 })
    assert.deepEqual(refused, { CHALLENGE_INVALID: 3, CID_INVALID: 1, BLOB_NOT_FOUND: 1 })
  })

  it('cannot prove a blob that was deleted, cut or altered on the disk', async () => {
    const alter = async () => {
      const file = await open(path(), 'r+')
      const byte = Buffer.alloc(1)
      await file.read(byte, 0, 1, 2 * MIB)
      byte[0]! ^= 1
      await file.write(byte, 0, 1, 2 * MIB)
      await file.close()
    }
    for (const damage of [() => rm(path()), () => truncate(path(), MIB), alter]) {
      for (const mode of ['whole', 'leaves'] as const) {
        await damage()
        // Sixteen leaves: all that this blob has.
        const request = { cid, mode, challenge: newChallenge(), leaves: 16 }
        await assert.rejects(prover.prove(request), { code: 'INTEGRITY_CHECK_FAILED' })
        await assert.rejects(prover.prove(request), { code: 'BLOB_NOT_FOUND' })
        async function* again() {
          yield bytes
        }
        await (await store.stage(again(), { maxBytes: 64 * MIB })).commit()
        await prover.prove(request)
      }
    }
    await store.delete(cid)
    await assert.rejects(prover.prove({ cid, mode: 'leaves', challenge: newChallenge() }), { code: 'BLOB_NOT_FOUND' })
  })

  it('makes a few proofs at once, lets some wait and sends the others away', async () => {
    const gate = Promise.withResolvers<void>()
    let running = 0
    let most = 0
    const slow: Pick<BlobStore, 'open'> = {
      async open(name) {
        const blob = (await store.open(name))!
        async function* read() {
          running += 1
          most = Math.max(most, running)
          await gate.promise
          running -= 1
          yield Buffer.alloc(1)
        }
        return { ...blob, read }
      }
    }
    const saved = createSavedProofs({ dataDir, log: silentLog() })
    const busy = createProver({ store: slow, identity, nodeId: 'node-a', saved })
    const ask = () => busy.prove({ cid, mode: 'whole', challenge: newChallenge() })
    const asked: Promise<unknown>[] = []
    for (let i = 0; i < WHOLE_PROOFS_AT_ONCE + PROOFS_WAITING_MAX; i += 1) {
      asked.push(ask())
      // Each is in its place before the next comes.
      while ((await busy.statistics()).running + (await busy.statistics()).waiting <= i) await new Promise(setImmediate)
    }
    await assert.rejects(ask(), { code: 'BUSY' })
    gate.resolve()
    await Promise.all(asked)
    assert.equal(most, WHOLE_PROOFS_AT_ONCE)
  })

  it('stops when whoever asked is gone, and the challenge is not used up', async () => {
    const challenge = newChallenge()
    const gone = new AbortController()
    gone.abort(new Error('gone'))
    await assert.rejects(prover.prove({ cid, mode: 'whole', challenge }, { signal: gone.signal }), /gone/)
    await prover.prove({ cid, mode: 'whole', challenge })
  })
})

describe('used challenges', () => {
  it('are forgotten when nobody takes an answer to them any more, and when there are too many', () => {
    let nowMs = 0
    const used = createUsedChallenges(() => nowMs, 3)
    used.take('a')
    nowMs = CHALLENGE_LIFE_MS - 1
    assert.throws(() => used.take('a'), { code: 'CHALLENGE_REPLAYED' })
    nowMs = CHALLENGE_LIFE_MS
    used.take('a')
    for (let i = 0; i < 100; i += 1) used.take(`b${i}`)
    assert.ok(used.size <= 4)
    assert.throws(() => used.take('b99'), { code: 'CHALLENGE_REPLAYED' })
  })
})

describe('saved proofs', () => {
  let dataDir: string
  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-saved-'))
  })
  afterEach(() => rm(dataDir, { recursive: true, force: true }))

  const statement = (cid: string, hour: number, nodeId = 'node-a') => ({
    mode: 'whole' as const,
    cid,
    challenge: newChallenge(),
    nodeId,
    publicKey: `0x${'1'.repeat(64)}` as const,
    timestamp: hour * HOUR_MS + 5,
    sizeBytes: 1,
    leaves: 0,
    bytesHash: '2'.repeat(64),
    proof: '3'.repeat(128)
  })

  it('are one file for each blob and hour, newest first, over a restart', async () => {
    const saved = createSavedProofs({ dataDir, log: silentLog() })
    for (const hour of [10, 12, 11]) await saved.add(statement('bafya', hour))
    await saved.add(statement('bafya', 12, 'node-b'))
    await saved.add(statement('bafyb', 12))
    const names = ['bafya-36000.json', 'bafya-39600.json', 'bafya-43200.json', 'bafyb-43200.json']
    assert.deepEqual((await readdir(join(dataDir, 'proofs'))).sort(), names)
    for (const reader of [saved, createSavedProofs({ dataDir, log: silentLog() })]) {
      const found = await reader.of('bafya')
      assert.deepEqual(
        found.map(({ timestamp, nodeId }) => [Math.floor(timestamp / HOUR_MS), nodeId]),
        [
          [12, 'node-b'],
          [11, 'node-a'],
          [10, 'node-a']
        ]
      )
      assert.deepEqual(await reader.counts(), { saved: 4, blobs: 2 })
    }
    assert.deepEqual(await saved.of('bafy'), [])
  })

  it('are bounded for each blob and in all, the oldest go first; what is none is left out', async () => {
    const caps = { perBlob: 2, all: 3 }
    const saved = createSavedProofs({ dataDir, log: silentLog() }, caps)
    for (const hour of [1, 2, 3]) await saved.add(statement('bafya', hour))
    assert.equal((await saved.of('bafya')).length, 2)
    for (const hour of [4, 5]) await saved.add(statement('bafyb', hour))
    assert.deepEqual(await saved.counts(), { saved: 3, blobs: 2 })
    assert.equal((await readdir(join(dataDir, 'proofs'))).length, 3)
    const again = createSavedProofs({ dataDir, log: silentLog() }, { perBlob: 2, all: 1 })
    assert.deepEqual(await again.counts(), { saved: 1, blobs: 1 })
    const [name] = await readdir(join(dataDir, 'proofs'))
    await writeFile(join(dataDir, 'proofs', name!), '{"mode"')
    assert.deepEqual(await again.of('bafyb'), [])
  })

  it('that were being written when the node ended leave nothing, and no save of this run is swept', async () => {
    await mkdir(join(dataDir, 'proofs'))
    for (const name of ['.left-over', '.another']) await writeFile(join(dataDir, 'proofs', name), '{')
    const saved = createSavedProofs({ dataDir, log: silentLog() })
    await Promise.all([1, 2, 3, 4].map(hour => saved.add(statement('bafya', hour))))
    assert.deepEqual((await readdir(join(dataDir, 'proofs'))).sort(), [
      'bafya-10800.json',
      'bafya-14400.json',
      'bafya-3600.json',
      'bafya-7200.json'
    ])
  })

  it('are there whatever else somebody put beside them', async () => {
    await createSavedProofs({ dataDir, log: silentLog() }).add(statement('bafya', 1))
    await mkdir(join(dataDir, 'proofs', '.folder'))
    const saved = createSavedProofs({ dataDir, log: silentLog() })
    await saved.add(statement('bafya', 2))
    assert.deepEqual(await saved.counts(), { saved: 2, blobs: 1 })
  })

  it('that the disk does not take cost only the record', async () => {
    await writeFile(join(dataDir, 'proofs'), 'in the way')
    const saved = createSavedProofs({ dataDir, log: silentLog() })
    await saved.add(statement('bafya', 1))
    assert.deepEqual(await saved.of('bafya'), [])
    assert.equal(await readFile(join(dataDir, 'proofs'), 'utf8'), 'in the way')
  })
})
