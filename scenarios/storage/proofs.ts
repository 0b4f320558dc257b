/** Asking nodes for proofs over HTTP as any stranger would, and judging them with what the asker knows itself. */
import { newChallenge, type ProofStatement, verifyLeaves, verifyWhole } from '../../node/index.ts'
import type { Host } from '../harness/runtime.ts'
import type { Acknowledged } from './blobs.ts'

const PROOF_TIMEOUT_MS = 60_000
const LEAVES = 8

/** Who answers, as its /info says. */
export interface Prover {
  peerId: string
  nodeId: string
}

/** The answer to one question, as it came. */
export interface ProofAnswer {
  status: number
  error: string | null
  statement: ProofStatement & { blocks?: string }
}

export type AskedMode = 'whole' | 'leaves'

export const freshChallenge: () => string = newChallenge

export async function proverOf(host: Host, signal: AbortSignal): Promise<Prover> {
  const response = await fetch(`${host.control}/info`, { signal })
  const { peerId, nodeId } = (await response.json()) as Prover
  return { peerId, nodeId }
}

export async function askProof(
  host: Host,
  question: { cid: string; mode: AskedMode; challenge: string },
  signal: AbortSignal
): Promise<ProofAnswer> {
  const response = await fetch(`${host.control}/proofs/generate`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ ...question, ...(question.mode === 'leaves' ? { leaves: LEAVES } : {}) }),
    signal: AbortSignal.any([signal, AbortSignal.timeout(PROOF_TIMEOUT_MS)])
  })
  const json = (await response.json()) as ProofAnswer['statement'] & { error?: string }
  return { status: response.status, error: json.error ?? null, statement: json }
}

/** Null when the answer proves that this prover has the blob now; else why not, in one word. */
export async function faultOf(
  { status, error, statement }: ProofAnswer,
  prover: Prover,
  { cid, bytes }: Acknowledged,
  mode: AskedMode,
  challenge: string
): Promise<string | null> {
  if (status !== 200) return error ?? `HTTP_${status}`
  const { blocks, ...signed } = statement
  const expected = { ...prover, cid, mode, challenge, leaves: mode === 'leaves' ? LEAVES : 0, nowMs: Date.now() }
  try {
    if (mode === 'whole') await verifyWhole(signed, expected, () => [bytes])
    else await verifyLeaves(signed, expected, [Buffer.from(blocks ?? '', 'base64')])
    return null
  } catch (error) {
    return (error as { reason?: string }).reason ?? String(error)
  }
}
