/** Starts the NFQUEUE shaper, watches it, and tells the caller at once when it is no longer there. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ShaperBeat, ShaperChange, ShaperGrowth, ShaperQueue, ShaperReady, ShaperSetup } from './shaper.types.ts'
import type { LinkStats } from './shaper-queue.ts'
import type { Impairment } from './topology.ts'

/** Binding takes milliseconds; a machine may be busy. */
const START_TIMEOUT_MS = 20_000
const WATCH_EVERY_MS = 500
/** Beats come as often as we look; so many missed in a row, five seconds, mean that it is stopped or stuck. */
const MISSED_BEATS_LIMIT = 10
const STDERR_LIMIT_CHARACTERS = 4096

/** Thrown, or told to `onDeath`, when the shaper ended or stalled. Links it shaped drop everything from then on. */
export class ShaperDiedError extends Error {
  override readonly name = 'ShaperDiedError'
  readonly code = 'SHAPER_DIED'

  constructor(why: string) {
    super(`the link shaper ${why}; its links drop everything now, so take the testnet down and bring it up again`)
  }
}

/** Thrown when a link is changed that the shaper was not started with. */
export class UnknownLinkError extends Error {
  override readonly name = 'UnknownLinkError'
  readonly code = 'UNKNOWN_LINK'

  constructor(name: string) {
    super(`the shaper has no link '${name}'; start it with that link`)
  }
}

export interface Shaper {
  readonly pid: number
  /** Change what a link does, from the next packet on. @throws UnknownLinkError */
  set: (name: string, impairment: Impairment) => void
  /**
   * Serve these queues too, and those of them that are served already by their new impairment and name. Resolves when
   * all are bound, so that rules can lead packets to them. Queues are never given back: nothing goes to them without a rule.
   * @throws ShaperDiedError
   */
  serve: (queues: ShaperQueue[]) => Promise<void>
  /** Counters by link name, at most half a second old. */
  stats: () => Record<string, LinkStats>
  /** End it; `onDeath` is not told. Idempotent. */
  stop: () => Promise<void>
}

export interface ShaperOptions {
  /** Told once when the shaper ends or stalls without having been stopped. */
  onDeath: (error: ShaperDiedError) => void
}

/** Bundled, the worker is a `.js` beside this code; from source it is a `.ts`. */
function workerFile(): string {
  return fileURLToPath(new URL(`./shaper-worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url))
}

/**
 * Start one shaper process for queues of any number of namespaces. Resolves when all are bound; the rules that
 * lead packets to them (`queueRules`) can be loaded before, they drop until then.
 * @throws ShaperDiedError when it cannot start, with what it said
 */
export async function startShaper(initial: ShaperQueue[], { onDeath }: ShaperOptions): Promise<Shaper> {
  const queues = [...initial]
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', workerFile()], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH ?? '' }
  })
  let stats: LinkStats[] = []
  let complaint = ''
  let missedBeats = 0
  let isStopping = false
  let isOver = false
  const started = Promise.withResolvers<void>()
  /** Growths that are not served yet, by how many queues there are then. */
  const growths = new Map<number, PromiseWithResolvers<void>>()
  const ended = Promise.withResolvers<void>()

  const over = (why: string) => {
    if (isOver) return
    isOver = true
    clearTimeout(deadline)
    clearInterval(watch)
    child.kill('SIGKILL')
    const error = new ShaperDiedError(complaint === '' ? why : `${why} (${complaint.trim()})`)
    started.reject(error)
    for (const growth of growths.values()) growth.reject(error)
    if (!isStopping && hasStarted) onDeath(error)
  }
  let hasStarted = false
  const deadline = setTimeout(() => over(`was not ready within ${START_TIMEOUT_MS} ms`), START_TIMEOUT_MS)
  const watch = setInterval(() => {
    if (++missedBeats > MISSED_BEATS_LIMIT) over('stalled')
  }, WATCH_EVERY_MS)
  watch.unref()

  child.on('error', error => over(`could not be started: ${error.message}`))
  child.on('close', (exitCode, signal) => {
    over(`ended with ${signal ?? `exit code ${exitCode}`}`)
    ended.resolve()
  })
  // Writing to a shaper that just ended; `close` tells.
  child.stdin.on('error', () => {})
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString('utf8')).slice(-STDERR_LIMIT_CHARACTERS)
  })
  createInterface({ input: child.stdout }).on('line', line => {
    missedBeats = 0
    const message = JSON.parse(line) as Partial<ShaperBeat & ShaperReady>
    if (message.beat !== undefined) stats = message.beat
    if (message.ready !== undefined) {
      hasStarted = true
      clearTimeout(deadline)
      started.resolve()
      for (const [count, growth] of growths) {
        if (count > message.ready) continue
        growths.delete(count)
        growth.resolve()
      }
    }
  })
  const write = (message: ShaperSetup | ShaperChange | ShaperGrowth) =>
    child.stdin.write(`${JSON.stringify(message)}\n`)
  write({ queues: initial })
  try {
    await started.promise
  } catch (error) {
    if (child.pid !== undefined) await ended.promise
    throw error
  }
  return {
    pid: child.pid!,
    set: (name, impairment) => {
      const link = queues.findIndex(queue => queue.name === name)
      if (link < 0) throw new UnknownLinkError(name)
      write({ link, impairment })
    },
    serve: async wanted => {
      if (isOver) throw new ShaperDiedError('is not there any more')
      const added: ShaperQueue[] = []
      for (const queue of wanted) {
        const link = queues.findIndex(each => each.namespace === queue.namespace && each.queue === queue.queue)
        if (link < 0) added.push(queue)
        else {
          queues[link] = queue
          write({ link, impairment: queue.impairment })
        }
      }
      if (added.length === 0) return
      queues.push(...added)
      const growth = Promise.withResolvers<void>()
      growths.set(queues.length, growth)
      write({ add: added })
      await growth.promise
    },
    stats: () =>
      Object.fromEntries(queues.flatMap(({ name }, n) => (stats[n] === undefined ? [] : [[name, stats[n]]]))),
    stop: async () => {
      isStopping = true
      child.stdin.end()
      child.kill('SIGTERM')
      await ended.promise
    }
  }
}
