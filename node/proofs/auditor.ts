/** The asking side: whether a peer has a blob, by a fresh challenge, and how sure that is. */
import {
  BlobCorruptError,
  PeerRefusedError,
  PeerTimeoutError,
  PeerUnreachableError,
  ProofInvalidError,
  ProtocolViolationError,
  TransferCutError
} from '../errors.ts'
import {
  CHALLENGE_LIFE_MS,
  newChallenge,
  PROOF_LEAVES_DEFAULT,
  type ProofFault,
  type ProofRequest
} from './statement.ts'
import { verifyLeaves, verifyWhole } from './verify.ts'

/** Times that an answer which broke off is asked for again, always with the same challenge. */
export const AUDIT_ATTEMPTS = 3

/** A peer's answer: its statement, not looked at yet, and what comes with it. */
export interface PeerProof {
  statement: unknown
  blocks: AsyncIterable<Uint8Array>
  /** Ends the stream; to be called whatever was read. */
  close: () => Promise<void>
}

/** Asks a peer once. */
export type AskProof = (peerId: string, request: ProofRequest, options: { signal: AbortSignal }) => Promise<PeerProof>

/** A peer's own refusal counts as well: NOT_HELD, DAMAGED, or REFUSED for no good reason. */
export type AuditFault = ProofFault | 'NOT_HELD' | 'DAMAGED' | 'REFUSED'
/** What keeps an audit from an end: nothing of it says that the blob is gone. */
export type AuditDoubt = 'UNREACHABLE' | 'BROKE_OFF' | 'TOO_LATE' | 'BUSY' | 'NO_REPLICA'

export type Verdict =
  | { verdict: 'pass' }
  | { verdict: 'fail'; reason: AuditFault; message: string }
  | { verdict: 'unknown'; reason: AuditDoubt; message: string }

export interface AuditOptions {
  /** Default `leaves`. `whole` needs a replica here. */
  mode?: 'leaves' | 'whole'
  /** How many leaves. */
  leaves?: number
  /** The peer's name in the registry, where known. */
  nodeId?: string
  /** Time for all of it, milliseconds; at most and by default CHALLENGE_LIFE_MS. */
  timeoutMs?: number
  signal?: AbortSignal
}

export interface Auditor {
  /** Rejects with the reason of the caller's own signal, and when `peerId` is none; all else is a verdict. */
  audit: (peerId: string, cid: string, options?: AuditOptions) => Promise<Verdict>
}

/**
 * @param options.replica the bytes of a blob held here, for proofs over whole blobs; null when it is not
 * @param options.now clock, milliseconds since 1970
 */
export function createAuditor(options: {
  ask: AskProof
  replica?: (cid: string, signal: AbortSignal) => Promise<AsyncIterable<Uint8Array> | null>
  now?: () => number
}): Auditor {
  const { ask, replica = async () => null, now = Date.now } = options

  /** One try; the verdict, or an error that `doubt` or `fault` name. */
  async function once(
    peerId: string,
    request: ProofRequest & { challenge: string; leaves: number },
    nodeId: string | undefined,
    signal: AbortSignal
  ): Promise<Verdict> {
    const own = request.mode === 'whole' ? await replica(request.cid, signal) : null
    if (request.mode === 'whole' && own === null) return unknown('NO_REPLICA', 'There is no replica here to compare.')
    const { leaves, ...whole } = request
    const answer = await ask(peerId, request.mode === 'whole' ? whole : request, { signal })
    try {
      const expected = { ...request, leaves: request.mode === 'whole' ? 0 : leaves, peerId, nodeId, nowMs: now() }
      if (own === null) await verifyLeaves(answer.statement, expected, answer.blocks)
      else await verifyWhole(answer.statement, expected, () => own)
      return { verdict: 'pass' }
    } finally {
      await answer.close()
    }
  }

  return {
    async audit(peerId, cid, { mode = 'leaves', leaves = PROOF_LEAVES_DEFAULT, nodeId, timeoutMs, signal } = {}) {
      const limit = AbortSignal.timeout(Math.min(timeoutMs ?? CHALLENGE_LIFE_MS, CHALLENGE_LIFE_MS))
      const both = signal ? AbortSignal.any([signal, limit]) : limit
      // One challenge for all tries: who breaks off does not get other leaves to prove.
      const request = { cid, mode, leaves, challenge: newChallenge() }
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await once(peerId, request, nodeId, both)
        } catch (error) {
          signal?.throwIfAborted()
          if (limit.aborted) return unknown('TOO_LATE', 'There was no whole answer in time.')
          const verdict = judge(error, attempt > 1)
          if (!(verdict.verdict === 'unknown' && verdict.reason === 'BROKE_OFF') || attempt === AUDIT_ATTEMPTS) {
            return verdict
          }
        }
      }
    }
  }
}

const unknown = (reason: AuditDoubt, message: string): Verdict => ({ verdict: 'unknown', reason, message })
const fail = (reason: AuditFault, message: string): Verdict => ({ verdict: 'fail', reason, message })

/** What a failed try says of the peer. */
function judge(error: unknown, wasAskedBefore: boolean): Verdict {
  const { message } = error as Error
  if (error instanceof ProofInvalidError) return fail(error.reason as ProofFault, message)
  if (error instanceof ProtocolViolationError) return fail('MALFORMED', message)
  if (error instanceof PeerUnreachableError) return unknown('UNREACHABLE', message)
  if (error instanceof TransferCutError || error instanceof PeerTimeoutError) return unknown('BROKE_OFF', message)
  if (error instanceof BlobCorruptError) return unknown('NO_REPLICA', message)
  if (error instanceof PeerRefusedError) {
    switch (error.code) {
      case 'BLOB_NOT_FOUND':
        return fail('NOT_HELD', message)
      case 'INTEGRITY_CHECK_FAILED':
        return fail('DAMAGED', message)
      case 'BUSY':
      case 'STOPPED':
        return unknown('BUSY', message)
      case 'CHALLENGE_REPLAYED':
        // All of an answer left the peer and did not arrive: it cannot know.
        if (wasAskedBefore) return unknown('BROKE_OFF', message)
    }
    return fail('REFUSED', `${error.code}: ${message}`)
  }
  throw error
}
