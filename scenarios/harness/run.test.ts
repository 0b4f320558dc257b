import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InterruptedError } from './errors.ts'
import { probeNetns } from './netns-probe.ts'
import { silentProgress } from './progress.ts'
import type { Report } from './report.ts'
import { type RunOptions, runScenario } from './run.ts'
import { type StandaloneScenario, type StandaloneStory, scenario } from './scenario.ts'

type Tell = (story: StandaloneStory) => Promise<void>

describe('a scenario that stands alone', () => {
  let reportsFolder: string
  const run = async (
    story: Tell,
    more: Partial<StandaloneScenario> = {},
    options: Partial<RunOptions> = {}
  ): Promise<Report> =>
    await runScenario(
      {
        ...scenario({ about: 'a test', topology: null, only: 'netns', needs: [], withinMs: 60_000, story }),
        ...more,
        name: 'alone'
      },
      {
        runtime: 'auto',
        seed: 'warren',
        depth: 'full',
        all: false,
        progress: silentProgress,
        signal: new AbortController().signal,
        reportsFolder,
        ...options
      }
    )

  before(async function () {
    const { missing } = await probeNetns()
    if (missing.length > 0) {
      console.log(`      skipped: ${missing.map(({ why }) => why).join('; ')}`)
      this.skip()
    }
    reportsFolder = await mkdtemp(join(tmpdir(), 'warren-run-'))
  })
  after(async () => {
    if (reportsFolder !== undefined) await rm(reportsFolder, { recursive: true, force: true })
  })

  it('leaves a report of its checks and rows without a testnet', async () => {
    const report = await run(async ({ check, row, depth, runtime }) => {
      check.that('holds', true)
      row({ depth, runtime })
    })
    assert.equal(report.verdict, 'pass')
    assert.deepEqual(report.rows, [{ depth: 'full', runtime: 'netns' }])
    const written = JSON.parse(await readFile(join(reportsFolder, 'alone', 'netns', 'report.json'), 'utf8'))
    assert.deepEqual(written, report)
  })

  it('can say that its lab was not what it claims', async () => {
    const { verdict, rows } = await run(async ({ check, invalid }) => {
      check.that('holds', true)
      invalid('no kernel')
    })
    assert.equal(verdict, 'invalid')
    assert.deepEqual(rows, [{ what: 'lab', why: 'no kernel', ok: false }])
  })

  it('is unknown when it does not reach its end, and is skipped when it skips everything', async () => {
    const broken = await run(async () => await Promise.reject(new Error('broken')))
    assert.deepEqual(broken.checks, [{ name: 'the story plays to its end', verdict: 'unknown', detail: 'broken' }])
    assert.equal((await run(async ({ check }) => check.skip('not here', 'no tool'))).verdict, 'skip')
  })

  it('is skipped on a runtime that it is not about', async () => {
    const { verdict, checks } = await run(async () => assert.fail(), { only: 'docker' }, { runtime: 'netns' })
    assert.equal(verdict, 'skip')
    assert.equal(checks[0]?.detail, 'it is about docker')
  })

  it('is waited for when it is interrupted, so that it can clean up', async () => {
    const interruption = new AbortController()
    let isCleaned = false
    const running = run(
      async ({ signal }) => {
        interruption.abort()
        await new Promise(setImmediate)
        isCleaned = signal.aborted
      },
      {},
      { signal: interruption.signal }
    )
    await assert.rejects(running, InterruptedError)
    assert.ok(isCleaned)
  })
})
