/** The answering side: proofs of the blobs held here, for HTTP and for peers. */
import PQueue from 'p-queue'
import { parseCid } from '../blobs/cid.ts'
import type { BlobStore, OpenBlob } from '../blobs/store.types.ts'
import { BlobNotFoundError, BusyError, ChallengeInvalidError, WarrenError } from '../errors.ts'
import type { Identity } from '../identity.ts'
import { chooseLeaves, leafBlocks, leafPayloadBytes } from './leaves.ts'
import type { SavedProofs } from './saved.ts'
import {
  CHALLENGE_LIFE_MS,
  challengedHash,
  hourChallenge,
  PROOF_LEAVES_DEFAULT,
  type ProofMode,
  type ProofRequest,
  type ProofStatement,
  parseChallenge,
  signStatement
} from './statement.ts'
import { createUsedChallenges } from './used-challenges.ts'

/** Proofs over whole blobs made at once: each reads and hashes as fast as it can. */
export const WHOLE_PROOFS_AT_ONCE = 2
/** Proofs by leaves made at once. */
export const LEAF_PROOFS_AT_ONCE = 4
/** Proofs of one kind that wait; more are answered BUSY. */
export const PROOFS_WAITING_MAX = 32

export interface ProofAnswer {
  statement: ProofStatement
  /** Bytes that `blocks` gives. */
  payloadBytes: number
  /** With mode `leaves` the blocks, read again as they are wanted, so that a slow asker costs no memory; else nothing. */
  blocks: (signal?: AbortSignal) => AsyncIterable<Uint8Array>
  /** To be called when the answer could not be delivered: the challenge may then be asked again. */
  undelivered: () => void
}

/** Counters since start, and what is saved. */
export interface ProofStatistics {
  generated: Record<ProofMode, number>
  /** Requests that were not answered with a proof, by the error's code. */
  refused: Record<string, number>
  running: number
  waiting: number
  saved: number
  /** Blobs that saved statements are about. */
  blobs: number
}

export interface Prover {
  /**
   * Prove that a blob is here, from this disk alone.
   * @throws CidInvalidError, ChallengeInvalidError, ChallengeReplayedError, BlobNotFoundError, BlobCorruptError, BusyError
   */
  prove: (request: ProofRequest, options?: { signal?: AbortSignal }) => Promise<ProofAnswer>
  /** Statements made before about one blob, newest first. */
  saved: SavedProofs['of']
  statistics: () => Promise<ProofStatistics>
  /** When the last proof was made, ms since 1970; null: none since the start. */
  lastProofMs: () => number | null
}

export interface ProverOptions {
  store: Pick<BlobStore, 'open'>
  identity: Pick<Identity, 'publicKey' | 'sign'>
  nodeId: string
  saved: SavedProofs
  /** Clock, milliseconds since 1970. Default: the system's. */
  now?: () => number
}

export function createProver({ store, identity, nodeId, saved, now = Date.now }: ProverOptions): Prover {
  const used = createUsedChallenges(() => performance.now())
  const queues = {
    whole: new PQueue({ concurrency: WHOLE_PROOFS_AT_ONCE }),
    leaves: new PQueue({ concurrency: LEAF_PROOFS_AT_ONCE })
  }
  const generated: Record<ProofMode, number> = { whole: 0, leaves: 0, hour: 0 }
  const refused: Record<string, number> = {}
  let lastProofMs: number | null = null

  function challengeOf({ mode, challenge }: ProofRequest, cid: string): string {
    if (mode !== 'hour') return parseChallenge(challenge)
    const current = hourChallenge(cid, now())
    if (challenge !== undefined && challenge !== current) throw new ChallengeInvalidError('is not that of this hour')
    return current
  }

  /** What the hash is over. */
  async function contentOf(
    blob: OpenBlob,
    { mode, leaves }: Pick<ProofStatement, 'mode' | 'leaves'>,
    challenge: string,
    signal: AbortSignal
  ): Promise<Pick<ProofAnswer, 'payloadBytes' | 'blocks'>> {
    if (mode !== 'leaves') return { payloadBytes: 0, blocks: nothing }
    const dag = await blob.dag({ signal })
    const chosen = chooseLeaves(blob.cid, challenge, leaves, dag.shape.counts[0]!)
    return {
      payloadBytes: leafPayloadBytes(dag.shape, chosen),
      blocks: later => leafBlocks(blob, dag, chosen, later)
    }
  }

  async function answer(
    blob: OpenBlob,
    { mode, leaves: asked = PROOF_LEAVES_DEFAULT }: ProofRequest,
    challenge: string,
    signal: AbortSignal
  ): Promise<Omit<ProofAnswer, 'undelivered'>> {
    signal.throwIfAborted()
    const { cid, sizeBytes } = blob
    const leaves = mode === 'leaves' ? asked : 0
    const content = await contentOf(blob, { mode, leaves }, challenge, signal)
    const hashed = mode === 'leaves' ? content.blocks(signal) : blob.read({ signal })
    const { bytesHash } = await challengedHash(challenge, hashed)
    const facts = { mode, cid, challenge, nodeId, timestamp: now(), sizeBytes, leaves, bytesHash }
    return { ...content, statement: signStatement(identity, facts) }
  }

  async function prove(request: ProofRequest, signal?: AbortSignal): Promise<ProofAnswer> {
    const cid = parseCid(request.cid)
    const challenge = challengeOf(request, cid)
    const queue = queues[request.mode === 'leaves' ? 'leaves' : 'whole']
    const blob = await store.open(cid)
    if (blob === null) throw new BlobNotFoundError(cid)
    if (queue.size >= PROOFS_WAITING_MAX) throw new BusyError('proofs')
    const single = request.mode !== 'hour'
    if (single) used.take(challenge)
    const undelivered = () => {
      if (single) used.giveBack(challenge)
    }
    try {
      // After that nobody takes the answer any more.
      const limit = AbortSignal.timeout(CHALLENGE_LIFE_MS)
      const ended = signal ? AbortSignal.any([signal, limit]) : limit
      const made = await queue.add(() => answer(blob, request, challenge, ended))
      generated[request.mode] += 1
      lastProofMs = made.statement.timestamp
      await saved.add(made.statement)
      return { ...made, undelivered }
    } catch (error) {
      undelivered()
      throw error
    }
  }

  return {
    async prove(request, { signal } = {}) {
      try {
        return await prove(request, signal)
      } catch (error) {
        const code = error instanceof WarrenError ? error.code : 'INTERNAL_ERROR'
        refused[code] = (refused[code] ?? 0) + 1
        throw error
      }
    },
    saved: saved.of,
    lastProofMs: () => lastProofMs,
    async statistics() {
      const sum = (of: (queue: PQueue) => number) => of(queues.whole) + of(queues.leaves)
      return {
        generated: { ...generated },
        refused: { ...refused },
        running: sum(queue => queue.pending),
        waiting: sum(queue => queue.size),
        ...(await saved.counts())
      }
    }
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
