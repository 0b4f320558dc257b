/**
 * Whole blobs for a page, from nodes of which any may lie. Nodes go on for each other where one is cut; where that ends in
 * bytes or sizes that do not agree, nobody can say which of them is wrong, so each is then asked for the whole by itself.
 */
import { CidMismatchError, PeerRefusedError, ProtocolViolationError } from '../../node/portable.ts'
import { BlobAlteredError, BlobMissingError, BlobTooLargeError, NoNodeError } from '../errors.ts'
import { mayReadElsewhere } from '../failures.ts'
import { type ClientStorage, MAX_NODES_ASKED, NodesDisagreeError } from '../storage.ts'

/** Nobody is left to ask. */
const OVER = [NoNodeError, BlobMissingError, PeerRefusedError]

type Got = Awaited<ReturnType<ClientStorage['get']>>

export interface Reading {
  /** A blob of at most `maxBytes` whose answer has begun. @throws BlobTooLargeError, and what `ClientStorage.get` throws */
  begin: (cid: string, maxBytes: number, signal: AbortSignal) => Promise<Got>
  /**
   * All bytes of a blob, verified. A node that gave all bytes of an answer alone, and they were wrong, is a liar: it is
   * named and not asked again. Nobody is on another's word.
   * @throws BlobAlteredError, ProtocolViolationError, BlobTooLargeError, and what `ClientStorage.get` throws
   */
  whole: (
    cid: string,
    maxBytes: number,
    signal: AbortSignal
  ) => Promise<{ sizeBytes: number; mimeType: string; bytes: Uint8Array }>
}

/** What became of the nodes asked for one blob so far. */
interface Tried {
  /** Peer ids that are not asked again; `MAX_NODES_ASKED` of them end it. */
  out: Set<string>
  /** Those that gave every byte of an answer that is not the blob. */
  liars: string[]
  /** Whether nodes no longer go on for each other. */
  alone: boolean
  /** What is thrown when nobody is left. */
  problem: Error | null
}

export function createReading(storage: Pick<ClientStorage, 'get'>): Reading {
  /** The next node's answer, past those left out; when nobody is left to ask, what they did is the error. */
  async function next(cid: string, maxBytes: number, tried: Tried, signal: AbortSignal): Promise<Got> {
    const { out, alone } = tried
    for (;;) {
      if (out.size >= MAX_NODES_ASKED && tried.problem !== null) throw tried.problem
      const got = await storage.get(cid, { except: out, alone, signal }).catch((error: Error) => {
        const isOver = OVER.some(kind => error instanceof kind)
        throw tried.problem !== null && isOver ? tried.problem : error
      })
      if (got.sizeBytes <= maxBytes) return got
      await got.bytes[Symbol.asyncIterator]().return?.()
      // It may be the node that exaggerates.
      tried.problem ??= new BlobTooLargeError(got.sizeBytes, maxBytes)
      for (const peerId of got.from()) out.add(peerId)
    }
  }

  return {
    begin: (cid, maxBytes, signal) => next(cid, maxBytes, nobodyYet(), signal),
    async whole(cid, maxBytes, signal) {
      const tried = nobodyYet()
      for (;;) {
        const { sizeBytes, mimeType, bytes, from } = await next(cid, maxBytes, tried, signal)
        try {
          return { sizeBytes, mimeType, bytes: await gathered(bytes, sizeBytes) }
        } catch (error) {
          signal.throwIfAborted()
          const isWrong = error instanceof CidMismatchError || error instanceof ProtocolViolationError
          if (!isWrong && !(tried.alone && mayReadElsewhere(error))) throw error
          const peerIds = from()
          const isShared = peerIds.length > 1 || error instanceof NodesDisagreeError
          if (isShared) tried.alone = true
          else for (const peerId of peerIds) tried.out.add(peerId)
          if (error instanceof CidMismatchError && !isShared) tried.liars.push(...peerIds)
          if (tried.liars.length > 0) tried.problem = alteredBy(cid, tried.liars, error as Error)
          else if (error instanceof CidMismatchError) tried.problem = alteredTogether(cid, peerIds.length, error)
          else if (isWrong) tried.problem = error
          else tried.problem ??= error as Error
        }
      }
    }
  }
}

const nobodyYet = (): Tried => ({ out: new Set(), liars: [], alone: false, problem: null })

/** All bytes. @throws ProtocolViolationError when they are not `sizeBytes` */
async function gathered(source: AsyncIterable<Uint8Array>, sizeBytes: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(sizeBytes)
  let at = 0
  for await (const piece of source) {
    if (piece.byteLength <= sizeBytes - at) bytes.set(piece, at)
    at += piece.byteLength
  }
  if (at !== sizeBytes) throw new ProtocolViolationError(`${at} bytes came, where ${sizeBytes} are due`)
  return bytes
}

/** What bytes are that hash to another CID: where several gave them any may have lied, and nobody is named. */
export function altered(cid: string, peerIds: readonly string[], cause: Error): BlobAlteredError {
  return peerIds.length === 1 ? alteredBy(cid, peerIds, cause) : alteredTogether(cid, peerIds.length, cause)
}

function alteredBy(cid: string, peerIds: readonly string[], cause: Error): BlobAlteredError {
  return new BlobAlteredError(cid, `the bytes from ${peerIds.join(', ')} hash to another CID`, { cause })
}

function alteredTogether(cid: string, nodes: number, cause: Error): BlobAlteredError {
  return new BlobAlteredError(cid, `the bytes that ${nodes} nodes gave between them hash to another CID`, { cause })
}
