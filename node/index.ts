/**
 * The door of the node room: what other rooms may use of it.
 */

export {
  createRegistry,
  DEFAULT_REGISTRY_POLL_MS,
  type Registry,
  type RegistryState,
  type RegistryStatement
} from './chain/registry.ts'
export {
  BlobNotFoundError,
  IdentityCorruptError,
  IdentityMismatchError,
  PeerRefusedError,
  PeerTimeoutError,
  PeerUnreachableError,
  TransferCutError,
  WarrenError
} from './errors.ts'
export {
  ephemeralIdentity,
  type Identity,
  type IdentityOptions,
  loadIdentity,
  loadKeyFile,
  peerIdOfPublicKey,
  verifyPeerSignature
} from './identity.ts'
export { createLog, LOG_LEVELS, type Log, type LogLevel, silentLog } from './log.ts'
export { createMetrics, type Metrics } from './metrics.ts'
export { addressProblem } from './net/addresses.ts'
export type { AnchorState } from './net/anchors.ts'
export type { DialPrivate } from './net/dial-policy.ts'
export { createNetworkNode, type NetworkNode, type NetworkNodeOptions, TOPICS } from './net/libp2p.ts'
export {
  DEFAULT_LIMITS,
  DEFAULT_RELAY_LIMITS,
  GENEROUS_LIMITS,
  generousEnvironment,
  type LimitSpec,
  NETWORK_LIMITS,
  type NetworkLimits,
  RELAY_LIMITS,
  type RelayLimits,
  readLimits
} from './net/limits.ts'
export {
  createNetwork,
  type HealthFacts,
  type Member,
  type MemberSource,
  type Network,
  type NetworkHandlers,
  type OwnFacts,
  type RegisteredNode
} from './net/network.ts'
export { type ConnectionPath, type HealthReport, PROTOCOLS } from './net/protocols.ts'
export { type Replayable, replayable } from './net/sources.ts'
export { DEFAULT_TIMINGS, type Timings } from './net/timings.ts'
