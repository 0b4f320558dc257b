/** One child process as the gateway holds it: one job at a time, with a deadline that is kept by SIGKILL. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { setPriority } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { GatewayError } from '../errors.ts'
import { errorOf, SqlDeadlineError, SqlMemoryError, SqlOutcomeUnknownError, SqlUnavailableError } from './errors.ts'
import { ANSWER, COMMITTING, createFrameReader, frame, JOB, OUT_OF_MEMORY_SIGNAL, READY } from './frames.ts'
import {
  SQL_BUSY_TIMEOUT_MS,
  SQL_COMMIT_GRACE_MS,
  SQL_END_TIMEOUT_MS,
  SQL_HEAP_MAX_MB,
  SQL_NICE,
  SQL_NICE_AFTER_MS,
  SQL_START_TIMEOUT_MS
} from './limits.ts'
import type { SqlResult } from './sql.types.ts'
import type { ChildInit, SqlAnswer, SqlJob, SqlProblem } from './wire.types.ts'

export interface SqlProcess {
  readonly pid: number
  /**
   * The job's results. Not to be called while another job is under way.
   * @throws what `errorOf` makes of a problem; SqlDeadlineError, SqlMemoryError, SqlUnavailableError, SqlOutcomeUnknownError
   */
  run: (job: SqlJob, deadlineMs: number) => Promise<SqlResult[]>
  /** Lets it close its file; SIGKILL when it does not. */
  end: () => Promise<void>
  /** Whether it may be given a job: it has not ended and is not being killed. */
  isAlive: () => boolean
  /** Resolves when its database is open, or will never be. */
  readonly started: Promise<void>
  /** Resolves when the process is gone. */
  readonly gone: Promise<void>
}

export interface SqlProcessInit {
  path: string
  maxPages: number
  /** Another than the child, for tests. */
  program?: string
}

interface UnderWay {
  deadlineMs: number
  committing: boolean
  timer: NodeJS.Timeout | undefined
  niceTimer: NodeJS.Timeout | undefined
  resolve: (results: SqlResult[]) => void
  reject: (error: GatewayError) => void
}

const SOURCE = fileURLToPath(new URL('./child.ts', import.meta.url))
/** In a bundle this module's own place is kept, but the child lies beside the bundle. */
const CHILD = existsSync(SOURCE) ? SOURCE : fileURLToPath(new URL('../../sql-child.js', import.meta.url))

/** Its own watch ends it with the first; V8 aborts by the others. */
const MEMORY_SIGNALS: ReadonlySet<NodeJS.Signals> = new Set([OUT_OF_MEMORY_SIGNAL, 'SIGABRT', 'SIGTRAP', 'SIGILL'])

const SQLITE_IOERR = 10
const isDiskError = (problem: SqlProblem) => problem.kind === 'sqlite' && problem.code % 256 === SQLITE_IOERR

export function startSqlProcess({ path, maxPages, program = CHILD }: SqlProcessInit): SqlProcess {
  const init: ChildInit = { path, maxPages, busyTimeoutMs: SQL_BUSY_TIMEOUT_MS }
  const options = [`--max-old-space-size=${SQL_HEAP_MAX_MB}`, '--disable-warning=ExperimentalWarning']
  const child = spawn(process.execPath, [...options, program, JSON.stringify(init)], {
    // Nothing of the gateway's: keys and secrets are in its environment.
    env: {},
    stdio: ['pipe', 'pipe', 'ignore', 'pipe']
  })
  // A host without descriptors gives a child without streams, and its error.
  const input = child.stdin as Writable | null
  const output = child.stdout as Readable | null
  const lifeline = child.stdio?.[3] as Readable | null | undefined
  const ready = Promise.withResolvers<void>()
  const gone = Promise.withResolvers<void>()
  let job: UnderWay | null = null
  let killedFor: 'deadline' | 'start' | null = null
  let ended = false

  function kill(why: 'deadline' | 'start'): void {
    killedFor ??= why
    child.kill('SIGKILL')
  }

  const reader = createFrameReader((kind, json) => {
    if (kind === READY) ready.resolve()
    if (kind === COMMITTING && job !== null) job.committing = true
    if (kind === ANSWER && job !== null) {
      const { resolve, reject, timer, niceTimer, committing } = job
      clearTimeout(timer)
      clearTimeout(niceTimer)
      job = null
      const answer = JSON.parse(json) as SqlAnswer
      if (!('problem' in answer)) resolve(answer.results)
      // What of a COMMIT is on a disk that fails shows when the file is opened again.
      else if (committing && isDiskError(answer.problem)) reject(new SqlOutcomeUnknownError())
      else reject(errorOf(answer.problem))
    }
  })
  output?.on('data', (piece: Buffer) => reader.push(piece))
  // Whoever writes to it when it is gone learns so by `close`.
  for (const stream of [input, output, lifeline]) stream?.on('error', () => {})
  const startTimer = setTimeout(() => kill('start'), SQL_START_TIMEOUT_MS)

  // `close`, not `exit`: an answer may still be in the pipe.
  child.once('close', (_, signal) => over(signal))
  child.once('error', () => over(null))
  function over(signal: NodeJS.Signals | null): void {
    if (ended) return
    ended = true
    clearTimeout(startTimer)
    const left = job
    job = null
    clearTimeout(left?.timer)
    clearTimeout(left?.niceTimer)
    left?.reject(endOf(left, signal))
    ready.reject(new SqlUnavailableError('it does not start'))
    gone.resolve()
  }
  function endOf({ committing, deadlineMs }: UnderWay, signal: NodeJS.Signals | null): GatewayError {
    if (committing) return new SqlOutcomeUnknownError()
    if (killedFor === 'deadline') return new SqlDeadlineError(deadlineMs)
    if (signal !== null && MEMORY_SIGNALS.has(signal)) return new SqlMemoryError()
    return new SqlUnavailableError('its process ended')
  }
  const started = ready.promise.then(
    () => clearTimeout(startTimer),
    () => {}
  )

  return {
    pid: child.pid ?? 0,
    isAlive,
    started,
    gone: gone.promise,
    async run(work, deadlineMs) {
      await ready.promise
      if (!isAlive()) throw new SqlUnavailableError('its process ended')
      const done = Promise.withResolvers<SqlResult[]>()
      job = {
        deadlineMs,
        committing: false,
        timer: undefined,
        niceTimer: undefined,
        resolve: done.resolve,
        reject: done.reject
      }
      job.timer = setTimeout(onDeadline, deadlineMs, job)
      job.niceTimer = setTimeout(beNice, SQL_NICE_AFTER_MS)
      input?.write(frame(JOB, JSON.stringify(work)))
      return done.promise
    },
    async end() {
      input?.end()
      const late = setTimeout(() => child.kill('SIGKILL'), SQL_END_TIMEOUT_MS)
      await gone.promise
      clearTimeout(late)
    }
  }

  /** One that is being killed takes nothing more: its end would be told to a job that is not to blame. */
  function isAlive(): boolean {
    return !ended && killedFor === null
  }

  function beNice(): void {
    try {
      setPriority(child.pid as number, SQL_NICE)
    } catch {
      // It is gone, or the system has no such thing.
    }
  }

  function onDeadline(late: UnderWay): void {
    if (job !== late) return
    if (late.committing) late.timer = setTimeout(() => kill('deadline'), SQL_COMMIT_GRACE_MS)
    else kill('deadline')
  }
}
