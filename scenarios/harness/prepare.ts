/** Set-up a testnet needs before anything is laid out: the lab's tools (as root only) and the roles' bundles. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { buildBundles } from '../../compose/index.ts'
import { HarnessError } from './errors.ts'
import { ROOT } from './paths.ts'
import { isRoot, missingPackages } from './programs.ts'
import type { Progress, RuntimeName } from './runtime.ts'

const run = promisify(execFile)
const TOOLS_TIMEOUT_MS = 300_000

/**
 * Debian's network tools are installed only as root and only when they are missing; others are told the one command
 * by the runtime's probe. Bundles are built again only when a source is newer.
 * @throws HarnessError SETUP with the failing command's words
 */
export async function prepare(runtime: RuntimeName | 'auto', progress: Progress): Promise<void> {
  if (runtime !== 'docker' && isRoot() && (await missingPackages()).length > 0) {
    const ended = progress.stage('Install the network tools')
    await command(join(ROOT, 'netem', 'tools.sh'), [], TOOLS_TIMEOUT_MS)
    ended()
  }
  const ended = progress.stage('Build bundles')
  const { isFresh } = await buildBundles()
  ended(isFresh ? 'fresh' : 'built')
}

async function command(file: string, args: string[], timeout: number): Promise<void> {
  try {
    await run(file, args, { cwd: ROOT, timeout })
  } catch (cause) {
    const { stdout = '', stderr = '' } = cause as { stdout?: string; stderr?: string }
    throw new HarnessError('SETUP', `set-up failed: ${[file, ...args].join(' ')}\n${stdout}${stderr}`.trimEnd(), {
      cause
    })
  }
}
