/** Facts about processes of this machine, read from /proc. A pid is trusted only together with its start time. */
import { readFile } from 'node:fs/promises'

/** A process for good: pids are reused, start times (clock ticks since boot) are not. */
export interface ProcessIdentity {
  pid: number
  startTicks: string
}

/** Identity of a running process, or null when there is none of that pid (a zombie counts as none). */
export async function identify(pid: number): Promise<ProcessIdentity | null> {
  let stat: string
  try {
    stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return null
  }
  // proc(5): the command in parentheses may hold anything, the fields after it are plain; state is 3, starttime 22.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state] = fields
  const startTicks = fields[19]
  return state === 'Z' || state === 'X' || startTicks === undefined ? null : { pid, startTicks }
}

/** Whether that very process still runs. */
export async function alive(process: ProcessIdentity | null): Promise<boolean> {
  if (process === null) return false
  return (await identify(process.pid))?.startTicks === process.startTicks
}

/** SIGKILL to that very process, if it still runs. */
export async function killIdentified(process_: ProcessIdentity | null): Promise<void> {
  if (process_ === null || !(await alive(process_))) return
  try {
    process.kill(process_.pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Ports on which anything of this machine listens by TCP, IPv4 and IPv6. */
export async function listeningPorts(): Promise<Set<number>> {
  const ports = new Set<number>()
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    const text = await readFile(file, 'utf8').catch(() => '')
    for (const line of text.split('\n').slice(1)) {
      // proc_net_tcp: sl local_address rem_address st …; state 0A is LISTEN.
      const [, local, , state] = line.trim().split(/\s+/)
      if (state === '0A' && local !== undefined) ports.add(Number.parseInt(local.split(':')[1] ?? '', 16))
    }
  }
  return ports
}
