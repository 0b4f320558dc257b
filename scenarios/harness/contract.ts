/** Runs the contract suite against one runtime, by mocha in this process. */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { ROOT } from './paths.ts'
import { prepareBundles } from './prepare.ts'
import { showProgress } from './progress.ts'
import type { RuntimeName } from './runtime.ts'
import { chooseRuntime } from './runtimes.ts'

const SUITE = join(ROOT, 'scenarios', 'runtime-contract.test.ts')
/** One test: a restart on a crowded machine. Bringing up has a limit of its own in the suite. */
const TEST_TIMEOUT_MS = 120_000

/**
 * The suite, on the console.
 * @returns 0 when every test passed, else 1
 */
export async function runContract(name: RuntimeName | 'auto'): Promise<number> {
  const progress = showProgress()
  const { runtime, why } = await chooseRuntime(name, progress)
  await prepareBundles(progress)
  progress.note(why)
  progress.close()
  process.env.WARREN_CONTRACT_RUNTIME = runtime.name
  // Mocha's programmatic interface is CommonJS.
  const Mocha = createRequire(import.meta.url)('mocha') as typeof import('mocha')
  const suite = new Mocha({ reporter: 'spec', timeout: TEST_TIMEOUT_MS })
  suite.addFile(SUITE)
  await suite.loadFilesAsync()
  const failures = await new Promise<number>(resolve => suite.run(resolve))
  return failures === 0 ? 0 : 1
}
