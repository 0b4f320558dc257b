/** What the testnet that is up does now. */
import { type Endpoints, endpointsOf } from './endpoints.ts'
import { NoTestnetError } from './errors.ts'
import { readiness } from './ready.ts'
import { currentRecord, readPlan, runFolder } from './run-record.ts'
import type { HostStatus, Testnet } from './runtime.ts'
import { runtimeNamed } from './runtimes.ts'
import { pageOf, statusTable } from './table.ts'

/** `status --json`: the endpoints, and of each host what it does. */
export interface StatusReport extends Omit<Endpoints, 'hosts'> {
  topology: string
  startedAt: string
  invalid: string[]
  hosts: Record<string, Endpoints['hosts'][string] & HostStatus & { ready: boolean; waiting: string[] }>
}

/**
 * The testnet that is up.
 * @throws NoTestnetError
 */
export async function attachCurrent(): Promise<{ testnet: Testnet; startedAt: string; run: string }> {
  const record = await currentRecord()
  const plan = record === null ? null : await readPlan(record.run)
  if (record === null || plan === null || record.state !== 'up') throw new NoTestnetError()
  const runtime = await runtimeNamed(record.runtime)
  const testnet = await runtime.attach(plan, { folder: runFolder(record.run), run: record.run })
  return { testnet, startedAt: record.startedAt, run: record.run }
}

export async function look(): Promise<{ report: StatusReport; text: string }> {
  const { testnet, startedAt, run } = await attachCurrent()
  const status = await testnet.status()
  const waiting = new Map<string, string[]>()
  await Promise.all(
    testnet.hosts().map(async host => {
      const { name } = host.planned
      // A paused process holds its connections open without a word: only what runs is asked.
      const reasons = status.hosts[name]?.state === 'running' ? await readiness(host) : ['not running']
      if (reasons !== null) waiting.set(name, reasons)
    })
  )
  const endpoints = endpointsOf(testnet.plan, run, testnet.runtime)
  const hosts = Object.entries(endpoints.hosts).map(([name, endpoint]) => {
    const now: HostStatus = status.hosts[name] ?? {
      state: 'dead',
      cut: false,
      unplugged: false,
      network: '',
      deaths: []
    }
    return [name, { ...endpoint, ...now, ready: !waiting.has(name), waiting: waiting.get(name) ?? [] }] as const
  })
  const report: StatusReport = {
    ...endpoints,
    topology: testnet.plan.topology,
    startedAt,
    invalid: status.invalid,
    hosts: Object.fromEntries(hosts)
  }
  const lines = [
    `${report.topology} on ${report.runtime}, run ${run}, seed ${report.seed}, slot ${report.slot}, since ${startedAt}`
  ]
  lines.push(statusTable(testnet.plan, status, waiting))
  for (const [name, { deaths }] of hosts)
    if (deaths.length > 0) lines.push(`${name} ended unasked: ${deaths.join(', ')}`)
  const page = pageOf(endpoints)
  if (page !== null) lines.push(page)
  for (const why of status.invalid) lines.push(`INVALID: ${why}; nothing measured since can be believed`)
  return { report, text: lines.join('\n') }
}
