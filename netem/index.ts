/**
 * The network as data and as Linux makes it: topology → plan, NAT kinds, impairments, namespaces.
 * Nothing else in Warren calls `ip`, `nft`, `tc` or NFQUEUE. It knows nothing of what the hosts run.
 */

export { bufferPackets } from './buffer.ts'
export { type CapabilityName, type CapabilityReport, capabilities, shapingMeans } from './capabilities.ts'
export {
  CAPTURE_FILE_MB,
  CAPTURE_FILES,
  CAPTURE_PROBE,
  CAPTURE_READY,
  CAPTURE_SNAP_BYTES,
  CAPTURE_TOOLS,
  type CaptureMode,
  type CaptureOwner,
  captureArgv,
  captureOwners,
  tableDumps
} from './capture.ts'
export {
  interfaceHolding,
  linkToBe,
  plannedState,
  plugSteps,
  type RouterState,
  rebindSteps,
  refuseMove,
  routerSteps,
  waySteps,
  withNat,
  withNextAddress
} from './changes.ts'
export { cutRuleset, healRuleset } from './cut.ts'
export { DaemonDiedError } from './daemons.ts'
export { type DirectedPair, dropRulesets, noDrops } from './drops.ts'
export {
  ChangeRefusedError,
  DuplicatesByPeerError,
  NoAddressLeftError,
  ShapingMissingError,
  SlotOutOfRangeError,
  TopologyInvalidError,
  UnknownHostError,
  UnknownNetworkError,
  UnknownRouterError
} from './errors.ts'
export { CommandFailedError, type CommandOptions, type CommandOutput, type Run, run } from './exec.ts'
export {
  LAB_ZONE,
  NAT64_PREFIX,
  NAT64_PREFIX_LENGTH,
  nat64Address,
  type PlannedIpv6Edge
} from './ipv6.ts'
export { DISTRIBUTIONS, type Distribution, jitterQuantile } from './jitter.ts'
export { accountOf, apiKeyOf, identityOf, registryOf } from './keys.ts'
export { type Lab, type LabOptions, openLab } from './lab.ts'
export type { LabChanges } from './lab-changes.ts'
export { askLegArgv, type LegAnswer } from './leg-control.ts'
export {
  AT_START,
  binomialInterval,
  judgeStream,
  LINK_CASES,
  type LinkCase,
  type LinkFigure,
  LOWER_BOUNDS,
  STRICT,
  type Strictness,
  streamOf
} from './link-cases.ts'
export { LINK_PRESET_NAMES, LINK_PRESETS, type LinkPreset } from './link-presets.ts'
export { type LinkProbeOrder, linkProbe, linkProbeArgv, type StreamAsk, type StreamSeen } from './link-probe.ts'
export { impairmentsOf, impairs, isShaped, readLink } from './links.ts'
export { routerNameOf } from './names.ts'
export { argvIn, layOut, leftovers, namespaceFile, tearDown } from './namespaces.ts'
export { NAT_TABLE, natRuleset, overloadsPorts } from './nat.ts'
export {
  behaviourOf,
  type Dependence,
  kindOf,
  type MappingTimeouts,
  NAT_KINDS,
  NAT_PRESETS,
  type NatBehaviour,
  type NatKind,
  type NatPreset,
  type NatSpec,
  type PortAllocation,
  type Translation
} from './nat-kinds.ts'
export { portBlock } from './nat-ports.ts'
export { labNames, NAT64_PROGRAM } from './nat64.ts'
export { networkNamed, outerAddresses, type Place, placeOn, routersAbove } from './places.ts'
export { CHAIN_ID, CHAIN_RPC_PORT, plan } from './plan.ts'
export type * from './plan.types.ts'
export { PORT_MAPPER } from './port-mapper.ts'
export {
  type PlannedPortMapping,
  PORT_MAPPING_FAULTS,
  PORT_MAPPING_PROTOCOLS,
  type PortMappingFault,
  type PortMappingProtocol,
  type PortMappingSpec
} from './port-mapping.ts'
export { askMapping, type MappingAnswer, type MappingRequest } from './port-mapping-ask.ts'
export { allRouteLookups, type RouteLookup, routeLookups } from './route-proof.ts'
export type { ShapingMeans } from './shape.ts'
export { netemArguments } from './shape-netem.ts'
export { LOOP_SYSCTLS, LOOP_SYSCTLS_IPV6 } from './shape-nfqueue.ts'
export { type Shaper, ShaperDiedError, startShaper, UnknownLinkError } from './shaper.ts'
export type { ShaperQueue } from './shaper.types.ts'
export type { LinkStats } from './shaper-queue.ts'
export { CONTROL_PORT_BASE, PORTS_PER_SLOT, prefixesOf, SLOTS } from './slots.ts'
export { type RouterInterfaces, type Step, scriptOf } from './steps.ts'
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
export { type Problem, ROLES, validate, warningsOf } from './validate.ts'
export { ALLOCATIONS, DEPENDENCES } from './validate-nat.ts'
