/**
 * The door of the node room: what other rooms may use of it.
 */
export { IdentityCorruptError, IdentityMismatchError, WarrenError } from './errors.ts'
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
