import type { Topology } from '../topology.ts'

/** No NAT and no impairment: what fails here has nothing to do with either. */
export const lan: Topology = {
  name: 'lan',
  description: 'Three nodes, a relay, a gateway and a chain on one network, without NAT.',
  networks: { internet: {} },
  hosts: {
    relay: { role: 'relay', on: 'internet' },
    gateway: { role: 'gateway', on: 'internet' },
    chain: { role: 'chain', on: 'internet' },
    'node-1': { role: 'node', on: 'internet' },
    'node-2': { role: 'node', on: 'internet' },
    'node-3': { role: 'node', on: 'internet' }
  }
}
