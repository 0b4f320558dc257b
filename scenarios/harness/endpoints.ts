/** What a program needs to use a running testnet, and the same as shell variables. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { NatKind, Plan, Role } from '../../netem/index.ts'
import type { RuntimeName } from './runtime.ts'

/** `.testnet/current/endpoints.json`. URLs are reachable from the machine that ran the command. */
export interface Endpoints {
  run: string
  seed: string
  slot: number
  runtime: RuntimeName
  /** `nat`: the NAT's name in the topology or null; `natKind`: its kind or null; `control`: the role's own HTTP server. */
  hosts: Record<string, { role: Role; nat: string | null; natKind: NatKind | null; control: string }>
  gateways: string[]
  /** INSECURE: derived from the seed. */
  apiKey: string
  /** JSON-RPC of the chain, or null without one. */
  chain: string | null
  registry: string | null
}

export function endpointsOf(plan: Plan, run: string, runtime: RuntimeName): Endpoints {
  const control = (host: { controlPort: number }): string => `http://127.0.0.1:${host.controlPort}`
  const chainHost = plan.hosts.find(host => host.name === plan.chain?.host)
  return {
    run,
    seed: plan.seed,
    slot: plan.slot,
    runtime,
    hosts: Object.fromEntries(
      plan.hosts.map(host => [
        host.name,
        { role: host.role, nat: host.nat, natKind: host.natKind, control: control(host) }
      ])
    ),
    gateways: plan.hosts.filter(host => host.role === 'gateway').map(control),
    apiKey: plan.apiKey,
    chain: chainHost === undefined ? null : control(chainHost),
    registry: plan.chain?.registry ?? null
  }
}

/** The first of each as shell variables, for examples: `. .testnet/current/env`. */
export function shellVariables(endpoints: Endpoints): string {
  const node = Object.values(endpoints.hosts).find(({ role }) => role === 'node')
  const variables: Record<string, string | null | undefined> = {
    GATEWAY: endpoints.gateways[0],
    API_KEY: endpoints.apiKey,
    NODE: node?.control,
    CHAIN: endpoints.chain,
    REGISTRY: endpoints.registry
  }
  // The names by which the `warren` command looks for them, for programs that are called.
  const forWarren = {
    WARREN_GATEWAY: variables.GATEWAY,
    WARREN_API_KEY: variables.API_KEY,
    WARREN_NODE: variables.NODE
  }
  // Single quotes hold everything but themselves.
  const lines = (prefix: string, all: typeof variables): string[] =>
    Object.entries(all).flatMap(([name, value]) =>
      value == null ? [] : [`${prefix}${name}='${value.replaceAll("'", "'\\''")}'\n`]
    )
  return [...lines('', variables), ...lines('export ', forWarren)].join('')
}

export async function writeEndpoints(folder: string, endpoints: Endpoints): Promise<void> {
  await writeFile(join(folder, 'endpoints.json'), `${JSON.stringify(endpoints, null, 2)}\n`, { mode: 0o600 })
  await writeFile(join(folder, 'env'), shellVariables(endpoints), { mode: 0o600 })
}
