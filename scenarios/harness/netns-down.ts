/** Remove a netns testnet in whatever state it is, and look whether anything of it is left. */
import { readdir, readFile, readlink, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Plan } from '../../netem/index.ts'
import { callKeeper, keeperSocketPath, readKeeperRecord } from './netns-client.ts'
import type { KeeperRecord } from './netns-protocol.ts'
import { alive, killIdentified, listeningPorts } from './processes.ts'
import type { Progress } from './runtime.ts'

/** The kernel ends a PID namespace's processes at once; this is for a machine out of breath. */
const GONE_WITHIN_MS = 10_000
const LOOK_EVERY_MS = 20

/** @returns what is still there in plain words, empty when nothing is */
export async function removeNetns(folder: string, plan: Plan, progress?: Progress): Promise<string[]> {
  const record = await readKeeperRecord(folder)
  if (record !== null) {
    const ended = progress?.stage('End every process')
    if (await alive(record.keeper)) await callKeeper(record.socket, { method: 'down' }).catch(() => undefined)
    await killIdentified(record.unshare)
    await killIdentified(record.keeper)
    ended?.()
  }
  const removed = progress?.stage('Remove data and keys')
  await Promise.all(['data', 'secrets'].map(name => rm(join(folder, name), { recursive: true, force: true })))
  await rm(record?.socket ?? keeperSocketPath(folder, basename(folder)), { force: true })
  removed?.()
  const deadline = Date.now() + GONE_WITHIN_MS
  let left = await leftovers(folder, plan, record)
  while (left.length > 0 && Date.now() < deadline) {
    await delay(LOOK_EVERY_MS)
    left = await leftovers(folder, plan, record)
  }
  if (left.length === 0) await rm(join(folder, 'keeper.json'), { force: true })
  return left
}

/** Processes, namespaces, mounts, ports and files of the testnet that this machine still has. */
async function leftovers(folder: string, plan: Plan, record: KeeperRecord | null): Promise<string[]> {
  const left: string[] = []
  if (record !== null) {
    if (await alive(record.keeper)) left.push(`process ${record.keeper.pid} (keeper)`)
    if (await alive(record.unshare)) left.push(`process ${record.unshare!.pid} (unshare)`)
    left.push(...(await membersOf(record.namespaces ?? [])))
  }
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter(line => line.includes(folder))
  left.push(...mounts.map(line => `mount ${line.split(' ')[4]}`))
  // A port someone else took meanwhile would be no leftover of ours, but nobody of ours is left to tell them apart.
  if (left.length > 0) {
    const listening = await listeningPorts()
    left.push(
      ...plan.hosts
        .filter(host => listening.has(host.controlPort))
        .map(host => `port ${host.controlPort} (${host.name})`)
    )
  }
  for (const name of ['data', 'secrets']) {
    if ((await readdir(join(folder, name)).catch(() => null)) !== null) left.push(`folder ${join(folder, name)}`)
  }
  return left
}

/** A namespace lives while a process is in it (nothing outside binds ours), so its processes are its proof. */
async function membersOf(namespaces: string[]): Promise<string[]> {
  if (namespaces.length === 0) return []
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name))
  const found = await Promise.all(
    pids.map(async pid => {
      const own = await Promise.all(
        ['pid', 'mnt', 'net'].map(kind => readlink(`/proc/${pid}/ns/${kind}`).catch(() => ''))
      )
      const shared = own.filter(namespace => namespaces.includes(namespace))
      return shared.length === 0 ? [] : [`process ${pid} in namespace ${shared.join(', ')}`]
    })
  )
  return found.flat()
}
