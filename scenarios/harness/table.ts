/** Tables and last words for people. */
import Table from 'cli-table3'
import type { Plan, PlannedHost } from '../../netem/index.ts'
import type { Endpoints } from './endpoints.ts'
import type { HostStatus, TestnetStatus } from './runtime.ts'

const natOf = (host: PlannedHost): string => (host.nat === null ? '-' : `${host.nat} (${host.natKind})`)
const urlOf = (host: PlannedHost): string => `http://127.0.0.1:${host.controlPort}`

/** Without colours where nobody would see them. */
export function tableStyle(): { compact: boolean; head: string[]; border: string[] } {
  const isSeen = process.stdout.isTTY === true
  return { compact: true, head: isSeen ? ['bold'] : [], border: isSeen ? ['gray'] : [] }
}

function table(head: string[], rows: string[][]): string {
  const made = new Table({ head, style: tableStyle() })
  made.push(...rows)
  return made.toString()
}

/** Hosts, roles, addresses, NATs and URLs of a plan. */
export function hostTable(plan: Plan): string {
  return table(
    ['host', 'role', 'network', 'address', 'NAT', 'URL'],
    plan.hosts.map(host => [
      host.name,
      host.role,
      host.attachment.network,
      host.isIpv6Only ? host.attachment.ipv6! : host.attachment.address,
      natOf(host),
      urlOf(host)
    ])
  )
}

/** The same with what runs now. `waiting`: what each host that is not ready waits for. */
export function statusTable(plan: Plan, status: TestnetStatus, waiting: Map<string, string[]>): string {
  return table(
    ['host', 'role', 'NAT', 'state', 'ready', 'URL'],
    plan.hosts.map(host => {
      const now = status.hosts[host.name]
      const state = now?.state ?? 'dead'
      const reasons = waiting.get(host.name)
      const ready = state !== 'running' ? 'no' : reasons === undefined ? 'yes' : `no: ${reasons.join(', ')}`
      return [host.name, host.role, natOf(host), [state, ...perturbed(host, now)].join(', '), ready, urlOf(host)]
    })
  )
}

function perturbed({ attachment }: PlannedHost, now: HostStatus | undefined): string[] {
  if (now === undefined) return []
  return [
    ...(now.cut ? ['cut'] : []),
    ...(now.unplugged ? ['unplugged'] : []),
    ...(now.network === attachment.network ? [] : [`on ${now.network}`])
  ]
}

/** The one page that shows the testnet, where it has one. */
export function pageOf({ gateways: [gateway], hosts }: Pick<Endpoints, 'gateways' | 'hosts'>): string | null {
  if (gateway !== undefined) return `Open ${gateway}/ to watch it.`
  const node = Object.values(hosts).find(({ role }) => role === 'node')
  return node === undefined ? null : `Open ${node.control}/ to watch a node.`
}

/** What to do next, after the table. */
export function nextSteps(endpoints: Endpoints): string {
  const [gateway] = endpoints.gateways
  const node = Object.entries(endpoints.hosts).find(([, { role }]) => role === 'node')
  const lines: string[] = []
  if (gateway !== undefined) {
    lines.push(pageOf(endpoints)!, '', 'Try it:')
    lines.push(
      `  curl -X POST '${gateway}/v1/storage/put?key=greeting' -H 'X-API-Key: ${endpoints.apiKey}' --data-binary 'hello, warren'`
    )
    lines.push(`  curl '${gateway}/v1/storage/get?key=greeting' -H 'X-API-Key: ${endpoints.apiKey}'`)
  } else if (node !== undefined) {
    lines.push(pageOf(endpoints)!, '', 'Try it:')
    lines.push(
      `  curl -X POST ${node[1].control}/store -H 'Content-Type: application/octet-stream' --data-binary 'hello, warren'`
    )
  }
  lines.push(
    '',
    `Run ${endpoints.run}, seed ${endpoints.seed}. Endpoints: .testnet/current/endpoints.json, shell variables: . .testnet/current/env`
  )
  lines.push('Look: make testnet-status   End: make testnet-down')
  return lines.join('\n')
}
