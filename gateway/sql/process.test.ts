import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createFrameReader, frame } from './frames.ts'
import { startSqlProcess } from './process.ts'

const JOB = { do: 'query', statement: { sql: 'SELECT 1' }, maxRows: 1, maxBytes: 100 } as const
const DEADLINE_MS = 10_000

describe('the process of a database', function () {
  this.timeout(30_000)

  it('that ends while a COMMIT is under way leaves the outcome unknown, and says so', async () => {
    const program = fileURLToPath(new URL('./testing-committer.ts', import.meta.url))
    const child = startSqlProcess({ path: 'none', maxPages: 1, program })
    await assert.rejects(child.run(JOB, DEADLINE_MS), { code: 'SQL_OUTCOME_UNKNOWN', status: 503 })
    await child.gone
  })

  it('that cannot open its file says that it is unavailable, to the next one too', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'warren-sql-'))
    try {
      const child = startSqlProcess({ path: folder, maxPages: 1 })
      await assert.rejects(child.run(JOB, DEADLINE_MS), { code: 'SQL_UNAVAILABLE', status: 503 })
      await assert.rejects(child.run(JOB, DEADLINE_MS), { code: 'SQL_UNAVAILABLE' })
      assert.equal(child.isAlive(), false)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  it('that cannot be started says so too', async () => {
    const child = startSqlProcess({ path: 'none', maxPages: 1, program: '/nowhere/at/all.ts' })
    await assert.rejects(child.run(JOB, DEADLINE_MS), { code: 'SQL_UNAVAILABLE' })
  })
})

describe('frames', () => {
  it('come out whole however they are cut', () => {
    const texts = ['', '{"a":"ü💧"}', 'x'.repeat(1000), '1']
    const bytes = Buffer.concat(texts.map((text, at) => frame(at + 1, text)))
    for (const size of [1, 2, 5, 6, 7, 1003, bytes.byteLength]) {
      const got: [number, string][] = []
      const reader = createFrameReader((kind, json) => got.push([kind, json]))
      for (let at = 0; at < bytes.byteLength; at += size) reader.push(bytes.subarray(at, at + size))
      assert.deepEqual(
        got,
        texts.map((text, at) => [at + 1, text])
      )
    }
  })
})
