/** Whole processes as a benchmark sees them: started, waited for, weighed, ended. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'

/** How long a process may take to print its first line, or to end when asked. */
const START_LIMIT_MS = 60_000
const END_LIMIT_MS = 15_000

const alive = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))

/** Ends the child with this process, however this process ends (SIGKILL excepted). */
export function boundToUs(child: ChildProcess): ChildProcess {
  alive.add(child)
  child.once('exit', () => alive.delete(child))
  return child
}

/** Runs a command to its end and answers its wall time in milliseconds. */
export async function wallMs(argv: string[], env: NodeJS.ProcessEnv = process.env): Promise<number> {
  const begun = performance.now()
  const child = spawn(argv[0] as string, argv.slice(1), { env, stdio: 'ignore' })
  const code = await new Promise<number | null>((resolve, reject) => child.once('error', reject).once('exit', resolve))
  if (code !== 0) throw new Error(`${argv.join(' ')} ended with ${code}`)
  return performance.now() - begun
}

/** Starts a command and answers when its first line of stdout is there: the ready line of a role. */
export async function untilFirstLine(
  argv: string[],
  env: NodeJS.ProcessEnv
): Promise<{ child: ChildProcess; readyMs: number; line: string }> {
  const begun = performance.now()
  const child = boundToUs(spawn(argv[0] as string, argv.slice(1), { env, stdio: ['ignore', 'pipe', 'pipe'] }))
  let errors = ''
  child.stderr?.on('data', chunk => {
    errors = (errors + chunk).slice(-4096)
  })
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  const line = await new Promise<string>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`${argv.join(' ')} printed no line: ${errors}`)), START_LIMIT_MS)
    lines.once('line', text => {
      clearTimeout(late)
      resolve(text)
    })
    child.once('exit', code => reject(new Error(`${argv.join(' ')} ended with ${code}: ${errors}`)))
  })
  return { child, readyMs: performance.now() - begun, line }
}

/** Resident memory of a process, bytes (VmRSS of proc_pid_status(5)). */
export async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024
}

/** The most it ever had (VmHWM), bytes. */
export async function peakResidentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024
}

/** The kernel's clock of processor time towards programs, on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100

/** Processor time that a process and its threads have used, µs (utime and stime of proc_pid_stat(5)). */
export async function cpuTimeUs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  // The name, in parentheses, may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return ((Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND) * 1e6
}

/** SIGTERM, then SIGKILL when it does not end in time. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()))
  child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), END_LIMIT_MS)
  await ended
  clearTimeout(late)
}

/** A TCP port that was free a moment ago on 127.0.0.1. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise(resolve => server.close(resolve))
  return port
}
