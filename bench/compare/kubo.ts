/** Kubo, built with the machine's own Go, whose modules come by its ordinary client; it speaks to this machine alone. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { CommandFailedError, run } from '../../netem/index.ts'
import { boundToUs, freePort } from '../processes.ts'
import { ensureTool, type Tool } from './tools.ts'

const SOURCE = join(import.meta.dirname, 'kubo')
const PACKAGE = 'github.com/ipfs/kubo/cmd/ipfs'
const PROGRAM = 'ipfs'
const VERSION_TIMEOUT_MS = 30_000
/** The first time, from an empty cache. */
const DOWNLOAD_TIMEOUT_MS = 600_000
const BUILD_TIMEOUT_MS = 1_800_000
const START_LIMIT_MS = 60_000
const LOOK_EVERY_MS = 100

/** Builds it, once; that takes minutes and some GiB of memory. */
export async function ensureKubo(say: (text: string) => void): Promise<Tool> {
  // Static, and never another toolchain than the one that is here: `go.mod` says which one it needs.
  const go = (args: string[], timeoutMs: number) =>
    run(['env', '-C', SOURCE, 'CGO_ENABLED=0', 'GOTOOLCHAIN=local', 'GOFLAGS=-buildvcs=false', 'go', ...args], {
      timeoutMs
    })
  let version: string
  try {
    version = (await go(['env', 'GOVERSION'], VERSION_TIMEOUT_MS)).stdout.trim()
  } catch (error) {
    if (!(error instanceof CommandFailedError)) throw error
    return { missing: 'go is not installed; install the version that bench/compare/kubo/go.mod names' }
  }
  return await ensureTool({
    name: 'kubo',
    sources: ['go.mod', 'go.sum'].map(file => join(SOURCE, file)),
    words: [version, process.arch],
    async make(folder) {
      say('building Kubo, once: this takes minutes')
      await go(['mod', 'download'], DOWNLOAD_TIMEOUT_MS)
      await go(['build', '-ldflags=-s -w', '-o', join(folder, PROGRAM), PACKAGE], BUILD_TIMEOUT_MS)
    }
  })
}

/** What of its configuration is read and changed here. */
export interface KuboConfig {
  Addresses: { API: string; Gateway: string[]; Swarm: string[] }
  Provide?: { Enabled?: boolean }
  Datastore: { Spec: { mounts: Array<{ type: string; sync?: boolean }> } }
  [other: string]: unknown
}

/** The configuration of `ipfs init --profile=test`, made to listen for the API alone; with every block synced or not. */
export function configured(config: KuboConfig, port: number, isSynced: boolean): KuboConfig {
  const { mounts } = config.Datastore.Spec
  if (!mounts.some(({ type }) => type === 'flatfs'))
    throw new Error('Kubo keeps its blocks in something else than flatfs')
  return {
    ...config,
    Addresses: { ...config.Addresses, API: `/ip4/127.0.0.1/tcp/${port}`, Gateway: [], Swarm: [] },
    Provide: { ...config.Provide, Enabled: false },
    Datastore: {
      ...config.Datastore,
      Spec: {
        ...config.Datastore.Spec,
        mounts: mounts.map(mount => (mount.type === 'flatfs' ? { ...mount, sync: isSynced } : mount))
      }
    }
  }
}

/** Starts it over a repository of its own at `repository`, which does not exist yet; `port` is of its RPC API. */
export async function startKubo(
  home: string,
  repository: string,
  isSynced: boolean
): Promise<{ child: ChildProcess; port: number }> {
  const program = join(home, PROGRAM)
  const own = { IPFS_PATH: repository, IPFS_TELEMETRY: 'off' }
  const words = Object.entries(own).map(([name, value]) => `${name}=${value}`)
  await run(['env', ...words, program, 'init', '--profile=test', '--empty-repo'])
  const port = await freePort()
  const path = join(repository, 'config')
  const config = JSON.parse(await readFile(path, 'utf8')) as KuboConfig
  await writeFile(path, JSON.stringify(configured(config, port, isSynced)))
  const child = boundToUs(
    spawn(program, ['daemon', '--offline'], {
      env: { ...process.env, ...own },
      stdio: ['ignore', 'ignore', 'pipe']
    })
  )
  let errors = ''
  child.stderr?.on('data', text => {
    errors = (errors + text).slice(-2000)
  })
  const deadline = performance.now() + START_LIMIT_MS
  while (!(await answers(port))) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`Kubo does not listen: ${errors}`)
    await delay(LOOK_EVERY_MS)
  }
  return { child, port }
}

const answers = (port: number): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}/api/v0/version`, { method: 'POST' }).then(
    ({ ok }) => ok,
    () => false
  )
