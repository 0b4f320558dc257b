/**
 * A writer whose system calls can be made to fail. It does its file work on one thread (UV_THREADPOOL_SIZE=1); strace is
 * attached to that thread alone and after the start, so that the nth call is one of the store's and not of Node's start.
 */
import { spawn, spawnSync } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** Names as in the system's manual; one stands for all calls that do the same with other arguments. */
export const CALLS: Readonly<Record<string, string>> = {
  openat: 'openat',
  write: 'write',
  pwrite64: 'pwrite64,pwritev,writev',
  fdatasync: 'fdatasync',
  fsync: 'fsync',
  rename: 'rename,renameat,renameat2',
  unlink: 'unlink,unlinkat'
}
export const FAULTS = ['EIO', 'ENOSPC', 'kill'] as const
export type Fault = (typeof FAULTS)[number]

const ATTACH_TIMEOUT_MS = 10_000
const ANSWER_TIMEOUT_MS = 20_000

/** An answer of the writer. Times in milliseconds since 1970, with fractions. */
export type Answer = { beganMs: number; endedMs: number } & ({ ok: true; cid: string } | { ok: false; code: string })

export interface Writer {
  readonly pid: number
  /** null: it ended before it answered. */
  ask: (line: string) => Promise<Answer | null>
  ended: () => boolean
  end: () => Promise<void>
}

/** A call that failed, or that the process was killed in. */
export interface Injected {
  atMs: number
  /** The file it was on, by its descriptor or its argument; null when the log does not say. */
  path: string | null
  fault: Fault
  text: string
}

export interface Tracer {
  injected: () => Promise<Injected[]>
  /** The file of each call so far. */
  calls: () => Promise<Array<string | null>>
  detach: () => Promise<void>
}

export async function startWriter({ packed = false } = {}): Promise<Writer> {
  const program = fileURLToPath(new URL('./writer.ts', import.meta.url))
  const child = spawn(process.execPath, [program, '--asked', ...(packed ? ['--packed'] : [])], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' }
  })
  let over = false
  const waiting: Array<(line: string | null) => void> = []
  const exited = new Promise<void>(resolve => child.once('exit', () => resolve()))
  child.stdin.on('error', () => {})
  const lines = createInterface({ input: child.stdout })
  lines.on('line', line => waiting.shift()?.(line))
  lines.once('close', () => {
    over = true
    for (const resolve of waiting.splice(0)) resolve(null)
  })
  const nextLine = (): Promise<string | null> => {
    if (over) return Promise.resolve(null)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('the writer does not answer')), ANSWER_TIMEOUT_MS)
      waiting.push(line => {
        clearTimeout(timer)
        resolve(line)
      })
    })
  }
  if ((await nextLine()) !== 'ready') throw new Error('the writer does not start')
  return {
    pid: child.pid!,
    ask: async line => {
      const answer = nextLine()
      child.stdin.write(`${line}\n`)
      const text = await answer
      if (text === null) {
        await exited
        return null
      }
      const [began, ended, sign, subject = ''] = text.split(' ')
      const times = { beganMs: Number(began), endedMs: Number(ended) }
      return sign === '!' ? { ...times, ok: false, code: subject } : { ...times, ok: true, cid: subject }
    },
    ended: () => over,
    end: async () => {
      child.kill('SIGKILL')
      await exited
    }
  }
}

/** Have the nth call fail from now on; `fault` null only counts. Resolves when the thread is traced. */
export async function attach(
  writer: Writer,
  { call, fault, nth, log }: { call: string; fault: Fault | null; nth: number; log: string }
): Promise<Tracer> {
  const names = CALLS[call]!
  const what = fault === 'kill' ? 'signal=SIGKILL' : `error=${fault}`
  const inject = fault === null ? [] : ['-e', `inject=${names}:${what}:when=${nth}`]
  const args = [
    '-p',
    await fileThread(writer.pid),
    '-y',
    '-ttt',
    '-s',
    '0',
    '-o',
    log,
    '-e',
    `trace=${names}`,
    ...inject
  ]
  const strace = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const exited = new Promise<void>(resolve => strace.once('exit', () => resolve()))
  await new Promise<void>((resolve, reject) => {
    let said = ''
    const timer = setTimeout(() => reject(new Error(`strace does not attach: ${said}`)), ATTACH_TIMEOUT_MS)
    strace.stderr.on('data', (bytes: Buffer) => {
      said += bytes
      if (!said.includes('attached')) return
      clearTimeout(timer)
      resolve()
    })
    void exited.then(() => reject(new Error(`strace ended: ${said}`)))
  })
  const lines = async () => (await readFile(log, 'utf8').catch(() => '')).split('\n').filter(line => line.includes('('))
  return {
    injected: async () => {
      const all = await lines()
      // A killed call has no result, or one that was never seen: it is the last line.
      const hit =
        fault === 'kill' ? (writer.ended() ? all.slice(-1) : []) : all.filter(line => line.includes('(INJECTED)'))
      return hit.map(text => ({ atMs: Number(text.split(' ')[0]) * 1000, path: pathOf(text), fault: fault!, text }))
    },
    calls: async () => (await lines()).map(pathOf),
    detach: async () => {
      strace.kill('SIGTERM')
      await exited
    }
  }
}

/** Why this machine cannot do it; null: it can. */
export async function whyNot(): Promise<string | null> {
  if (spawnSync('strace', ['-V']).error) return 'strace is missing (apt-get install strace)'
  const writer = await startWriter()
  try {
    const tracer = await attach(writer, { call: 'unlink', fault: null, nth: 0, log: '/dev/null' })
    await tracer.detach()
    return null
  } catch (error) {
    return `a process cannot be traced here: ${(error as Error).message.trim()}`
  } finally {
    await writer.end()
  }
}

/** The thread that libuv does file work on; it is there once there was any. */
async function fileThread(pid: number): Promise<string> {
  for (const tid of await readdir(`/proc/${pid}/task`)) {
    const name = (await readFile(`/proc/${pid}/task/${tid}/comm`, 'utf8')).trim()
    if (name === 'libuv-worker') return tid
  }
  throw new Error(`process ${pid} has no thread for files`)
}

/** The file of a line of strace -y: `rename("/path", …)`, `openat(AT_FDCWD</here>, "/path", …)` or `fdatasync(21</path>)`. */
function pathOf(line: string): string | null {
  return (/"(\/[^"]*)"/.exec(line) ?? /<(\/[^>]*)>/.exec(line))?.[1] ?? null
}
