/** One product process in its host's namespace, over its lives: started, paused, killed, started again. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { delimiter, dirname } from 'node:path'
import { HarnessError, HostDiedError } from './errors.ts'
import { EXEC_OUTPUT_BYTES_MAX, type Program } from './netns-protocol.ts'
import type { SocketHandle } from './netns-socket.ts'
import type { ExecResult, HostState } from './runtime.ts'

/** A product that says nothing for this long after it was spawned is stuck. */
const READY_LINE_TIMEOUT_MS = 180_000
/** SIGTERM drains within 10 s (process contract); a little more on a crowded machine, then SIGKILL. */
const DRAIN_TIMEOUT_MS = 15_000
/** The ready line is short; whoever writes more without a newline is not a product. */
const READY_LINE_BYTES_MAX = 1 << 20
const LOG_TAIL_LINES = 12

/** Thrown when an act does not fit the state a host is in. */
export class HostStateError extends HarnessError {
  constructor(host: string, state: HostState, act: string) {
    super('HOST_STATE', `cannot ${act} ${host}: it is ${state}`)
  }
}

export interface ProductParts {
  /** Path of the host's network namespace. */
  namespace: string
  /** A bound socket for the control port; ours to close. */
  socket: (port: number) => Promise<SocketHandle>
  /** Hears of ends nobody asked for. */
  died: (host: string, how: string) => void
}

export class Product {
  readonly program: Program
  readonly deaths: string[] = []
  state: HostState = 'starting'
  cut = false
  unplugged = false
  readonly #parts: ProductParts
  #child: ChildProcess | null = null
  #ended: Promise<void> = Promise.resolve()
  #endAsked = false

  constructor(program: Program, parts: ProductParts) {
    this.program = program
    this.#parts = parts
  }

  /** Spawn it and wait for its ready line. Harmless when it runs already. */
  async start(): Promise<void> {
    if (this.#child !== null) return
    this.state = 'starting'
    this.#endAsked = false
    const socket = await this.#parts.socket(this.program.controlPort)
    const log = openSync(this.program.logFile, 'a', 0o600)
    let child: ChildProcess
    try {
      const [command, ...args] = this.#argv([process.execPath, ...this.program.args])
      child = spawn(command!, args, { stdio: ['ignore', 'pipe', log, socket.fd], env: this.#env(), cwd: '/' })
    } finally {
      socket.close()
    }
    this.#child = child
    let how = ''
    this.#ended = new Promise<void>(resolve => {
      child.once('error', error => {
        how = `cannot be started: ${error.message}`
        resolve()
      })
      // Not 'exit': its last words on stdout may still be under way.
      child.once('close', (code, signal) => {
        how = signal === null ? `exit code ${code}` : `signal ${signal}`
        resolve()
      })
    }).then(() => {
      closeSync(log)
      this.#child = null
      if (!this.#endAsked && this.state !== 'starting') {
        this.deaths.push(how)
        this.#parts.died(this.program.host, how)
      }
      this.state = 'dead'
    })
    const ready = await Promise.race([
      readyLine(child, log),
      this.#ended.then(() => false),
      after(READY_LINE_TIMEOUT_MS)
    ])
    if (ready !== true) {
      if (this.#endAsked) return
      child.kill('SIGKILL')
      await this.#ended
      throw new HostDiedError(this.program.host, how, this.program.logFile, tail(this.program.logFile))
    }
    this.state = 'running'
  }

  /** SIGKILL and wait for the end. */
  async kill(): Promise<void> {
    this.#endAsked = true
    this.#child?.kill('SIGKILL')
    await this.#ended
    this.state = 'dead'
  }

  /** SIGTERM, and SIGKILL when it does not drain in time. */
  async stop(): Promise<void> {
    const child = this.#child
    if (child === null) return
    if (this.state === 'paused') this.continue()
    this.#endAsked = true
    child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), DRAIN_TIMEOUT_MS)
    await this.#ended
    clearTimeout(timer)
  }

  pause(): void {
    if (this.state !== 'running') throw new HostStateError(this.program.host, this.state, 'pause')
    this.#child?.kill('SIGSTOP')
    this.state = 'paused'
  }

  continue(): void {
    if (this.state !== 'paused') return
    this.#child?.kill('SIGCONT')
    this.state = 'running'
  }

  /** Run a command beside the product: its network, its environment, no capability. */
  async exec(argv: string[], signal: AbortSignal): Promise<ExecResult> {
    return await runToEnd(this.#argv(argv), { env: this.#env(), signal })
  }

  #argv(argv: string[]): string[] {
    // Even uid 0 has no capability after this; exec cannot give it one back.
    const drop = ['--bounding-set=-all', '--inh-caps=-all', '--ambient-caps=-all', '--no-new-privs']
    return ['nsenter', `--net=${this.#parts.namespace}`, 'setpriv', ...drop, ...argv]
  }

  #env(): Record<string, string> {
    const path = [dirname(process.execPath), '/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin', '/sbin'].join(delimiter)
    return { PATH: path, LANG: 'C.UTF-8', HOME: '/nonexistent', ...this.program.env }
  }
}

/** Run a command and keep what it says. Rejects only when it cannot be started or is aborted. */
export async function runToEnd(
  argv: string[],
  { env, signal }: { env: NodeJS.ProcessEnv; signal: AbortSignal }
): Promise<ExecResult> {
  const [command, ...args] = argv
  const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'pipe'], env, cwd: '/', signal })
  const [stdout, stderr, code] = await Promise.all([
    collect(child.stdout),
    collect(child.stderr),
    new Promise<number>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (exitCode, by) => resolve(exitCode ?? 128 + (by === 'SIGKILL' ? 9 : 15)))
    })
  ])
  return { code, stdout, stderr }
}

/** Resolves true at `{"ready":true,…}`; everything the product writes to stdout goes to its log too. */
async function readyLine(child: ChildProcess, log: number): Promise<boolean> {
  return await new Promise(resolve => {
    let head: Buffer | null = Buffer.alloc(0)
    child.stdout?.on('data', (chunk: Buffer) => {
      writeSync(log, chunk)
      if (head === null) return
      head = Buffer.concat([head, chunk])
      const end = head.indexOf('\n')
      if (end === -1 && head.length < READY_LINE_BYTES_MAX) return
      resolve(isReady(head.subarray(0, end).toString()))
      head = null
    })
  })
}

function isReady(line: string): boolean {
  try {
    return (JSON.parse(line) as { ready?: unknown }).ready === true
  } catch {
    return false
  }
}

async function collect(stream: NodeJS.ReadableStream): Promise<string> {
  const kept: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (bytes < EXEC_OUTPUT_BYTES_MAX) kept.push(chunk.subarray(0, EXEC_OUTPUT_BYTES_MAX - bytes))
    bytes += chunk.length
  }
  return Buffer.concat(kept).toString()
}

async function after(milliseconds: number): Promise<'late'> {
  return await new Promise(resolve => setTimeout(resolve, milliseconds, 'late').unref())
}

function tail(file: string): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n')
  } catch {
    return ''
  }
}
