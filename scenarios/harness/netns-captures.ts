/** Captures and tables of a netns testnet; runs in the supervisor, inside the namespaces. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  argvIn,
  CAPTURE_READY,
  CAPTURE_TOOLS,
  type CaptureOwner,
  captureArgv,
  captureOwners,
  type Plan,
  run,
  tableDumps
} from '../../netem/index.ts'
import { CaptureFailedError } from './errors.ts'
import { findProgram, installCommand } from './programs.ts'

/** A capture begins within milliseconds; a machine may be busy. */
const START_TIMEOUT_MS = 30_000
/** A look ends by itself; one that does not is stuck. */
const LOOK_GRACE_MS = 5000
const SAID_LIMIT_CHARACTERS = 2000

/**
 * Record every interface until the namespaces end. Resolves when no packet is missed any more.
 * @param ended hears of a recording that ended before
 * @throws CaptureFailedError
 */
export async function startCaptures(plan: Plan, folder: string, ended: (owner: string) => void): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await Promise.all(captureOwners(plan).map(async owner => await startCapture(owner, folder, ended)))
}

async function startCapture(owner: CaptureOwner, folder: string, ended: (owner: string) => void): Promise<void> {
  const [command, ...args] = argvIn(owner.owner, captureArgv(owner, folder, 'ring'))
  const child = spawn(command!, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let said = ''
  const failed = (): void => reject(new CaptureFailedError(owner.owner, said.trim()))
  const deadline = setTimeout(failed, START_TIMEOUT_MS)
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-SAID_LIMIT_CHARACTERS)
    if (said.split(CAPTURE_READY).length > owner.interfaces.length) resolve()
  })
  child.once('error', failed)
  child.once('exit', () => {
    failed()
    ended(owner.owner)
  })
  try {
    await promise
  } finally {
    clearTimeout(deadline)
  }
}

/** See `Testnet.evidence`. */
export async function takeEvidence(plan: Plan, folder: string, lookMs: number): Promise<string[]> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const missing: string[] = []
  const here = new Set<string>()
  for (const tool of CAPTURE_TOOLS) {
    if ((await findProgram(tool)) !== null) here.add(tool)
    else missing.push(`${tool} is not installed: ${installCommand([tool])}`)
  }
  const tables = plan.routers.flatMap(({ name }) => tableDumps(name).map(dump => ({ ...dump, router: name })))
  await Promise.all([
    ...tables
      .filter(({ argv }) => argv[0] !== 'conntrack' || here.has('conntrack'))
      .map(async ({ file, argv, router }) => {
        try {
          await writeFile(join(folder, file), (await run(argvIn(router, argv))).stdout, { mode: 0o600 })
        } catch (error) {
          missing.push(`${file}: ${(error as Error).message}`)
        }
      }),
    ...(lookMs === 0 || !here.has('tcpdump') ? [] : captureOwners(plan)).map(async owner => {
      const said = await look(owner, folder, lookMs)
      if (said !== null) missing.push(`packets of ${owner.owner}: ${said}`)
    })
  ])
  return missing
}

/** @returns why it could not be looked at; null when it was */
async function look(owner: CaptureOwner, folder: string, lookMs: number): Promise<string | null> {
  const timeoutMs = lookMs + LOOK_GRACE_MS
  const [command, ...args] = argvIn(owner.owner, captureArgv(owner, folder, { lookMs }))
  const child: ChildProcess = spawn(command!, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: timeoutMs })
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-SAID_LIMIT_CHARACTERS)
  })
  await new Promise<void>(resolve => {
    child.once('error', () => resolve())
    child.once('close', () => resolve())
  })
  return said.split(CAPTURE_READY).length > owner.interfaces.length ? null : said.trim() || 'nothing was said'
}
