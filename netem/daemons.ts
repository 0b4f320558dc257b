/** Programs that a router needs running beside its rules: they are started, watched, and ended with the lab. */
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { SBIN } from './exec.ts'

/** One program, as its router needs it. */
export interface Daemon {
  /** For messages: `v6-home-nat nat64`. */
  name: string
  /** A program of this room that Node runs; absent: `argv` is the whole command. */
  program?: string
  argv: string[]
  /** Text on its standard output that says that it works; null: it works once it runs. */
  readyLine: string | null
}

/** A daemon and how a command gets into its router's network: `argvIn(router, argv)`, or the argv itself in a leg. */
export interface PlacedDaemon extends Daemon {
  enter: (argv: string[]) => string[]
}

/** Thrown, or told to `onDeath`, when a daemon ended by itself or did not get ready. */
export class DaemonDiedError extends Error {
  override readonly name = 'DaemonDiedError'
  readonly code = 'DAEMON_DIED'

  constructor(daemon: string, how: string, said: string) {
    super(`${daemon} ${how}; take the testnet down and bring it up again${said === '' ? '' : `. It said: ${said}`}`)
  }
}

export interface Daemons {
  /** End them all; `onDeath` is not told. Idempotent. */
  stop: () => Promise<void>
}

const READY_TIMEOUT_MS = 20_000
const SAID_LIMIT_CHARACTERS = 2000

/**
 * Start them side by side; resolves when all work.
 * @throws DaemonDiedError; the others are ended then
 */
export async function startDaemons(
  daemons: PlacedDaemon[],
  { onDeath }: { onDeath: (error: DaemonDiedError) => void }
): Promise<Daemons> {
  const children: ChildProcess[] = []
  const ends: Array<Promise<void>> = []
  let isStopping = false
  const stop = async (): Promise<void> => {
    isStopping = true
    for (const child of children) child.kill('SIGTERM')
    await Promise.all(ends)
  }

  const start = async (daemon: PlacedDaemon): Promise<void> => {
    const { promise: ready, resolve, reject } = Promise.withResolvers<void>()
    const [command, ...args] = daemon.enter(commandOf(daemon))
    const child = spawn(command!, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:${SBIN}` }
    })
    children.push(child)
    let said = ''
    const hear = (chunk: Buffer): void => {
      said = (said + chunk.toString()).slice(-SAID_LIMIT_CHARACTERS)
      if (daemon.readyLine !== null && said.includes(daemon.readyLine)) resolve()
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
    if (daemon.readyLine === null) child.once('spawn', resolve)
    const timer = setTimeout(
      () => reject(new DaemonDiedError(daemon.name, `was not ready after ${READY_TIMEOUT_MS} ms`, said.trim())),
      READY_TIMEOUT_MS
    )
    const { promise: ended, resolve: end } = Promise.withResolvers<void>()
    ends.push(ended)
    let isReady = false
    const died = (how: string): void => {
      end()
      if (isStopping) return
      const error = new DaemonDiedError(daemon.name, how, said.trim())
      if (isReady) onDeath(error)
      else reject(error)
    }
    child.once('error', error => died(`could not be started: ${error.message}`))
    child.once('exit', (code, signal) => died(`ended by itself (${signal ?? `exit code ${code}`})`))
    try {
      await ready
      isReady = true
    } finally {
      clearTimeout(timer)
    }
  }

  try {
    await Promise.all(daemons.map(start))
  } catch (error) {
    await stop()
    throw error
  }
  return { stop }
}

/** Bundled, a program is a `.js` beside this code; from source it is a `.ts`. */
function commandOf({ program, argv }: Daemon): string[] {
  if (program === undefined) return argv
  const suffix = import.meta.url.endsWith('.ts') ? '.ts' : '.js'
  return [process.execPath, fileURLToPath(new URL(`./${program}${suffix}`, import.meta.url)), ...argv]
}
