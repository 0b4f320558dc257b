/** A small storage network: two sites behind NATs, three nodes each, and two nodes that are reached directly. */
import type { Topology } from '../../netem/index.ts'

/** Hosts of each site; a site shares one NAT, and so one failure group. */
export const SITES = { 'site-a': ['anna', 'aron', 'abel'], 'site-b': ['bea', 'bob', 'ben'] } as const

/** Copies of every blob, as the nodes are told by default. */
export const REPLICAS = 3
/** Blobs that a scenario writes. */
export const BLOBS = { short: 12, full: 60 }
export const REPLICATED_WITHIN_MS = 60_000
export const READ_WITHIN_MS = 60_000

/** Said to the scenario, it is said to every node: `PACK_SMALL_BLOBS=true` has them keep small blobs in packs. */
const { PACK_SMALL_BLOBS } = process.env
const ofNodes = PACK_SMALL_BLOBS ? { env: { PACK_SMALL_BLOBS } } : {}

export const storageLab: Topology = {
  name: 'storage',
  description: 'Two relays, a chain, two public nodes and two sites of three nodes behind one NAT each.',
  networks: {
    internet: {},
    'site-a': { behind: 'internet', nat: 'port-restricted', link: { delayMs: 5 } },
    'site-b': { behind: 'internet', nat: 'full-cone', link: { delayMs: 10 } }
  },
  hosts: {
    'relay-1': { role: 'relay', on: 'internet' },
    'relay-2': { role: 'relay', on: 'internet' },
    chain: { role: 'chain', on: 'internet' },
    'node-1': { role: 'node', on: 'internet', ...ofNodes },
    'node-2': { role: 'node', on: 'internet', ...ofNodes },
    ...Object.fromEntries(
      Object.entries(SITES).flatMap(([site, names]) =>
        names.map(name => [name, { role: 'node' as const, on: site, ...ofNodes }])
      )
    )
  }
}
