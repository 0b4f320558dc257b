/** A machine of its own in an emulator, with a program that says what it finds. The only caller of qemu. */
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Guest, writeInitrd } from '../../compose/index.ts'
import { HarnessError } from './errors.ts'
import { findProgram, installCommand } from './programs.ts'

export const EMULATOR = { program: 'qemu-system-x86_64', package: 'qemu-system-x86' }
const MEMORY_MIB = 1024
/** Translated code that the emulator keeps; without a limit it takes a gigabyte. */
const CODE_CACHE_MIB = 256
/**
 * The guest's clock counts its instructions, 2^n nanoseconds each, and leaps over idleness: a busy or slow machine
 * makes a run longer, and what is measured inside no different.
 */
const NS_PER_INSTRUCTION_LOG2 = 0

/** Why no guest can run here and the one command that mends it, or null. */
export async function whyNoGuest(): Promise<{ why: string; fix: string } | null> {
  if (process.arch !== 'x64') return { why: `guests are x86-64, this is ${process.arch}`, fix: 'use an x86-64 machine' }
  const needed: Array<[program: string, name: string]> = [
    [EMULATOR.program, EMULATOR.package],
    ['setpriv', 'util-linux'],
    ['dpkg-deb', 'dpkg'],
    ['apt-get', 'apt']
  ]
  const found = await Promise.all(needed.map(([program]) => findProgram(program)))
  const missing = needed.filter((_, index) => found[index] === null)
  if (missing.length === 0) return null
  return {
    why: `not installed: ${missing.map(([program]) => program).join(', ')}`,
    fix: installCommand(missing.map(([, name]) => name))
  }
}

/** The emulator's command: no disk, no network device, first serial port to a file, the second to standard output. */
export function guestArgv(kernel: string, initrd: string, consoleFile: string): string[] {
  return [
    // Whatever becomes of the harness, the guest ends with it.
    ...['setpriv', '--pdeathsig', 'KILL', EMULATOR.program],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...[
      '-machine',
      'pc',
      '-accel',
      `tcg,tb-size=${CODE_CACHE_MIB}`,
      '-m',
      `${MEMORY_MIB}`,
      '-smp',
      '1',
      '-nic',
      'none'
    ],
    ...['-icount', `shift=${NS_PER_INSTRUCTION_LOG2},sleep=off`, '-rtc', 'clock=vm'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 quiet panic=-1'],
    ...['-serial', `file:${consoleFile}`, '-serial', 'stdio']
  ]
}

/** What a line of the guest's port says, or null when it is no JSON object: boot noise, half a line. */
export function wordOf(line: string): Record<string, unknown> | null {
  try {
    const word: unknown = JSON.parse(line)
    return typeof word === 'object' && word !== null && !Array.isArray(word) ? (word as Record<string, unknown>) : null
  } catch {
    return null
  }
}

/** Thrown when a guest did not reach its program's end. */
export class GuestFailedError extends HarnessError {
  constructor(how: string, consoleFile: string, said: string) {
    super('GUEST_FAILED', `the guest ${how}; its console is ${consoleFile}${said === '' ? '' : `: ${said}`}`)
  }
}

export interface GuestRun {
  /** A bundled program, run by Node in namespaces of its own; each object it prints as a line of JSON is a word. */
  program: Uint8Array
  /** JSON that it finds in `/guest/input.json`. */
  input: unknown
  /** Where the guest's console goes. */
  consoleFile: string
  /** Hard limit, milliseconds of this machine's clock. */
  withinMs: number
  onWord: (word: Record<string, unknown>) => void
  signal: AbortSignal
}

/**
 * Boot, run the program, power off. The emulator is gone when this settles.
 * @throws GuestFailedError when the program ended with anything but 0, or never did; the signal's reason
 */
export async function runGuest(guest: Guest, run: GuestRun): Promise<void> {
  const { consoleFile, withinMs, signal } = run
  const folder = await mkdtemp(join(tmpdir(), 'warren-guest-'))
  try {
    const initrd = join(folder, 'initrd')
    const files = { 'guest/program.js': run.program, 'guest/input.json': Buffer.from(JSON.stringify(run.input)) }
    await writeInitrd(initrd, guest, files)
    signal.throwIfAborted()
    const [command, ...args] = guestArgv(guest.kernel, initrd, consoleFile)
    const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: withinMs, killSignal: 'SIGKILL' })
    const stop = (): void => void child.kill('SIGKILL')
    signal.addEventListener('abort', stop, { once: true })
    let complaint = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-2000)
    })
    let ended: unknown
    const lines = createInterface({ input: child.stdout })
    lines.on('line', line => {
      const word = wordOf(line)
      if (word === null) return
      if ('ended' in word) ended = word.ended
      else run.onWord(word)
    })
    const { promise: closed, resolve, reject } = Promise.withResolvers<NodeJS.Signals | null>()
    child.once('error', reject)
    child.once('close', (_, killedBy) => resolve(killedBy))
    const killedBy = await closed.finally(() => signal.removeEventListener('abort', stop))
    signal.throwIfAborted()
    if (killedBy !== null)
      throw new GuestFailedError(`was ended (${killedBy}, limit ${withinMs} ms)`, consoleFile, complaint)
    if (ended !== 0)
      throw new GuestFailedError(`did not end well (${JSON.stringify(ended ?? null)})`, consoleFile, complaint)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
