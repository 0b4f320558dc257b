/** Runs one command without a shell. The only file of this room that starts processes to configure the machine. */
import { spawn } from 'node:child_process'

/** Longest a configuration command may take. */
const DEFAULT_TIMEOUT_MS = 60_000
/** What is kept of each output stream. */
const OUTPUT_LIMIT_BYTES = 4 * 1024 * 1024

/** An ordinary user's PATH on Debian has no sbin, where `nft` and `tc` are. */
export const SBIN = '/usr/sbin:/sbin'

export interface CommandOptions {
  /** Given to its standard input. Default: none. */
  input?: string
  signal?: AbortSignal
  /** Default 60 s. */
  timeoutMs?: number
}

export interface CommandOutput {
  stdout: string
  stderr: string
}

/** Runs an argv to its end. Functions that configure take one, so that callers decide where it runs. */
export type Run = (argv: string[], options?: CommandOptions) => Promise<CommandOutput>

/** Thrown when a command could not be started, failed, or took too long. */
export class CommandFailedError extends Error {
  override readonly name = 'CommandFailedError'
  readonly code = 'COMMAND_FAILED'
  readonly argv: string[]
  readonly stderr: string
  readonly exitCode: number | null

  constructor(argv: string[], exitCode: number | null, stderr: string, why: string) {
    super(`'${argv.join(' ')}' ${why}: ${stderr.trim() || 'it said nothing'}`)
    this.argv = argv
    this.stderr = stderr
    this.exitCode = exitCode
  }
}

/** @throws CommandFailedError; the signal's reason when it was aborted */
export const run: Run = (argv, { input, signal, timeoutMs = DEFAULT_TIMEOUT_MS } = {}) =>
  new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const child = spawn(argv[0]!, argv.slice(1), {
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      env: { ...process.env, PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:${SBIN}` },
      ...(signal === undefined ? {} : { signal })
    })
    const stdout = collect(child.stdout!)
    const stderr = collect(child.stderr!)
    // A command that ends without reading its input is judged by its exit code.
    child.stdin?.on('error', () => {})
    child.stdin?.end(input)
    child.on('error', error => {
      reject(
        signal?.aborted ? signal.reason : new CommandFailedError(argv, null, error.message, 'could not be started')
      )
    })
    child.on('close', (exitCode, killedBy) => {
      if (signal?.aborted) reject(signal.reason)
      else if (exitCode === 0) resolve({ stdout: stdout(), stderr: stderr() })
      else if (killedBy !== null) {
        reject(new CommandFailedError(argv, null, stderr(), `was ended by ${killedBy} (limit ${timeoutMs} ms)`))
      } else reject(new CommandFailedError(argv, exitCode, stderr(), `failed with exit code ${exitCode}`))
    })
  })

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  stream.on('data', (chunk: Buffer) => {
    if (sizeBytes < OUTPUT_LIMIT_BYTES) chunks.push(chunk)
    sizeBytes += chunk.length
  })
  return () => Buffer.concat(chunks).toString('utf8')
}
