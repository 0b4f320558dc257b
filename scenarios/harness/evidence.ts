/** What a run leaves for whoever asks why: logs, events, packets and tables, and the command that plays it again. */
import { chmod, cp, mkdir, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { reason } from './check.ts'
import { CAPTURES_FOLDER } from './paths.ts'
import { replayCommand } from './report.ts'
import { type RunRecord, runFolder } from './run-record.ts'
import type { Progress, Testnet } from './runtime.ts'
import type { Depth } from './scenario.ts'

/** How long every interface is looked at after a failure, and how long looking may take in all. */
const LOOK_MS = 2000
const EVIDENCE_WITHIN_MS = 60_000
const KEPT_MODE = 0o755

/**
 * Looks at every network of the testnet, once: whoever asks first asks while what is wrong still is. What was recorded
 * all along is not looked at again, only its tables are.
 * @returns answers what could not be had, in plain words; never rejects
 */
export function examiner(
  testnet: Testnet,
  { capture, progress }: { capture: boolean; progress: Progress }
): () => Promise<string[]> {
  let examined: Promise<string[]> | null = null
  const examine = async (): Promise<string[]> => {
    const ended = progress.stage('Look at every interface and table')
    const { promise: late, resolve } = Promise.withResolvers<string[]>()
    const timer = setTimeout(resolve, EVIDENCE_WITHIN_MS, [`the rest: not there within ${EVIDENCE_WITHIN_MS} ms`])
    const missing = await Promise.race([testnet.evidence({ lookMs: capture ? 0 : LOOK_MS }), late])
    clearTimeout(timer)
    ended(missing.length === 0 ? undefined : `not all: ${missing[0]}`)
    return missing
  }
  return () => {
    examined ??= examine()
    return examined
  }
}

/** One self-contained folder: seed, plan, logs, events, packets, and the command that plays it again. */
export async function keepEvidence(
  folder: string,
  record: RunRecord,
  { seed, depth }: { seed: string; depth: Depth },
  { testnet, missing }: { testnet?: Testnet; missing: string[] } = { missing: [] }
): Promise<void> {
  const from = runFolder(record.run)
  const evidence = join(folder, 'failure')
  await mkdir(join(evidence, 'logs'), { recursive: true })
  for (const name of ['logs', 'plan.json', 'events.jsonl', 'compose.yml']) {
    await cp(join(from, name), join(evidence, name), { recursive: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
    })
  }
  await keepCaptures(evidence, record)
  await Promise.all(
    (testnet?.hosts() ?? []).map(async host => {
      const log = await host.logs().catch(error => `its log cannot be read: ${reason(error)}`)
      await writeFile(join(evidence, 'logs', `${host.planned.name}.log`), log)
    })
  )
  const again = replayCommand({ scenario: basename(dirname(folder)), runtime: record.runtime, seed, depth })
  const lacking = missing.length === 0 ? '' : `\nNot here:\n\n${missing.map(line => `- ${line}\n`).join('')}`
  await writeFile(
    join(evidence, 'README.md'),
    `Seed \`${seed}\`, run ${record.run}. Play it again:\n\n    ${again}\n${lacking}`
  )
}

/** Recorded packets and tables of the run, if any, into the folder; the run's own copy goes. */
export async function keepCaptures(folder: string, record: RunRecord): Promise<void> {
  const from = join(runFolder(record.run), CAPTURES_FOLDER)
  try {
    await cp(from, join(folder, CAPTURES_FOLDER), { recursive: true })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  // On docker the recorders, other users here, wrote to it.
  await chmod(join(folder, CAPTURES_FOLDER), KEPT_MODE)
  await rm(from, { recursive: true, force: true })
}
