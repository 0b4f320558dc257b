import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { identify } from './processes.ts'
import { abandoned, type RunRecord } from './run-record.ts'

const record = (change: Partial<RunRecord>): RunRecord => ({
  run: 'r',
  runtime: 'netns',
  topology: 'lan',
  seed: 's',
  slot: 0,
  state: 'starting',
  harness: null,
  bound: false,
  startedAt: '2026-01-01T00:00:00.000Z',
  ...change
})

describe('a run', () => {
  it('is abandoned when its harness is gone and it does not stand by itself', async () => {
    const { pid } = spawnSync(process.execPath, ['-e', ''])
    const gone = { pid, startTicks: '1' }
    const here = await identify(process.pid)
    assert.equal(await abandoned(record({ harness: gone })), true)
    assert.equal(await abandoned(record({ harness: here })), false)
    assert.equal(await abandoned(record({ harness: gone, state: 'up' })), false)
    assert.equal(await abandoned(record({ harness: gone, state: 'up', bound: true })), true)
    assert.equal(await abandoned(record({ harness: gone, state: 'down' })), false)
  })
})
