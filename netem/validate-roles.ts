/** What is wrong with the hosts of a topology taken together. Pure. */
import { has, isName, NAME_RULE, shown } from './names.ts'
import type { HostSpec, Role, Topology } from './topology.ts'
import type { Report } from './validate.ts'

/** What roles need of one another: one chain, a relay for whoever cannot be reached. */
export function checkRoles(topology: Topology, report: Report): void {
  const hosts = Object.entries(topology.hosts)
  const withRole = (role: Role) => hosts.filter(([, host]) => host.role === role)
  const chains = withRole('chain')
  for (const [name] of chains.slice(1)) {
    report(`hosts.${name}.role`, 'TWO_CHAINS', `'${chains[0]![0]}' is the chain already; a testnet has one`)
  }
  const hasRelay = withRole('relay').length > 0
  for (const [name, host] of hosts) {
    const path = `hosts.${name}`
    const network = has(topology.networks, host.on) ? topology.networks[host.on] : undefined
    if (host.role === 'node' && chains.length === 0) {
      report(`${path}.role`, 'NODE_WITHOUT_CHAIN', 'nodes register on a chain; add a host with role chain')
    }
    if (host.role === 'gateway' && !hasRelay) {
      report(
        `${path}.role`,
        'GATEWAY_WITHOUT_RELAY',
        'a gateway finds its peers through a relay; add a host with role relay'
      )
    }
    if (network?.behind === undefined) continue
    if (host.role === 'node' && !hasRelay && network.nat !== 'none') {
      report(`${path}.on`, 'NATED_NODE_WITHOUT_RELAY', 'behind a NAT nobody can reach it; add a host with role relay')
    }
    if (host.role === 'relay' || host.role === 'chain') {
      report(`${path}.on`, 'NOT_REACHABLE', `everyone must reach a ${host.role}; put it on the internet`)
    }
  }
}

/** A shared data directory is for gateways only: two processes of another role would corrupt it. */
export function checkVolumes(topology: Topology, report: Report): void {
  const owners = new Map<string, [string, HostSpec]>()
  for (const [name, host] of Object.entries(topology.hosts)) {
    const volume = host.volume ?? name
    const path = `hosts.${name}.volume`
    if (host.volume !== undefined && !isName(volume)) {
      report(path, 'BAD_VOLUME', `${shown(volume)} is not a name: ${NAME_RULE}`)
      continue
    }
    const owner = owners.get(volume)
    if (owner === undefined) owners.set(volume, [name, host])
    else if (host.role !== 'gateway' || owner[1].role !== 'gateway') {
      report(path, 'BAD_VOLUME', `${shown(volume)} is the volume of '${owner[0]}' already; only gateways can share one`)
    }
  }
}
