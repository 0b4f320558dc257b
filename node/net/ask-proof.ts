/** The asking side of `/bytecave/proof/1.0.0`: one request, one try. Whoever asks decides whether to ask again. */
import type { AskProof } from '../proofs/auditor.ts'
import { CHALLENGE_LIFE_MS } from '../proofs/statement.ts'
import { finish, reply } from './ask.ts'
import { frameReader, sendHeader } from './frames.ts'
import type { Paths } from './paths.ts'
import { PROTOCOLS, parseHeader, proofReply } from './protocols.ts'
import type { Timings } from './timings.ts'

/**
 * @returns asks a peer; rejects with PeerUnreachableError, PeerRefusedError (the peer's own code), ProtocolViolationError,
 * PeerTimeoutError or TransferCutError, as reading the blocks does
 */
export function createProofAsker(paths: Pick<Paths, 'open'>, timings: Pick<Timings, 'idleTimeoutMs'>): AskProof {
  return async (peerId, request, { signal }) => {
    const { stream, release } = await paths.open(peerId, PROTOCOLS.proof, { signal })
    // A proof is small: it stays where it is when a better path opens.
    release()
    try {
      const reader = frameReader(stream)
      const idle = { idleTimeoutMs: timings.idleTimeoutMs, signal }
      await sendHeader(stream, request, idle)
      // The peer may have to read a whole blob first.
      const header = parseHeader(proofReply, await reply(peerId, reader, CHALLENGE_LIFE_MS, signal))
      let left = header.sizeBytes
      async function* blocks(): AsyncGenerator<Uint8Array> {
        for await (const chunk of reader.bytes(header.sizeBytes, idle)) {
          left -= chunk.byteLength
          yield chunk
        }
      }
      return {
        statement: header.statement,
        blocks: blocks(),
        async close() {
          if (left === 0) return await finish(stream, reader)
          reader.release()
          stream.abort(new Error('the asker has seen enough'))
        }
      }
    } catch (error) {
      stream.abort(error as Error)
      throw error
    }
  }
}
