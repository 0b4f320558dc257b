/** Every `.ts` file beside the harness is a scenario, but the parts of the contract suite; its name is the file's. */
import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { UnknownNameError } from './errors.ts'
import { ROOT } from './paths.ts'
import type { Scenario } from './scenario.ts'

const DOOR = 'index.ts'
const CONTRACT_PART = 'contract-'
const FOLDER = join(ROOT, 'scenarios')

export type NamedScenario = Scenario & { name: string }

export async function scenarioNames(): Promise<string[]> {
  const names = await readdir(FOLDER)
  return names
    .filter(name => name.endsWith('.ts') && !name.endsWith('.test.ts') && name !== DOOR)
    .filter(name => !name.startsWith(CONTRACT_PART))
    .map(name => basename(name, '.ts'))
    .sort()
}

/** @throws UnknownNameError */
export async function loadScenario(name: string): Promise<NamedScenario> {
  const known = await scenarioNames()
  if (!known.includes(name)) throw new UnknownNameError('scenario', name, known)
  const { default: loaded } = (await import(pathToFileURL(join(FOLDER, `${name}.ts`)).href)) as { default: Scenario }
  return { ...loaded, name }
}

export async function listScenarios(): Promise<NamedScenario[]> {
  return await Promise.all((await scenarioNames()).map(loadScenario))
}
