/** What the netns runtime needs of this machine, asked of the machine. */
import { readFile } from 'node:fs/promises'
import { delimiter } from 'node:path'
import {
  CAPTURE_PROBE,
  CommandFailedError,
  capabilities,
  run,
  type ShapingMeans,
  shapingMeans
} from '../../netem/index.ts'
import { installCommand, isRoot, missingPackages, SEARCH_PATH } from './programs.ts'
import type { Missing } from './runtime.ts'

const PROBE_TIMEOUT_MS = 10_000

export interface NetnsProbe {
  /** Everything that stops the runtime here, empty when nothing does. */
  missing: Missing[]
  /** What shapes links, null when nothing can. */
  means: ShapingMeans | null
}

/**
 * `unshare` with everything a testnet is put in. `--kill-child`: its end is the supervisor's end.
 * Root needs no user namespace; `WARREN_USERNS=1` asks for one all the same.
 */
export function unshareArgv(): string[] {
  const user = isRoot() && process.env.WARREN_USERNS !== '1' ? [] : ['--user', '--map-root-user']
  return ['unshare', ...user, '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc']
}

/** The environment in which the lab's programs are found. */
export function toolEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: SEARCH_PATH.join(delimiter) }
}

let probed: Promise<NetnsProbe> | null = null

/** Asked once a process: a machine does not change under a command. `afresh` asks again. */
export async function probeNetns(options: { afresh?: boolean } = {}): Promise<NetnsProbe> {
  if (options.afresh === true) probed = null
  probed ??= probeNow()
  return await probed
}

async function probeNow(): Promise<NetnsProbe> {
  if (process.platform !== 'linux') {
    const why = `network namespaces are Linux's, this is ${process.platform}`
    return { missing: [{ what: 'Linux', why, fix: 'use RUNTIME=docker, or a Linux machine' }], means: null }
  }
  const packages = await missingPackages()
  if (packages.length > 0) {
    const fix = installCommand(packages)
    const why = 'programs that lay the networks out are not installed'
    return { missing: [{ what: packages.join(', '), why, fix }], means: null }
  }
  const [namespaces, reports] = await Promise.all([missingNamespaces(), capabilities()])
  const means = shapingMeans(reports)
  const needed = reports.filter(
    ({ what, has }) => !has && (what === 'nat' || (means === null && (what === 'nfqueue' || what === 'koffi')))
  )
  return { missing: namespaces.length > 0 ? namespaces : needed, means }
}

/** Why nothing can be recorded in a testnet's namespaces; null: it can. */
export async function whyNoCaptures(): Promise<string | null> {
  try {
    await run([...unshareArgv(), 'sh', '-c', CAPTURE_PROBE], { timeoutMs: PROBE_TIMEOUT_MS })
    return null
  } catch (error) {
    return error instanceof CommandFailedError ? error.stderr.trim() : String(error)
  }
}

async function missingNamespaces(): Promise<Missing[]> {
  try {
    await run([...unshareArgv(), 'mount', '-t', 'tmpfs', 'tmpfs', '/run'], { timeoutMs: PROBE_TIMEOUT_MS })
    return []
  } catch (error) {
    const said = error instanceof CommandFailedError ? error.stderr.trim() : String(error)
    return [{ what: 'namespaces', why: `the kernel does not allow them here: ${said}`, fix: await namespaceFix() }]
  }
}

/** The one command that allows namespaces, by what forbids them. */
async function namespaceFix(): Promise<string> {
  if (isRoot()) return 'run it outside this container, or start the container with --privileged'
  const knobs: Array<[file: string, forbidding: string, fix: string]> = [
    ['kernel/apparmor_restrict_unprivileged_userns', '1', 'kernel.apparmor_restrict_unprivileged_userns=0'],
    ['kernel/unprivileged_userns_clone', '0', 'kernel.unprivileged_userns_clone=1'],
    ['user/max_user_namespaces', '0', 'user.max_user_namespaces=15000']
  ]
  for (const [file, forbidding, fix] of knobs) {
    const value = await readFile(`/proc/sys/${file}`, 'utf8').catch(() => '')
    if (value.trim() === forbidding) return `sudo sysctl -w ${fix}`
  }
  return 'run it as root: sudo make testnet-up RUNTIME=netns'
}
