import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { junitOf, markdownOf, type Report, replayCommand, writeReport } from './report.ts'

const report: Report = {
  scenario: 'store-through-nat',
  runtime: 'netns',
  seed: 'warren',
  depth: 'short',
  verdict: 'fail',
  durationMs: 65_400,
  checks: [
    { name: 'holds', verdict: 'pass', detail: '' },
    { name: 'a <b> & "c"', verdict: 'fail', detail: 'got \u0000 | 1\n2' },
    { name: 'not here', verdict: 'skip', detail: 'no kill' },
    { name: 'unsure', verdict: 'unknown', detail: 'lost' }
  ],
  skipped: 1,
  rows: [
    { kind: 'home-1', claimed: 'symmetric', observed: 'symmetric', proved: true },
    { link: 'alice', what: 'delay', asked: '10 ms', got: '10.2 ms', ok: true }
  ]
}

describe('reports', () => {
  it('say how to play the run again, settings included', () => {
    const again = replayCommand({ ...report, depth: 'full', settings: { RUNS: '50', PAIRS: 'full-cone:symmetric' } })
    assert.match(again, / DEPTH=full RUNS=50 PAIRS=full-cone:symmetric$/)
  })

  it('are JUnit that a parser takes, with every verdict in its place', () => {
    const xml = junitOf(report)
    assert.match(xml, /tests="4" failures="1" errors="1" skipped="1" time="65.4"/)
    assert.match(xml, /name="a &lt;b&gt; &amp; &quot;c&quot;"/)
    assert.match(xml, /<skipped message="no kill"\/>/)
    assert.ok(!xml.includes('\u0000'))
  })

  it('name an invalid lab as an error', () => {
    const rows = [{ kind: 'home-1', claimed: 'symmetric', observed: 'none', proved: false }]
    assert.match(
      junitOf({ ...report, checks: [], verdict: 'invalid', rows }),
      /errors="1".*\n.*the lab is what it claims/
    )
  })

  it('are Markdown with a table for each kind of row and the command that plays them again', () => {
    const text = markdownOf(report)
    assert.match(text, /^# store-through-nat on netns: fail$/m)
    assert.ok(text.includes(replayCommand(report)))
    assert.ok(replayCommand({ ...report, depth: 'full' }).endsWith(' DEPTH=full'))
    assert.match(text, /^\| kind \| claimed \| observed \| proved \|$/m)
    assert.match(text, /^\| link \| what \| asked \| got \| ok \|$/m)
    assert.match(text, /got . \\\| 1 2/)
  })

  it('are written with the shape of the design', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'warren-report-'))
    try {
      await writeReport(folder, report)
      assert.deepEqual(JSON.parse(await readFile(join(folder, 'report.json'), 'utf8')), report)
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})
