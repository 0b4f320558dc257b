/**
 * The door of the node room: what other rooms may use of it.
 */
import type { NodeOptions, StorageNode } from './node.ts'

export { type AssignedMember, assignShards, SPARE_OWNERS } from './blobs/assign.ts'
export { CID_CHUNK_BYTES, CidHasher, cidOf, cidOfDigest, digestOfCid, parseCid, verifyCid } from './blobs/cid.ts'
export { LEAVES_FILE } from './blobs/leaf-digests.ts'
export type { BlobHandlers, BlobMember, BlobNetwork } from './blobs/network.types.ts'
export { placementOrder } from './blobs/placement.ts'
export { race } from './blobs/race.ts'
export { createBlobService } from './blobs/service.ts'
export type { BlobService, GetOptions, PutOptions, PutResult, ReplicationStatus } from './blobs/service.types.ts'
export { ownsShard, parseShards, type ShardRange, shardOf } from './blobs/shards.ts'
export { openStore } from './blobs/store.ts'
export {
  createRegistry,
  DEFAULT_REGISTRY_POLL_MS,
  type Registry,
  type RegistryState,
  type RegistryStatement
} from './chain/registry.ts'
export { type ChainConfig, type NodeConfig, readConfig as readNodeConfig } from './config.ts'
export {
  BlobNotFoundError,
  CidInvalidError,
  ConfigInvalidError,
  IdentityCorruptError,
  IdentityMismatchError,
  PeerRefusedError,
  PeerTimeoutError,
  PeerUnreachableError,
  TransferCutError,
  WarrenError
} from './errors.ts'
export { generousHttpEnvironment, HTTP_LIMITS, type HttpLimits } from './http/http-limits.ts'
export { inheritsSocket, listen } from './http/listen.ts'
export { parseRange } from './http/range.ts'
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
export type { Announcement } from './net/announce.ts'
export { ByteQueue } from './net/bytes.ts'
export { customerOf } from './net/customer.ts'
export { DCUTR_MODES, type DcutrMode } from './net/dcutr-mode.ts'
export type { DialPrivate } from './net/dial-policy.ts'
export { TENANT_TOPIC } from './net/follow-topics.ts'
export { createGossip, type Gossip } from './net/gossip.ts'
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
export {
  askPeerDirectory,
  type DirectoryAnswer,
  type DirectoryPeer,
  MAX_DIRECTORY_BYTES,
  PEER_DIRECTORY_PROTOCOL,
  tellPeerDirectory
} from './net/peer-directory.ts'
export { type ConnectionPath, type HealthReport, PROTOCOLS } from './net/protocols.ts'
export { hostOf } from './net/punching/allowance.ts'
export { createPunchCounters } from './net/punching/counters.ts'
export { dcutr } from './net/punching/dcutr.ts'
export type { Dcutr, DcutrInit, PunchReport } from './net/punching/dcutr.types.ts'
export {
  GENEROUS_HARD_PUNCH_LIMITS,
  generousHardPunchEnvironment,
  type HardPunchConfig,
  readHardPunch
} from './net/punching/hard/hard-limits.ts'
export {
  createHardPunch,
  type HardPunch,
  type HardPunchInit,
  type HardPunchOutcome,
  type HardPunchRole
} from './net/punching/hard/negotiate.ts'
export { detectNatKind, type NatKindSeen, type ReflectorPlace } from './net/punching/hard/observe.ts'
export { createReflector, type Reflector } from './net/punching/hard/reflector.ts'
export { createReflectorClient, type ReflectorClient } from './net/punching/hard/reflector-client.ts'
export { serveReflector } from './net/punching/hard/reflector-protocol.ts'
export { type PunchingTransport, punchingTransport } from './net/punching/punch.types.ts'
export { type PunchingQuicInit, punchingQuic } from './net/punching/quic.ts'
export { punchingTcp } from './net/punching/tcp.ts'
export { type Connectivity, registerReachability } from './net/reachability/metrics.ts'
export type { Reachability, ReachabilityState } from './net/reachability/reachability.types.ts'
export { type Replayable, replayable } from './net/sources.ts'
export { DEFAULT_TIMINGS, type Timings } from './net/timings.ts'
export type { NodeOptions, StorageNode } from './node.ts'
export {
  type AuditDoubt,
  type AuditFault,
  type AuditOptions,
  type Auditor,
  createAuditor,
  type PeerProof,
  type Verdict
} from './proofs/auditor.ts'
export { createProver, type Prover } from './proofs/prover.ts'
export { createSavedProofs } from './proofs/saved.ts'
export {
  type Expected as ExpectedProof,
  newChallenge,
  PROOF_LEAVES_DEFAULT,
  PROOF_LEAVES_MAX,
  type ProofFault,
  type ProofMode,
  type ProofRequest,
  type ProofStatement
} from './proofs/statement.ts'
export { verifyLeaves, verifyWhole } from './proofs/verify.ts'

/**
 * A whole storage node in this process; `node.ts` has the details. Imported on use: the HTTP framework it brings is
 * nothing that a relay or a client should load.
 */
export async function createNode(options: NodeOptions): Promise<StorageNode> {
  const node = await import('./node.ts')
  return await node.createNode(options)
}
export { untilAborted } from './until-aborted.ts'
