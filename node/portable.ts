/**
 * The second door of the node room: what of it browsers run too. Nothing behind it may need Node; the test of the
 * browser's bundle holds that. Who runs on Node comes by `index.ts`.
 */
export { CidHasher, parseCid, verifyCid } from './blobs/cid.ts'
export { race } from './blobs/race.ts'
export {
  CidInvalidError,
  CidMismatchError,
  PeerRefusedError,
  PeerTimeoutError,
  PeerUnreachableError,
  ProtocolViolationError,
  TransferCutError,
  WarrenError
} from './errors.ts'
export { createAsker } from './net/ask.ts'
export { createPaths } from './net/paths.ts'
export { askPeerDirectory, type DirectoryAnswer, type DirectoryPeer } from './net/peer-directory.ts'
export type { ConnectionPath } from './net/protocols.ts'
export { letGo, replayable, skip } from './net/sources.ts'
export { steadyYamux } from './net/steady-yamux.ts'
export { DEFAULT_TIMINGS, deadline, type Timings, wait } from './net/timings.ts'
export { untilAborted } from './until-aborted.ts'
