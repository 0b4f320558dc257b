/** Set-up a testnet needs before anything is laid out: the roles' bundles, and on netns the lab's tools. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { buildBundles } from '../../compose/index.ts'
import { HarnessError } from './errors.ts'
import { ROOT } from './paths.ts'
import { isRoot, missingPackages } from './programs.ts'
import type { Progress } from './runtime.ts'

const run = promisify(execFile)
const TOOLS_TIMEOUT_MS = 300_000

/** Build the bundles whose sources changed. */
export async function prepareBundles(progress: Progress): Promise<void> {
  const ended = progress.stage('Build bundles')
  const { isFresh } = await buildBundles()
  ended(isFresh ? 'fresh' : 'built')
}

/**
 * Install Debian's network tools, only as root and only when they are missing; others are told the one command by the
 * runtime's probe.
 * @throws HarnessError SETUP with the failing command's words
 */
export async function prepareTools(progress: Progress): Promise<void> {
  if (!isRoot() || (await missingPackages()).length === 0) return
  const ended = progress.stage('Install the network tools')
  const script = join(ROOT, 'netem', 'tools.sh')
  try {
    await run(script, [], { cwd: ROOT, timeout: TOOLS_TIMEOUT_MS })
  } catch (cause) {
    const { stdout = '', stderr = '' } = cause as { stdout?: string; stderr?: string }
    throw new HarnessError('SETUP', `set-up failed: ${script}\n${stdout}${stderr}`.trimEnd(), { cause })
  }
  ended()
}
