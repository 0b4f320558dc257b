/** Which runtime: the named one, or the best this machine has. */
import { RuntimeMissingError } from './errors.ts'
import { netnsRuntime } from './netns-runtime.ts'
import { prepareTools } from './prepare.ts'
import { silentProgress } from './progress.ts'
import type { Progress, Runtime, RuntimeName } from './runtime.ts'

export const RUNTIME_NAMES: readonly RuntimeName[] = ['docker', 'netns']

/** The runtime of that name. Docker's is loaded only when it is meant: its libraries are heavy. */
export async function runtimeNamed(name: RuntimeName): Promise<Runtime> {
  return name === 'netns' ? netnsRuntime : (await import('./docker-runtime.ts')).dockerRuntime
}

export interface Choice {
  runtime: Runtime
  /** One sentence: which and why. */
  why: string
}

/**
 * `auto` takes docker when an engine with Compose v2 answers, else netns, whose tools root gets installed here.
 * @throws RuntimeMissingError when the one named, or every one, cannot work here
 */
export async function chooseRuntime(name: RuntimeName | 'auto', progress: Progress = silentProgress): Promise<Choice> {
  if (name !== 'auto') {
    if (name === 'netns') await prepareTools(progress)
    const runtime = await runtimeNamed(name)
    const { missing } = await runtime.probe()
    if (missing.length > 0) throw new RuntimeMissingError(name, missing)
    return { runtime, why: `runtime ${name}, as asked` }
  }
  const docker = await runtimeNamed('docker')
  const { missing } = await docker.probe()
  if (missing.length === 0)
    return { runtime: docker, why: 'runtime docker: an engine with Compose v2 answers (RUNTIME=netns for namespaces)' }
  const netns = await chooseRuntime('netns', progress)
  return {
    runtime: netns.runtime,
    why: `runtime netns: ${missing[0]!.what} is missing for docker (\`make doctor\` says more)`
  }
}
