import type { Topology } from '../topology.ts'

/** The default: an internet with the services, two homes behind different NATs, one office. */
export const testnet: Topology = {
  name: 'testnet',
  description: 'A small internet: two relays, two public nodes, two gateways, a chain, two homes and an office.',
  networks: {
    internet: {},
    'home-1': {
      behind: 'internet',
      nat: 'port-preserving',
      link: { up: { delayMs: 3, rateKbit: 50_000 }, down: { delayMs: 3, rateKbit: 200_000 } }
    },
    'home-2': {
      behind: 'internet',
      nat: 'symmetric',
      link: { up: { delayMs: 8, jitterMs: 1, rateKbit: 40_000 }, down: { delayMs: 8, jitterMs: 1, rateKbit: 100_000 } }
    },
    office: { behind: 'internet', nat: 'symmetric', link: { delayMs: 2, rateKbit: 200_000 } }
  },
  hosts: {
    'relay-1': { role: 'relay', on: 'internet' },
    'relay-2': { role: 'relay', on: 'internet' },
    'node-1': { role: 'node', on: 'internet' },
    'node-2': { role: 'node', on: 'internet' },
    'gateway-1': { role: 'gateway', on: 'internet', volume: 'gateways' },
    'gateway-2': { role: 'gateway', on: 'internet', volume: 'gateways' },
    chain: { role: 'chain', on: 'internet' },
    alice: { role: 'node', on: 'home-1' },
    anna: { role: 'node', on: 'home-1' },
    bob: { role: 'node', on: 'home-2' },
    ben: { role: 'node', on: 'home-2' },
    oscar: { role: 'node', on: 'office' }
  }
}
