/**
 * Runs the README's "Try it" section as a person would, on the netns runtime: `make testnet-up`, every example compared with
 * what the README says it prints, `make testnet-down`. Not a `.test.ts`: it needs a lab, so `make test` calls it by name.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { examplesOf, matches } from './readme.ts'
import { ROOT } from './tree.ts'

const run = promisify(execFile)
const UP_LIMIT_MS = 300_000
const EXAMPLE_LIMIT_MS = 60_000

/** A folder of its own, so that a testnet that is up stays up. */
const folder = mkdtempSync(join(tmpdir(), 'warren-readme-'))

const shell = (script: string, timeout: number) =>
  run('bash', ['-euo', 'pipefail', '-c', script.replaceAll('.testnet/', `${folder}/`)], {
    cwd: ROOT,
    timeout,
    env: { ...process.env, RUNTIME: 'netns', WARREN_TESTNET_DIR: folder }
  })

describe('the README’s examples', () => {
  const examples = examplesOf(readFileSync(join(ROOT, 'README.md'), 'utf8'), 'Try it')
  const [up, ...rest] = examples
  assert.equal(up?.script, 'make testnet-up')

  before(async function () {
    this.timeout(UP_LIMIT_MS)
    await shell(up.script, UP_LIMIT_MS)
  })

  after(async function () {
    this.timeout(UP_LIMIT_MS)
    const { stdout } = await shell('make testnet-down', UP_LIMIT_MS)
    rmSync(folder, { recursive: true, force: true })
    assert.match(stdout, /nothing (is )?left/i)
  })

  const preamble = '. .testnet/current/env\n'
  for (const { script, expected } of rest) {
    it(script.split('\n').at(-1) as string, async function () {
      this.timeout(EXAMPLE_LIMIT_MS)
      const { stdout } = await shell(preamble + script, EXAMPLE_LIMIT_MS)
      if (expected !== null) assert.ok(matches(stdout, expected), `printed ${JSON.stringify(stdout)}`)
    })
  }
})
