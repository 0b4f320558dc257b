/** Runs a router's port mapping daemon, watches it, and makes it forget where a fault asks for that. The only caller of miniupnpd. */
import { createHash } from 'node:crypto'
import { type FSWatcher, readFileSync, watch } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { DaemonDiedError } from './daemons.ts'
import { type Run, run as runCommand } from './exec.ts'
import {
  GRANTED_CHAIN,
  handlesOf,
  PCP_PORT,
  type PlannedPortMapping,
  PORT_MAPPING_TABLE,
  type PortMapperPlace,
  portMapperConfig,
  readLeases,
  SSDP_PORT,
  UPNP_HTTP_PORT
} from './port-mapping.ts'

/** The daemon's program, and the Debian package that brings it. */
export const PORT_MAPPER = { program: 'miniupnpd', package: 'miniupnpd-nftables' } as const
/** It listens within milliseconds; a machine may be busy. */
const START_TIMEOUT_MS = 20_000
const START_LOOK_EVERY_MS = 20
/** How soon its death is seen. */
const WATCH_EVERY_MS = 500
/** SIGTERM to SIGKILL. */
const STOP_TIMEOUT_MS = 2000
const MS_PER_S = 1000
/** State of a listening TCP socket in /proc/net/tcp. */
const LISTENING = '0A'
const LEASE_FILE = 'leases'
const UUID_GROUPS = [8, 4, 4, 4, 12]

export interface PortMapper {
  readonly pid: number
  /** End it; `onDeath` is not told. Idempotent. */
  stop: () => Promise<void>
}

export interface PortMapperInit {
  /** Its name in the plan. */
  router: string
  portMapping: PlannedPortMapping
  place: Omit<PortMapperPlace, 'leaseFile' | 'uuid'>
  /** A folder of its own for configuration and leases; made when it is not there. */
  folder: string
  /** Makes an argv run inside the router's network. */
  inside: (argv: string[]) => string[]
  /** Told once when the daemon ends without having been stopped. */
  onDeath: (error: DaemonDiedError) => void
  run?: Run
}

/**
 * Start the daemon; its table (`portMappingRuleset`) must be loaded. Resolves when it listens.
 * @throws DaemonDiedError when it does not come up
 */
export async function startPortMapper(init: PortMapperInit): Promise<PortMapper> {
  const { router, portMapping, folder, inside, onDeath, run = runCommand } = init
  await mkdir(folder, { recursive: true })
  const name = `the port mapping daemon of ${router}`
  const leaseFile = join(folder, LEASE_FILE)
  await writeFile(leaseFile, '')
  const pidFile = join(folder, 'pid')
  await rm(pidFile, { force: true })
  const config = join(folder, 'miniupnpd.conf')
  await writeFile(config, portMapperConfig(portMapping, { ...init.place, leaseFile, uuid: uuidOf(router) }))
  // Not in its foreground (-d): there it logs a line for each of 65,535 ports that it refuses a request, and needs seconds.
  await run(inside([PORT_MAPPER.program, '-f', config, '-P', pidFile])).catch((error: Error) => {
    throw new DaemonDiedError(name, 'could not be started', error.message)
  })
  const pid = await listening(portMapping, pidFile)
  if (pid === null) {
    throw new DaemonDiedError(name, `did not listen within ${START_TIMEOUT_MS} ms`, '')
  }
  let isOver = false
  const end = (): void => {
    isOver = true
    clearInterval(watching)
    forgetting?.()
  }
  const over = (why: string): void => {
    if (isOver) return
    end()
    onDeath(new DaemonDiedError(name, why, ''))
  }
  const forgetting = portMapping.fault === 'short-lease' ? forgetEarly(init, leaseFile, over) : null
  const watching = setInterval(() => {
    if (!isAlive(pid)) over('ended by itself')
  }, WATCH_EVERY_MS)
  watching.unref()
  return {
    pid,
    stop: async () => {
      end()
      await endProcess(pid)
    }
  }
}

/** Its process id once it listens for everything it shall speak; null: it never did. */
async function listening({ protocols }: PlannedPortMapping, pidFile: string): Promise<number | null> {
  const hasPort = async (pid: number, table: 'tcp' | 'udp', port: number): Promise<boolean> => {
    const sockets = await readFile(`/proc/${pid}/net/${table}`, 'utf8').catch(() => '')
    const end = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
    return sockets.split('\n').some(line => {
      const [, local = '', , state] = line.trim().split(/\s+/)
      return local.endsWith(end) && (table === 'udp' || state === LISTENING)
    })
  }
  const endMs = performance.now() + START_TIMEOUT_MS
  while (performance.now() < endMs) {
    const pid = Number(await readFile(pidFile, 'utf8').catch(() => '0'))
    const wanted: Array<Promise<boolean>> = []
    if (protocols.includes('upnp')) wanted.push(hasPort(pid, 'tcp', UPNP_HTTP_PORT), hasPort(pid, 'udp', SSDP_PORT))
    if (protocols.some(protocol => protocol !== 'upnp')) wanted.push(hasPort(pid, 'udp', PCP_PORT))
    if (pid > 0 && (await Promise.all(wanted)).every(Boolean)) return pid
    await delay(START_LOOK_EVERY_MS)
  }
  return null
}

/** A daemon's parent is process 1, which may be one that does not collect the dead. */
function isAlive(pid: number): boolean {
  try {
    const [state] = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '')
    return state !== 'Z' && state !== 'X'
  } catch {
    return false
  }
}

async function endProcess(pid: number): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (!isAlive(pid)) return
    process.kill(pid, signal)
    const endMs = performance.now() + STOP_TIMEOUT_MS
    while (isAlive(pid) && performance.now() < endMs) await delay(START_LOOK_EVERY_MS)
  }
}

/** The same name, the same device. */
function uuidOf(router: string): string {
  let hex = createHash('sha256').update(router).digest('hex')
  return UUID_GROUPS.map(length => {
    const group = hex.slice(0, length)
    hex = hex.slice(length)
    return group
  }).join('-')
}

/**
 * Take each mapping's rule away `leaseS` after it was granted or renewed, whatever was promised. Flows that go through
 * it already stay, as in routers whose table of flows is another than that of mappings.
 * @returns ends it
 */
function forgetEarly(init: PortMapperInit, leaseFile: string, broken: (why: string) => void): () => void {
  const { inside, folder, run = runCommand } = init
  const leaseMs = init.portMapping.leaseS! * MS_PER_S
  const known = new Map<string, { said: string; timer: NodeJS.Timeout }>()
  let isOver = false
  const guarded = (act: Promise<void>): void =>
    void act.catch((error: Error) => {
      if (!isOver) broken(`cannot forget its mappings: ${error.message}`)
    })

  const look = async (): Promise<void> => {
    // Between the daemon's removal and its rename there is no file for a moment; the next event brings it.
    const leases = readLeases(await readFile(leaseFile, 'utf8').catch(() => ''))
    if (isOver) return
    for (const [key, lease] of leases) {
      const before = known.get(key)
      if (before?.said === lease.said) continue
      clearTimeout(before?.timer)
      const forget = async (): Promise<void> => {
        const { stdout } = await run(inside(['nft', '-a', 'list', 'chain', 'inet', PORT_MAPPING_TABLE, GRANTED_CHAIN]))
        for (const handle of handlesOf(stdout, lease)) {
          const rule = ['inet', PORT_MAPPING_TABLE, GRANTED_CHAIN, 'handle', String(handle)]
          await run(inside(['nft', 'delete', 'rule', ...rule]))
        }
      }
      known.set(key, { said: lease.said, timer: setTimeout(() => guarded(forget()), leaseMs) })
    }
  }
  // The folder, not the file: the daemon replaces it.
  const watcher: FSWatcher = watch(folder, (_, name) => {
    if (name === LEASE_FILE) guarded(look())
  })
  watcher.on('error', error => broken(`cannot be watched: ${error.message}`))
  return () => {
    isOver = true
    watcher.close()
    for (const { timer } of known.values()) clearTimeout(timer)
  }
}
