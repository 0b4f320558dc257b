/** Whether a peer proves that it has all bytes of a blob that is here too. */
import type { BlobStore } from '../blobs/store.types.ts'
import { type AskProof, createAuditor } from './auditor.ts'

/** Time one holder has to prove its bytes. */
export const PROOF_TIMEOUT_MS = 60_000

export type Proves = (peerId: string, cid: string, signal: AbortSignal) => Promise<boolean>

/** Asks for proofs over whole blobs and compares with the copy of this store. */
export function createProves({ ask, store }: { ask: AskProof; store: Pick<BlobStore, 'open'> }): Proves {
  const auditor = createAuditor({
    ask,
    replica: async (cid, signal) => (await store.open(cid))?.read({ signal }) ?? null
  })
  return async (peerId, cid, signal) =>
    (await auditor.audit(peerId, cid, { mode: 'whole', timeoutMs: PROOF_TIMEOUT_MS, signal })).verdict === 'pass'
}
