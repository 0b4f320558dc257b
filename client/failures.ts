/** What a node's failure says of the others: whether they are worth asking. */
import {
  PeerRefusedError,
  PeerTimeoutError,
  PeerUnreachableError,
  ProtocolViolationError,
  parseCid,
  TransferCutError
} from '../node/portable.ts'

/** What is wrong with one node, not with what was asked. */
const MAY_BE_BETTER_ELSEWHERE = [PeerUnreachableError, TransferCutError, PeerTimeoutError, ProtocolViolationError]
const NOT_FOUND = 'BLOB_NOT_FOUND'
const CID_INVALID = 'CID_INVALID'
const SERVER_FAULT = 500
const RANGE_NOT_SATISFIABLE = 416

/** Whether a node says that it has no such blob, and found none. */
export function isNotFound(error: unknown): boolean {
  return error instanceof PeerRefusedError && error.code === NOT_FOUND
}

/** Whether a node says that its copy ends before what was asked. */
export function isOutside(error: unknown): boolean {
  return error instanceof PeerRefusedError && error.status === RANGE_NOT_SATISFIABLE
}

/** Whether a node has a reason of its own not to, as a block list is. */
export function isRefused(error: unknown): boolean {
  return error instanceof PeerRefusedError && error.status < SERVER_FAULT
}

/** Whether a refusal is about the question, and true: a node that gives the reason without cause has merely failed. */
export function isRefusedForAll(error: unknown, cid: string, offset: number): boolean {
  if (isOutside(error)) return offset > 0
  return error instanceof PeerRefusedError && error.code === CID_INVALID && !isCid(cid)
}

function isCid(text: string): boolean {
  try {
    return parseCid(text) !== ''
  } catch {
    return false
  }
}

/** Whether another node might give what this one did not. What a node will not give, others may have no rule against. */
export function mayReadElsewhere(error: unknown): boolean {
  return error instanceof PeerRefusedError || mayAskAnother(error)
}

/** Whether another node might do what this one could not. */
export function mayAskAnother(error: unknown): boolean {
  if (error instanceof PeerRefusedError) return !isRefused(error) || isNotFound(error)
  return MAY_BE_BETTER_ELSEWHERE.some(kind => error instanceof kind)
}
