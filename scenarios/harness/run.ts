/** A run in stages: plan, up, prove, run, check, report, down. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { plan as planOf, type Topology } from '../../netem/index.ts'
import { CheckFailedError, type CheckResult, reason, startChecks } from './check.ts'
import { removeRun } from './down.ts'
import { HarnessError, InterruptedError } from './errors.ts'
import { examiner, keepCaptures, keepEvidence } from './evidence.ts'
import { startHistory } from './history.ts'
import { startNemesis } from './nemesis.ts'
import { REPORTS_FOLDER } from './paths.ts'
import { proveLab } from './prove.ts'
import { seededRandom } from './random.ts'
import { type Report, replayCommand, writeReport } from './report.ts'
import { listRecords, type RunRecord } from './run-record.ts'
import type { Progress, RuntimeName, Testnet } from './runtime.ts'
import { chooseRuntime } from './runtimes.ts'
import type { CommonStory, Depth, Occasion, StandaloneScenario, TestnetScenario } from './scenario.ts'
import { listScenarios, loadScenario, type NamedScenario } from './scenario-files.ts'
import { bringUp, type Standing } from './up.ts'
import { exitCodeOf, type Verdict, worst } from './verdict.ts'

/** A story that stands alone must end by this long after its signal. */
const CLEAN_UP_WITHIN_MS = 20_000

export interface RunOptions {
  runtime: RuntimeName | 'auto'
  seed: string
  depth: Depth
  all: boolean
  /** Record what crosses every interface, into the report. Default: no. */
  capture?: boolean
  progress: Progress
  signal: AbortSignal
  /** Default: `reports/` of the tree. */
  reportsFolder?: string
  /** Done to the standing testnet before it is proved: tests break it here and see that the proof notices. */
  beforeProof?: (testnet: Testnet) => Promise<void>
}

/** Run scenarios one after another. @returns the exit code of the worst */
export async function runScenarios(names: string[], options: RunOptions): Promise<number> {
  if (names.length === 0 && !options.all)
    throw new HarnessError('NOTHING_TO_RUN', 'name a scenario (see `list`) or say --all')
  const scenarios = options.all ? await listScenarios() : await Promise.all(names.map(loadScenario))
  const verdicts: Verdict[] = []
  for (const scenario of scenarios) {
    const report = await runScenario(scenario, options)
    verdicts.push(report.verdict)
    const passed = report.checks.filter(({ verdict }) => verdict === 'pass').length
    options.progress.note(
      `${report.scenario} on ${report.runtime}: ${report.verdict}, ${passed} of ${report.checks.length} checks passed, ${report.skipped} skipped, seed ${report.seed}`
    )
    if (report.verdict !== 'pass') options.progress.note(`again: ${replayCommand(report)}`)
  }
  return exitCodeOf(worst(verdicts))
}

/** One scenario, one report; a testnet of its own, gone afterwards whatever happened. */
export async function runScenario(scenario: NamedScenario, options: RunOptions): Promise<Report> {
  const { progress, seed } = options
  const { only } = scenario
  const { runtime } = await chooseRuntime(options.runtime === 'auto' ? (only ?? 'auto') : options.runtime, progress)
  const occasion: Occasion = { runtime: runtime.name, depth: options.depth }
  const name = scenario.reportFolder?.(occasion) ?? scenario.name
  const folder = join(options.reportsFolder ?? REPORTS_FOLDER, name, runtime.name)
  if (scenario.topology !== null) planOf(topologyOf(scenario, occasion), seed)
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  progress.note(`scenario ${scenario.name} on ${runtime.name}, seed ${seed}: ${scenario.about}`)
  const began = performance.now()
  const outcome: Outcome = { verdicts: [], checks: [], rows: [] }
  const { can } = await runtime.probe()
  const missing = scenario.needs.filter(need => !can.includes(need))
  const cannot =
    only !== undefined && only !== runtime.name
      ? `it is about ${only}`
      : missing.length > 0
        ? `${runtime.name} cannot: ${missing.join(', ')}`
        : null
  if (cannot !== null) outcome.checks.push({ name: 'the scenario can run here', verdict: 'skip', detail: cannot })
  else if (scenario.topology === null) await alone(scenario, { ...options, runtime: runtime.name }, folder, outcome)
  else await judged(scenario, { ...options, runtime: runtime.name }, folder, outcome)
  const { checks, rows } = outcome
  const report: Report = {
    scenario: scenario.name,
    runtime: runtime.name,
    seed,
    depth: options.depth,
    ...settingsOf(scenario),
    verdict: worst([...outcome.verdicts, ...checks.map(({ verdict }) => verdict)]),
    durationMs: Math.round(performance.now() - began),
    checks,
    skipped: checks.filter(({ verdict }) => verdict === 'skip').length,
    rows
  }
  await writeReport(folder, report)
  return report
}

/** What it was told by the environment, where it listens to it at all. */
function settingsOf({ settings = [] }: NamedScenario): Pick<Report, 'settings'> {
  const set = settings.flatMap(name => (process.env[name] ? [[name, process.env[name]] as const] : []))
  return set.length === 0 ? {} : { settings: Object.fromEntries(set) }
}

function topologyOf({ topology }: TestnetScenario, occasion: Occasion): Topology {
  return typeof topology === 'function' ? topology(occasion) : topology
}

type RuntimeOptions = RunOptions & { runtime: RuntimeName }
type Named<S> = S & { name: string }

interface Outcome {
  /** Verdicts beside those of checks. */
  verdicts: Verdict[]
  checks: CheckResult[]
  rows: Array<Record<string, unknown>>
}

/** Bring up, prove, play, look back, take down. Everything but an interruption ends as a check. */
async function judged(
  scenario: Named<TestnetScenario>,
  options: RuntimeOptions,
  folder: string,
  outcome: Outcome
): Promise<void> {
  const { progress, signal, seed, runtime, capture = false } = options
  const topology = topologyOf(scenario, { runtime, depth: options.depth })
  let standing: Standing
  try {
    standing = await bringUp({ topology, seed, runtime, bound: true, capture, progress, signal })
  } catch (error) {
    if (signal.aborted) throw new InterruptedError()
    outcome.checks.push({ name: 'the testnet comes up', verdict: 'fail', detail: reason(error) })
    const record = await lastOwnRun()
    if (record !== null) await keepEvidence(folder, record, options)
    return
  }
  const { testnet } = standing
  const examine = examiner(testnet, { capture, progress })
  try {
    const proved = progress.stage('Prove NATs and links')
    await options.beforeProof?.(testnet)
    const proof = await proveLab(testnet, signal)
    outcome.rows.push(...[...proof.nats, ...proof.links].map(row => ({ ...row })))
    proved(`${proof.nats.length} NATs, ${proof.links.length} links: ${proof.ok ? 'as claimed' : 'NOT as claimed'}`)
    for (const { kind, claimed, observed } of proof.nats.filter(({ proved }) => !proved)) {
      progress.note(`NAT ${kind} is not what it claims:\n  claimed  ${claimed}\n  observed ${observed}`)
    }
    if (proof.ok) await play(scenario, standing, options, folder, outcome, examine)
    else outcome.verdicts.push('invalid')
    const { invalid, hosts } = await testnet.status()
    const deaths = Object.entries(hosts).flatMap(([name, { deaths }]) => deaths.map(how => `${name}: ${how}`))
    const verdict = deaths.length === 0 ? 'pass' : 'fail'
    outcome.checks.push({ name: 'no host ended unasked', verdict, detail: deaths.join('; ') })
    if (invalid.length > 0) outcome.verdicts.push('invalid')
    outcome.rows.push(...invalid.map(why => ({ what: 'lab', why, ok: false })))
  } catch (error) {
    if (signal.aborted) throw new InterruptedError()
    outcome.checks.push({ name: 'the run ends', verdict: 'unknown', detail: reason(error) })
  } finally {
    const verdict = worst([...outcome.verdicts, ...outcome.checks.map(check => check.verdict)])
    const missing = (verdict !== 'pass' || capture) && !signal.aborted ? await examine() : []
    if (verdict !== 'pass') await keepEvidence(folder, standing.record, options, { testnet, missing })
    else if (capture) await keepCaptures(folder, standing.record)
    const left = await removeRun(standing.record, progress)
    if (left.length > 0) outcome.checks.push({ name: 'nothing is left', verdict: 'fail', detail: left.join('; ') })
  }
}

async function play(
  scenario: Named<TestnetScenario>,
  { testnet, endpoints }: Standing,
  options: RuntimeOptions,
  folder: string,
  outcome: Outcome,
  examine: () => Promise<string[]>
): Promise<void> {
  const stage = setUp(scenario, options, folder, outcome)
  const nemesis = startNemesis(testnet, stage.common.history, stage.common.random.fork('nemesis'))
  const story = scenario.story({
    ...stage.common,
    testnet,
    endpoints,
    hosts: role => testnet.hosts().filter(({ planned }) => planned.role === role),
    host: testnet.host,
    nemesis
  })
  await playOut(story, stage, options, outcome)
  // Before anything is undone: what is wrong is seen best while it is.
  if (outcome.checks.some(({ verdict }) => verdict === 'fail' || verdict === 'unknown')) await examine()
  await nemesis.undoAll()
}

/** A story without a testnet. It owns what it builds, so its own end is waited for too. */
async function alone(
  scenario: Named<StandaloneScenario>,
  options: RuntimeOptions,
  folder: string,
  outcome: Outcome
): Promise<void> {
  const { seed, progress } = options
  const stage = setUp(scenario, options, folder, outcome)
  const story = scenario.story({
    ...stage.common,
    seed,
    progress,
    invalid(why) {
      outcome.verdicts.push('invalid')
      outcome.rows.push({ what: 'lab', why, ok: false })
      progress.note(`invalid ${why}`)
    }
  })
  try {
    await playOut(story, stage, options, outcome)
  } finally {
    const cleaned = story.then(
      () => true,
      () => true
    )
    if (!(await Promise.race([cleaned, delay(CLEAN_UP_WITHIN_MS, false, { ref: false })])))
      outcome.checks.push({
        name: 'the story cleans up',
        verdict: 'fail',
        detail: `not within ${CLEAN_UP_WITHIN_MS} ms`
      })
  }
}

interface Stage {
  common: CommonStory
  /** Of the run or of the scenario's deadline, whichever comes first. */
  signal: AbortSignal
}

function setUp({ name, withinMs }: NamedScenario, options: RuntimeOptions, folder: string, outcome: Outcome): Stage {
  const { progress, runtime, depth, seed } = options
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(withinMs)])
  const history = startHistory(join(folder, 'history.jsonl'))
  const check = startChecks({
    signal,
    onResult: result =>
      progress.note(
        `${result.verdict.padEnd(7)} ${result.name}${result.verdict === 'pass' ? '' : `: ${result.detail}`}`
      )
  })
  const common: CommonStory = {
    runtime,
    depth,
    check,
    random: seededRandom(`${seed}\0${name}`),
    history,
    folder,
    step(title) {
      history.event('step', title)
      progress.note(`-- ${title}`)
    },
    row: row => void outcome.rows.push(row),
    signal
  }
  return { common, signal }
}

/** Every end of a story but an interruption is a verdict. */
async function playOut(
  story: Promise<void>,
  { common: { check }, signal }: Stage,
  options: RuntimeOptions,
  outcome: Outcome
): Promise<void> {
  try {
    await withSignal(story, signal)
  } catch (error) {
    if (options.signal.aborted) throw new InterruptedError()
    // A failed `eventually` is on record already.
    if (!(error instanceof CheckFailedError)) check.unknown('the story plays to its end', reason(error))
  } finally {
    outcome.checks.push(...check.results)
  }
}

/** The story, or the reason of the signal when that comes first: no promise of a story can hold up the end. */
async function withSignal(story: Promise<void>, signal: AbortSignal): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>()
  const abort = (): void => reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  if (signal.aborted) abort()
  try {
    await Promise.race([story, promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** The record of the run this process made last, whatever became of it. */
async function lastOwnRun(): Promise<RunRecord | null> {
  return (await listRecords()).findLast(({ harness }) => harness?.pid === process.pid) ?? null
}
