/**
 * The network as data and as Linux makes it: topology → plan, NAT kinds, impairments, namespaces.
 * Nothing else in Warren calls `ip`, `nft`, `tc` or NFQUEUE. It knows nothing of what the hosts run.
 */
export { SlotOutOfRangeError, TopologyInvalidError } from './errors.ts'
export { accountOf, apiKeyOf, identityOf, registryOf } from './keys.ts'
export { impairs, readLink } from './links.ts'
export { routerNameOf } from './names.ts'
export { CHAIN_ID, CHAIN_RPC_PORT, plan } from './plan.ts'
export type * from './plan.types.ts'
export { CONTROL_PORT_BASE, PORTS_PER_SLOT, SLOTS } from './slots.ts'
export {
  lan,
  many,
  natPair,
  TOPOLOGY_NAMES,
  type TopologyOptions,
  testnet,
  topologyNamed,
  UnknownTopologyError
} from './topologies/index.ts'
export type * from './topology.ts'
export { NAT_KINDS, type Problem, ROLES, validate } from './validate.ts'
