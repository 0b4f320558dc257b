import type { NatKind } from '../nat-kinds.ts'
import type { Topology } from '../topology.ts'

/** Two nodes, each behind a NAT of its own, and a relay: the smallest place where a direct connection must be won. */
export function natPair(a: NatKind = 'port-preserving', b: NatKind = 'symmetric'): Topology {
  return {
    name: 'nat-pair',
    description: `Two nodes behind NATs of their own (${a}, ${b}), a relay, a gateway and a chain.`,
    networks: {
      internet: {},
      'home-a': { behind: 'internet', nat: a, link: { delayMs: 5 } },
      'home-b': { behind: 'internet', nat: b, link: { delayMs: 5 } }
    },
    hosts: {
      relay: { role: 'relay', on: 'internet' },
      gateway: { role: 'gateway', on: 'internet' },
      chain: { role: 'chain', on: 'internet' },
      alice: { role: 'node', on: 'home-a' },
      bob: { role: 'node', on: 'home-b' }
    }
  }
}
