import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdtemp, open, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../log.ts'
import { PackRows, packPath, readIndex, scanPack } from './pack-file.ts'
import { PACK_LIMITS } from './pack-limits.ts'
import { createPackLog, type PackLog } from './pack-log.ts'
import { draftBytes, type RecordDraft } from './record.ts'

let sequence = 0
function draft(): RecordDraft {
  sequence += 1
  const [digest, data] = [randomBytes(32), randomBytes(200)]
  return { kind: 'blob', digest, sequence, storedAtMs: 1, meta: Buffer.from('{}\n'), data }
}

const failing = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }))

describe('pack log', () => {
  let folder: string
  let file: FileHandle
  let log: PackLog
  let syncs: number
  let removed: number[]
  /** What stands in the way of a sync. */
  let beforeSync: () => Promise<void>

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-pack-log-'))
    file = await open(packPath(folder, 1), 'wx+')
    syncs = 0
    removed = []
    beforeSync = async () => {}
    const sync = file.datasync.bind(file)
    file.datasync = async () => {
      await beforeSync()
      syncs += 1
      await sync()
    }
    log = createPackLog({
      folder,
      limits: PACK_LIMITS,
      nextPack: 2,
      open: { number: 1, file, syncedBytes: 0, rows: new PackRows() },
      onWritten: () => {},
      onRemoved: pack => removed.push(pack),
      log: silentLog()
    })
  })
  afterEach(async () => {
    await log.close()
    await rm(folder, { recursive: true })
  })

  const recordsOf = async (pack: number) => {
    await using handle = await open(packPath(folder, pack), 'r')
    return await scanPack(handle, pack)
  }

  it('syncs once for all that came while it synced, and answers nobody before the sync that covers it', async () => {
    const gate = Promise.withResolvers<void>()
    const reached = Promise.withResolvers<void>()
    beforeSync = () => {
      reached.resolve()
      return gate.promise
    }
    let answered = 0
    const appended = () =>
      Array.from({ length: 50 }, async () => {
        const written = await log.append(draft())
        answered += 1
        return written
      })
    const first = appended()
    await reached.promise
    const later = appended()
    assert.equal(answered, 0)
    gate.resolve()
    await Promise.all(first)
    assert.deepEqual([answered, syncs], [50, 1])
    const places = await Promise.all([...first, ...later])
    assert.equal(syncs, 2)
    const found = [...(await recordsOf(1)).rows.entries(1)].map(({ offset }) => offset)
    assert.deepEqual(
      places.map(({ offset }) => offset),
      found
    )
  })

  it('after a failed sync refuses the whole batch and trusts nothing behind the last good one', async () => {
    const [first, second] = [draft(), draft()]
    await log.append(first)
    beforeSync = failing('EIO')
    const refused = await Promise.allSettled([second, draft(), draft()].map(one => log.append(one)))
    assert.ok(refused.every(({ status }) => status === 'rejected'))
    assert.equal((await stat(packPath(folder, 1))).size, draftBytes(first))
    const index = await readIndex(folder, 1)
    assert.equal(index?.coveredBytes, draftBytes(first))
    assert.deepEqual(
      [...index.entries()].map(({ record }) => record.sequence),
      [first.sequence]
    )
    assert.equal((await log.append(second)).pack, 2)
  })

  it('leaves no pack behind that holds nothing', async () => {
    beforeSync = failing('EIO')
    await assert.rejects(log.append(draft()), { code: 'EIO' })
    assert.deepEqual(await readdir(folder), [])
    assert.deepEqual(removed, [1])
    assert.equal((await log.append(draft())).pack, 2)
  })

  it('takes a half-written batch off when the disk is full, and goes on in the same pack', async () => {
    const kept = draft()
    await log.append(kept)
    const write = file.write.bind(file) as (...args: unknown[]) => Promise<unknown>
    let calls = 0
    Object.assign(file, {
      write: async (bytes: Buffer, at: number, length: number, position: number) => {
        calls += 1
        if (calls === 2) return await failing('ENOSPC')()
        return await write(bytes, at, calls === 1 ? 100 : length, position)
      }
    })
    await assert.rejects(log.append(draft()), { code: 'ENOSPC' })
    assert.equal((await stat(packPath(folder, 1))).size, draftBytes(kept))
    const later = draft()
    assert.deepEqual(await log.append(later), { pack: 1, offset: draftBytes(kept) })
    const { rows, endBytes, fileBytes } = await recordsOf(1)
    assert.deepEqual([rows.count, endBytes], [2, fileBytes])
  })

  it('closes a pack after any other failed write', async () => {
    await log.append(draft())
    Object.assign(file, { write: failing('EIO') })
    await assert.rejects(log.append(draft()), { code: 'EIO' })
    assert.equal((await log.append(draft())).pack, 2)
    assert.ok(await readIndex(folder, 1))
  })

  it('takes nothing more when it is closed', async () => {
    const under = log.append(draft())
    await log.close()
    await under
    await assert.rejects(log.append(draft()))
  })
})
