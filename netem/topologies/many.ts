import type { HostSpec, NetworkSpec, Topology } from '../topology.ts'

/** Nodes behind one NAT. */
export const NODES_PER_NAT = 10
const DEFAULT_NODES = 30
const DIGITS = 3

/** Many nodes, ten behind each NAT, the NATs by turns port-preserving and symmetric. */
export function many(nodes = DEFAULT_NODES): Topology {
  const networks: Record<string, NetworkSpec> = { internet: {} }
  const hosts: Record<string, HostSpec> = {
    'relay-1': { role: 'relay', on: 'internet' },
    'relay-2': { role: 'relay', on: 'internet' },
    gateway: { role: 'gateway', on: 'internet' },
    chain: { role: 'chain', on: 'internet' }
  }
  for (let index = 0; index < nodes; index++) {
    const site = `site-${Math.floor(index / NODES_PER_NAT) + 1}`
    const isEven = Math.floor(index / NODES_PER_NAT) % 2 === 0
    networks[site] ??= { behind: 'internet', nat: isEven ? 'port-preserving' : 'symmetric' }
    hosts[`node-${String(index + 1).padStart(DIGITS, '0')}`] = { role: 'node', on: site }
  }
  return {
    name: 'many',
    description: `${nodes} nodes, ten behind each NAT, with two relays, a gateway and a chain.`,
    networks,
    hosts
  }
}
