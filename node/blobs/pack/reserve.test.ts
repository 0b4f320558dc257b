import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../log.ts'
import { createReserve, RESERVE_NAME } from './reserve.ts'

describe('room kept for deletions', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-reserve-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  it('is there after a put, though a deletion is giving it away at that moment', async () => {
    const reserve = createReserve({ folder, bytes: 4096, log: silentLog() })
    await reserve.make()
    for (let turn = 0; turn < 20; turn += 1) {
      await Promise.all([reserve.drop(), reserve.make()])
      assert.deepEqual(await readdir(folder), [RESERVE_NAME])
    }
    await Promise.all([reserve.make(), reserve.drop()])
    assert.deepEqual(await readdir(folder), [])
  })
})
