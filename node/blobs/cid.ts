/**
 * CIDs of blobs: CIDv1, dag-pb, sha2-256, of a UnixFS file in 256 KiB chunks, balanced with 174 links a node and no
 * raw leaves; what `ipfs add --cid-version=1 --raw-leaves=false` prints. (UnixFS and dag-pb specifications of IPFS.)
 *
 * The blocks themselves are never built: a leaf's hash is taken over its frame and the caller's own buffers, so a blob
 * of any size costs one open chunk and the hashes of at most 174 links a level.
 */

import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { sha256 } from '#sha256'
import { CidInvalidError, CidMismatchError } from '../errors.ts'
import { DAG_PB, type DagLink, DIGEST_BYTES, encodeNode, leafFrame, SHA2_256 } from './dag.ts'

/** Size of a leaf, bytes. */
export const CID_CHUNK_BYTES = 256 * 1024
/** Most links of one node of the tree. */
export const CID_MAX_LINKS = 174
/** Longest text accepted as a CID, characters; the longest form of ours (base2 aside) has 62. */
export const CID_TEXT_MAX = 128

export interface CidHasherOptions {
  /** Leaf size in bytes; only tests ask for another one. */
  chunkBytes?: number
  /** Links a node; only tests ask for another number. */
  maxLinks?: number
  /** Told of each leaf in order: the SHA-256 of its block, 32 bytes. */
  onLeaf?: (digest: Uint8Array) => void
}

/** Works out the CID of bytes that arrive in pieces of any size. Pieces must not change while the hasher lives. */
export class CidHasher {
  readonly #chunkBytes: number
  readonly #maxLinks: number
  readonly #onLeaf: ((digest: Uint8Array) => void) | undefined
  #pieces: Uint8Array[] = []
  #pieceBytes = 0
  #levels: DagLink[][] = [[]]
  #sizeBytes = 0

  constructor(options: CidHasherOptions = {}) {
    this.#chunkBytes = options.chunkBytes ?? CID_CHUNK_BYTES
    this.#maxLinks = options.maxLinks ?? CID_MAX_LINKS
    this.#onLeaf = options.onLeaf
  }

  /** Bytes taken so far. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Take the next bytes. */
  update(bytes: Uint8Array): void {
    this.#sizeBytes += bytes.length
    let rest = bytes
    while (rest.length > 0) {
      const take = Math.min(this.#chunkBytes - this.#pieceBytes, rest.length)
      this.#pieces.push(rest.subarray(0, take))
      this.#pieceBytes += take
      rest = rest.subarray(take)
      if (this.#pieceBytes === this.#chunkBytes) this.#endLeaf()
    }
  }

  /** The CID in its canonical text form. The hasher is spent afterwards. */
  digest(): string {
    if (this.#pieceBytes > 0 || this.#sizeBytes === 0) this.#endLeaf()
    for (let level = 0; ; level += 1) {
      const links = this.#levels[level] ?? []
      if (level === this.#levels.length - 1 && links.length === 1) return cidOfDigest(links[0]!.digest)
      if (links.length > 0) this.#endNode(level)
    }
  }

  #endLeaf(): void {
    const { head, tail } = leafFrame(this.#pieceBytes)
    const hash = sha256().update(head)
    for (const piece of this.#pieces) hash.update(piece)
    const digest = hash.update(tail).digest()
    const link = { digest, fileBytes: this.#pieceBytes, blockBytes: head.length + this.#pieceBytes + tail.length }
    this.#pieces = []
    this.#pieceBytes = 0
    this.#onLeaf?.(digest)
    this.#push(0, link)
  }

  #push(level: number, link: DagLink): void {
    const links = this.#levels[level] ?? []
    this.#levels[level] = links
    links.push(link)
    if (links.length === this.#maxLinks) this.#endNode(level)
  }

  #endNode(level: number): void {
    const links = this.#levels[level]!
    this.#levels[level] = []
    const block = encodeNode(links)
    this.#push(level + 1, {
      digest: sha256().update(block).digest(),
      fileBytes: links.reduce((sum, link) => sum + link.fileBytes, 0),
      blockBytes: links.reduce((sum, link) => sum + link.blockBytes, block.length)
    })
  }
}

/** The CID of a file whose root block has this SHA-256, in its canonical text form. */
export function cidOfDigest(digest: Uint8Array): string {
  return CID.createV1(DAG_PB, createDigest(SHA2_256, digest)).toString()
}

/** The SHA-256 of the root block that a CID in canonical text form names. */
export function digestOfCid(cid: string): Uint8Array {
  return CID.parse(cid).multihash.digest
}

/** The CID of a whole stream, in its canonical text form. */
export async function cidOf(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<string> {
  const hasher = new CidHasher()
  for await (const bytes of source) hasher.update(bytes)
  return hasher.digest()
}

/**
 * Check a text and give it back in canonical form (CIDv1, base32). CIDv0 (`Qm…`) and other multibases of the same
 * CID are aliases.
 * @throws CidInvalidError
 */
export function parseCid(text: string): string {
  // Most are asked for again and again, and in their canonical form.
  if (canonical.has(text)) return text
  const cid = canonicalOf(text)
  if (canonical.size >= CANONICAL_KEPT) canonical.clear()
  canonical.add(cid)
  return cid
}

/** Texts known to be canonical, so that they need not be decoded again; all forgotten when there are too many. */
const canonical = new Set<string>()
const CANONICAL_KEPT = 4096

function canonicalOf(text: string): string {
  if (text.length > CID_TEXT_MAX) throw new CidInvalidError(text, `it is longer than ${CID_TEXT_MAX} characters`)
  let cid: CID
  try {
    cid = CID.parse(text)
  } catch {
    throw new CidInvalidError(text, 'it cannot be decoded')
  }
  if (cid.code !== DAG_PB) throw new CidInvalidError(text, 'its codec is not dag-pb (0x70)')
  if (cid.multihash.code !== SHA2_256 || cid.multihash.digest.length !== DIGEST_BYTES) {
    throw new CidInvalidError(text, 'its hash is not sha2-256')
  }
  return cid.toV1().toString()
}

/** Whether a text is a CID in canonical form. */
export function isCid(text: string): boolean {
  try {
    return parseCid(text) === text
  } catch {
    return false
  }
}

/**
 * Pass bytes on and compare their CID at the end. The last piece is held back until the CID is known, so a reader
 * never gets the whole of wrong bytes.
 * @throws CidMismatchError instead of the last piece
 */
export async function* verifyCid(cid: string, source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const hasher = new CidHasher()
  let held: Uint8Array | null = null
  for await (const bytes of source) {
    if (bytes.length === 0) continue
    hasher.update(bytes)
    if (held) yield held
    held = bytes
  }
  const actual = hasher.digest()
  if (actual !== cid) throw new CidMismatchError(cid, actual)
  if (held) yield held
}
