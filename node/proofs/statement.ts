/**
 * What a node signs when it proves that it has a blob: Ed25519 (RFC 8032) over a domain tag, the CID, the challenge, who
 * it is, when, and a hash that cannot be had without the blob's bytes.
 */
import { createHash, randomBytes } from 'node:crypto'
import { z } from 'zod'
import { CID_TEXT_MAX } from '../blobs/cid.ts'
import { ChallengeInvalidError, ProofInvalidError } from '../errors.ts'
import { type Identity, peerIdOfPublicKey, verifyPeerSignature } from '../identity.ts'

/**
 * `whole`: the hash is over all bytes; whoever has a replica can check it. `leaves`: it is over the blocks of the
 * answer, some leaves and the way to them; whoever knows the CID can check it. `hour`: as `whole`, with a challenge
 * everybody can work out beforehand, so it says less.
 */
export const PROOF_MODES = ['whole', 'leaves', 'hour'] as const
export type ProofMode = (typeof PROOF_MODES)[number]

/** Bytes of a challenge. */
export const CHALLENGE_BYTES = 32
/** Longest time between drawing a challenge and its answer. */
export const CHALLENGE_LIFE_MS = 5 * 60_000
/** Oldest time a statement may name. */
export const PROOF_MAX_AGE_MS = 3600_000
/** How far ahead of ours the clock of whoever signs may be. */
export const PROOF_MAX_FUTURE_MS = 300_000
/** Leaves of a proof when nobody says how many, and most of them. */
export const PROOF_LEAVES_DEFAULT = 8
export const PROOF_LEAVES_MAX = 16

const DOMAIN = 'warren storage proof v1'
const HOUR_MS = 3600_000

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`))
const cid = z.string().min(1).max(CID_TEXT_MAX)

/** What a proof is asked with. `challenge` may be left out where the mode is `hour`. */
export const proofRequest = z.object({
  cid,
  mode: z.enum(PROOF_MODES),
  challenge: z.string().max(256).optional(),
  /** How many leaves, with mode `leaves`. */
  leaves: z.int().min(1).max(PROOF_LEAVES_MAX).optional()
})
export type ProofRequest = z.infer<typeof proofRequest>

export const proofStatement = z.object({
  mode: z.enum(PROOF_MODES),
  cid,
  challenge: hex(CHALLENGE_BYTES),
  /** The node's name, as in /info. */
  nodeId: z.string().max(256),
  /** Raw Ed25519 key, as in /info and the registry. */
  publicKey: z.templateLiteral(['0x', hex(32)]),
  /** Milliseconds since 1970. */
  timestamp: z.int().min(0),
  /** Of the blob. */
  sizeBytes: z.int().min(1),
  /** Leaves asked for; 0 where the proof is over the whole blob. */
  leaves: z.int().min(0).max(PROOF_LEAVES_MAX),
  /** SHA-256 of the challenge and the bytes of the blob, or of the blocks in the answer. */
  bytesHash: hex(32),
  /** The signature. */
  proof: hex(64)
})
export type ProofStatement = z.infer<typeof proofStatement>

/** Where a proof does not hold. */
export type ProofFault =
  | 'MALFORMED'
  | 'WRONG_MODE'
  | 'WRONG_CID'
  | 'WRONG_CHALLENGE'
  | 'WRONG_NODE'
  | 'TOO_OLD'
  | 'FROM_THE_FUTURE'
  | 'SIGNATURE_WRONG'
  | 'SIZE_WRONG'
  | 'BLOCK_WRONG'
  | 'BYTES_WRONG'

/** A proof that does not hold, and where. */
export const faulty = (fault: ProofFault, why: string) => new ProofInvalidError<ProofFault>(fault, why)

/** A fresh random challenge in hex. It is to be used once. */
export function newChallenge(): string {
  return randomBytes(CHALLENGE_BYTES).toString('hex')
}

/** @throws ChallengeInvalidError */
export function parseChallenge(text: unknown): string {
  if (typeof text !== 'string' || text === '') throw new ChallengeInvalidError('is missing')
  if (!hex(CHALLENGE_BYTES).safeParse(text).success) throw new ChallengeInvalidError(`"${text.slice(0, 80)}" is none`)
  return text
}

/** ByteCave's challenge of an hour: SHA-256 of the CID's text and of the Unix seconds at which the hour began. */
export function hourChallenge(cidText: string, atMs: number): string {
  const hourSeconds = (Math.floor(atMs / HOUR_MS) * HOUR_MS) / 1000
  return createHash('sha256').update(`${cidText}${hourSeconds}`).digest('hex')
}

/** SHA-256 of the challenge and the bytes, in hex. */
export async function challengedHash(
  challenge: string,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>
): Promise<{ bytesHash: string; sizeBytes: number }> {
  const hash = createHash('sha256').update(challenge, 'hex')
  let sizeBytes = 0
  for await (const bytes of source) {
    hash.update(bytes)
    sizeBytes += bytes.length
  }
  return { bytesHash: hash.digest('hex'), sizeBytes }
}

/** A statement of this identity. */
export function signStatement(
  identity: Pick<Identity, 'publicKey' | 'sign'>,
  facts: Omit<ProofStatement, 'proof' | 'publicKey'>
): ProofStatement {
  const fields = { ...facts, publicKey: identity.publicKey }
  return { ...fields, proof: Buffer.from(identity.sign(messageOf(fields))).toString('hex') }
}

/** What the one who asked expects. */
export interface Expected {
  mode: ProofMode
  cid: string
  /** Not looked at with mode `hour`: it follows from the statement's time. */
  challenge: string
  peerId: string
  /** The name it has in the registry, where that is known. */
  nodeId?: string | undefined
  /** 0 where the proof is over the whole blob. */
  leaves: number
  /** Own clock, milliseconds since 1970. */
  nowMs: number
}

/**
 * Check all of a statement but its hash.
 * @throws ProofInvalidError naming the first thing that is wrong
 */
export function checkStatement(given: unknown, expected: Expected): ProofStatement {
  const parsed = proofStatement.safeParse(given)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw faulty('MALFORMED', `its field ${issue?.path.join('.') || '(all)'} is wrong`)
  }
  const statement = parsed.data
  const { timestamp } = statement
  if (statement.mode !== expected.mode || statement.leaves !== expected.leaves) {
    throw faulty('WRONG_MODE', 'it is of another kind than was asked for')
  }
  if (statement.cid !== expected.cid) throw faulty('WRONG_CID', 'it is about another blob')
  if (peerIdOfPublicKey(statement.publicKey) !== expected.peerId) throw faulty('WRONG_NODE', 'another node signed it')
  if (expected.nodeId !== undefined && statement.nodeId !== expected.nodeId) {
    throw faulty('WRONG_NODE', 'it names another node')
  }
  const challenge = expected.mode === 'hour' ? hourChallenge(expected.cid, timestamp) : expected.challenge
  if (statement.challenge !== challenge) throw faulty('WRONG_CHALLENGE', 'it answers another challenge')
  if (timestamp < expected.nowMs - PROOF_MAX_AGE_MS) throw faulty('TOO_OLD', 'it is older than an hour')
  if (timestamp > expected.nowMs + PROOF_MAX_FUTURE_MS) {
    throw faulty('FROM_THE_FUTURE', 'its time is more than five minutes ahead')
  }
  if (!verifyPeerSignature(expected.peerId, messageOf(statement), Buffer.from(statement.proof, 'hex'))) {
    throw faulty('SIGNATURE_WRONG', 'its signature is not that of the node over what it says')
  }
  return statement
}

/** A JSON list: no two different statements have the same bytes. */
function messageOf(fields: Omit<ProofStatement, 'proof'>): Buffer {
  const { mode, cid: cidText, challenge, nodeId, publicKey, timestamp, sizeBytes, leaves, bytesHash } = fields
  return Buffer.from(
    JSON.stringify([DOMAIN, mode, cidText, challenge, nodeId, publicKey, timestamp, sizeBytes, leaves, bytesHash])
  )
}
