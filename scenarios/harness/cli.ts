/** The testnet's command line: what `make` calls. Wires only. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { plan as planOf, TOPOLOGY_NAMES, warningsOf } from '../../netem/index.ts'
import { HarnessError } from './errors.ts'
import { type ClosableProgress, showProgress } from './progress.ts'
import type { RuntimeName } from './runtime.ts'
import { loadTopology } from './topology-file.ts'

const DEFAULT_SEED = 'warren'
const DEPTHS = ['short', 'full'] as const

interface TopologyFlags {
  topology: string
  seed: string
  nodes?: number
}

interface RuntimeFlags {
  runtime: RuntimeName | 'auto'
}

function positiveInteger(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a whole number from 1 is needed')
  return value
}

const runtimeOption = new Option(
  '--runtime <name>',
  'docker, netns, or auto: docker when an engine with Compose v2 answers'
)
  .choices(['auto', 'docker', 'netns'])
  .default('auto')

const captureOption = new Option('--capture', 'record what crosses every interface: captures/ of the run or the report')

/** Progress and a signal that Ctrl-C, SIGTERM and a closed terminal abort. */
async function watched<T>(act: (progress: ClosableProgress, signal: AbortSignal) => Promise<T>): Promise<T> {
  const progress = showProgress()
  const controller = new AbortController()
  const interrupt = (): void => {
    if (controller.signal.aborted) return
    progress.note('interrupted: removing what was built')
    controller.abort()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt)
  try {
    return await act(progress, controller.signal)
  } finally {
    progress.close()
  }
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

async function up(flags: TopologyFlags & RuntimeFlags & { capture?: true }): Promise<void> {
  const { bringUp } = await import('./up.ts')
  const { hostTable, nextSteps } = await import('./table.ts')
  const topology = await loadTopology(flags.topology, flags.nodes === undefined ? {} : { nodes: flags.nodes })
  const { testnet, endpoints } = await watched(
    async (progress, signal) =>
      await bringUp({
        topology,
        seed: flags.seed,
        runtime: flags.runtime,
        bound: false,
        capture: flags.capture === true,
        progress,
        signal
      })
  )
  print(hostTable(testnet.plan))
  print(nextSteps(endpoints))
}

async function status(flags: { json?: true }): Promise<void> {
  const { look } = await import('./status.ts')
  const { report, text } = await look()
  print(flags.json === true ? JSON.stringify(report, null, 2) : text)
}

async function down(): Promise<void> {
  const { LOOKED_FOR, takeDown } = await import('./down.ts')
  const { removed, held, left } = await watched(async progress => await takeDown(progress))
  for (const { run } of held) print(`${run} belongs to a command that still runs; it ends with it`)
  for (const { run, runtime } of removed) print(`${run}: looked for any ${LOOKED_FOR[runtime].join(', ')}`)
  if (left.length > 0)
    throw new HarnessError('LEFTOVERS', `still there:\n${left.map(line => `  - ${line}`).join('\n')}`)
  print(removed.length === 0 ? 'no testnet is up; nothing left' : 'nothing left')
}

async function doctor(flags: { json?: true }): Promise<void> {
  const { diagnose, diagnosisText } = await import('./doctor.ts')
  const diagnosis = await diagnose()
  print(flags.json === true ? JSON.stringify(diagnosis, null, 2) : diagnosisText(diagnosis))
}

async function contract(flags: RuntimeFlags): Promise<void> {
  const { runContract } = await import('./contract.ts')
  process.exitCode = await runContract(flags.runtime)
}

async function run(
  names: string[],
  flags: RuntimeFlags & { seed: string; all?: true; capture?: true; depth: 'short' | 'full' }
): Promise<void> {
  const { runScenarios } = await import('./run.ts')
  process.exitCode = await watched(
    async (progress, signal) =>
      await runScenarios(names, {
        ...flags,
        all: flags.all === true,
        capture: flags.capture === true,
        progress,
        signal
      })
  )
}

async function list(): Promise<void> {
  const { listScenarios } = await import('./scenario-files.ts')
  print(`topologies: ${TOPOLOGY_NAMES.join(', ')}`)
  for (const { name, about } of await listScenarios()) print(`${name}: ${about}`)
}

async function printPlan(flags: TopologyFlags & { slot: string }): Promise<void> {
  const topology = await loadTopology(flags.topology, flags.nodes === undefined ? {} : { nodes: flags.nodes })
  print(JSON.stringify(planOf(topology, flags.seed, Number(flags.slot)), null, 2))
  // Beside the plan, which is for programs.
  for (const { path, message } of warningsOf(topology)) process.stderr.write(`warning: ${path}: ${message}\n`)
}

function topologyFlags(command: Command): Command {
  return command
    .option('--topology <name or path>', `${TOPOLOGY_NAMES.join(', ')}, or a path such as ./my.ts`, 'testnet')
    .option('--seed <word>', 'the same seed gives the same addresses, keys and payloads', DEFAULT_SEED)
    .option('--nodes <number>', 'how many nodes, where the topology lets you choose', positiveInteger)
}

const program = new Command('testnet').description('Bring up, look at, prove and remove testnets.')
topologyFlags(program.command('up').description('bring a testnet up'))
  .addOption(runtimeOption)
  .addOption(captureOption)
  .action(up)
program.command('status').description('what runs now').option('--json', 'for programs').action(status)
program.command('down').description('remove it and prove that nothing is left').action(down)
program.command('doctor').description('what this machine can run').option('--json', 'for programs').action(doctor)
program.command('contract').description('the suite every runtime keeps').addOption(runtimeOption).action(contract)
program
  .command('run')
  .description('run scenarios, reports under reports/')
  .argument('[scenarios...]', 'names; see `list`')
  .option('--all', 'every scenario')
  .option('--seed <word>', 'replays plan, payloads and choices', DEFAULT_SEED)
  .addOption(new Option('--depth <depth>', 'short is what CI runs').choices(DEPTHS).default('short'))
  .addOption(runtimeOption)
  .addOption(captureOption)
  .action(run)
program.command('list').description('topologies and scenarios').action(list)
topologyFlags(program.command('plan').description('print a plan as JSON'))
  .option('--slot <number>', '0 to 15', '0')
  .action(printPlan)

try {
  await program.parseAsync()
} catch (error) {
  const { code, message, stack } = error as { code?: unknown; message: string; stack?: string }
  // Whatever has a code is meant for a person; anything else is a bug and shows where.
  process.stderr.write(`${typeof code === 'string' ? message : (stack ?? message)}\n`)
  process.exitCode = 1
}
// Whatever a library still holds open must not keep a finished command.
process.exit()
