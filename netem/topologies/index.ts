/** The topologies that come with Warren, by name. */
import type { NatKind } from '../nat-kinds.ts'
import type { Topology } from '../topology.ts'
import { lan } from './lan.ts'
import { many } from './many.ts'
import { natPair } from './nat-pair.ts'
import { testnet } from './testnet.ts'

export { lan, many, natPair, testnet }

/** What a topology can be asked for; each topology reads what concerns it. */
export interface TopologyOptions {
  /** `many`: how many nodes. Default 30. */
  nodes?: number
  /** `nat-pair`: the NAT of alice's home. Default port-preserving. */
  natA?: NatKind
  /** `nat-pair`: the NAT of bob's home. Default symmetric. */
  natB?: NatKind
}

const TOPOLOGIES: Record<string, (options: TopologyOptions) => Topology> = {
  testnet: () => testnet,
  'nat-pair': ({ natA, natB }) => natPair(natA, natB),
  lan: () => lan,
  many: ({ nodes }) => many(nodes)
}

/** Names that `topologyNamed` knows. */
export const TOPOLOGY_NAMES: readonly string[] = Object.keys(TOPOLOGIES)

/** Thrown when no topology has the name asked for. */
export class UnknownTopologyError extends Error {
  override readonly name = 'UnknownTopologyError'
  readonly code = 'UNKNOWN_TOPOLOGY'

  constructor(asked: string) {
    super(`there is no topology '${asked}'; use one of ${TOPOLOGY_NAMES.join(', ')}`)
  }
}

/**
 * The topology of that name. It is not validated yet: `plan` does, so that wrong options are reported there with all else.
 * @throws UnknownTopologyError
 */
export function topologyNamed(name: string, options: TopologyOptions = {}): Topology {
  if (!Object.hasOwn(TOPOLOGIES, name)) throw new UnknownTopologyError(name)
  return TOPOLOGIES[name]!(options)
}
