/**
 * The tree of blocks that a file of a given size has: how many nodes on each level, how large each of them is, and which
 * links it has. All of it follows from the size alone, so a block somebody hands over can be held against what it must
 * be, and only its digests are taken from it.
 */
import { createHash } from 'node:crypto'
import { CID_CHUNK_BYTES, CID_MAX_LINKS, type CidHasherOptions } from './cid.ts'
import { type DagLink, DIGEST_BYTES, encodeNode, leafFrame } from './dag.ts'

/** Bytes of a link before its digest: two tags with lengths, then the CID's prefix. */
const BEFORE_DIGEST_BYTES = 8
const NO_DIGEST = new Uint8Array(DIGEST_BYTES)

/** A node's block without its digests, and where they go. All full nodes of a level share one. */
interface Template {
  block: Buffer
  digestsAt: readonly number[]
}

interface Sizes {
  fileBytes: number
  blockBytes: number
  /** Of the block alone. */
  ownBytes: number
}

/** Nodes are named by level (0: leaves) and index; the root is index 0 of the last level. */
export interface DagShape {
  readonly sizeBytes: number
  /** Nodes on each level, leaves first. The last is 1. */
  readonly counts: readonly number[]
  /** Bytes of one block. */
  blockBytes: (level: number, index: number) => number
  /** Bytes of the file in a leaf. */
  leafBytes: (index: number) => number
  /** What a node links to, on the level below: the first and how many. */
  children: (level: number, index: number) => { first: number; count: number }
  /** Index of the node above. */
  parent: (index: number) => number
  /** The block of a node over the digests of its children, 32 bytes each, one after the other. */
  encode: (level: number, index: number, digests: Buffer) => Buffer
  /** Those digests of a node's block; null when the block is not what a node of this place must be, to the byte. */
  decode: (level: number, index: number, block: Buffer) => Buffer | null
}

/** The shape of a file of `sizeBytes`, at least 1. */
export function dagShape(sizeBytes: number, options: Pick<CidHasherOptions, 'chunkBytes' | 'maxLinks'> = {}): DagShape {
  const { chunkBytes = CID_CHUNK_BYTES, maxLinks = CID_MAX_LINKS } = options
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 1) throw new RangeError(`a file of ${sizeBytes} bytes`)
  const counts = [Math.ceil(sizeBytes / chunkBytes)]
  const leafSizes = (fileBytes: number): Sizes => {
    const { head, tail } = leafFrame(fileBytes)
    const ownBytes = head.length + fileBytes + tail.length
    return { fileBytes, blockBytes: ownBytes, ownBytes }
  }
  /** On each level all nodes but the last are alike. */
  const levels = [{ full: leafSizes(chunkBytes), last: leafSizes(sizeBytes - (counts[0]! - 1) * chunkBytes) }]
  while (counts.at(-1)! > 1) {
    const below = levels.at(-1)!
    const count = Math.ceil(counts.at(-1)! / maxLinks)
    const inLast = counts.at(-1)! - (count - 1) * maxLinks
    levels.push({
      full: nodeSizes(Array<Sizes>(maxLinks).fill(below.full)),
      last: nodeSizes([...Array<Sizes>(inLast - 1).fill(below.full), below.last])
    })
    counts.push(count)
  }

  const sizes = (level: number, index: number): Sizes => {
    const { full, last } = levels[level]!
    return index === counts[level]! - 1 ? last : full
  }
  const children = (level: number, index: number) => {
    const first = index * maxLinks
    return { first, count: Math.min(maxLinks, counts[level - 1]! - first) }
  }
  const templates = new Map<Sizes, Template>()
  function template(level: number, index: number): Template {
    const place = sizes(level, index)
    const known = templates.get(place)
    if (known) return known
    const { first, count } = children(level, index)
    const links = Array.from({ length: count }, (_, i) => linkOf(sizes(level - 1, first + i)))
    const block = Buffer.from(encodeNode(links))
    const digestsAt: number[] = []
    // A link is 0x12, its length in one byte, and so many bytes.
    for (let at = 0; digestsAt.length < count; at += 2 + block[at + 1]!) digestsAt.push(at + BEFORE_DIGEST_BYTES)
    const made = { block, digestsAt }
    templates.set(place, made)
    return made
  }

  function encode(level: number, index: number, digests: Buffer): Buffer {
    const { block, digestsAt } = template(level, index)
    const filled = Buffer.from(block)
    for (const [i, at] of digestsAt.entries()) digests.copy(filled, at, i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES)
    return filled
  }

  function decode(level: number, index: number, block: Buffer): Buffer | null {
    const { block: empty, digestsAt } = template(level, index)
    if (block.length !== empty.length) return null
    const digests = Buffer.concat(digestsAt.map(at => block.subarray(at, at + DIGEST_BYTES)))
    return encode(level, index, digests).equals(block) ? digests : null
  }

  return {
    sizeBytes,
    counts,
    blockBytes: (level, index) => sizes(level, index).ownBytes,
    leafBytes: index => sizes(0, index).fileBytes,
    children,
    parent: index => Math.floor(index / maxLinks),
    encode,
    decode
  }
}

const linkOf = ({ fileBytes, blockBytes }: Sizes): DagLink => ({ digest: NO_DIGEST, fileBytes, blockBytes })

function nodeSizes(below: readonly Sizes[]): Sizes {
  const ownBytes = encodeNode(below.map(linkOf)).length
  const sum = (of: (sizes: Sizes) => number) => below.reduce((total, sizes) => total + of(sizes), 0)
  return { fileBytes: sum(sizes => sizes.fileBytes), blockBytes: sum(sizes => sizes.blockBytes) + ownBytes, ownBytes }
}

/** A tree whose leaves' digests are known. */
export interface Dag {
  readonly shape: DagShape
  /** SHA-256 of the root's block. */
  readonly root: Uint8Array
  /** Block of an inner node. */
  block: (level: number, index: number) => Buffer
}

/** Builds the inner nodes over the leaves' digests, which are 32 bytes each, one after the other. */
export function buildDag(shape: DagShape, leafDigests: Buffer): Dag {
  const { counts } = shape
  if (leafDigests.length !== counts[0]! * DIGEST_BYTES) {
    throw new RangeError(`${leafDigests.length} bytes of digests for ${counts[0]} leaves`)
  }
  const levels = [leafDigests]
  const block = (level: number, index: number): Buffer => {
    const { first, count } = shape.children(level, index)
    return shape.encode(level, index, levels[level - 1]!.subarray(first * DIGEST_BYTES, (first + count) * DIGEST_BYTES))
  }
  for (let level = 1; level < counts.length; level += 1) {
    const digests: Buffer[] = []
    for (let index = 0; index < counts[level]!; index += 1) {
      digests.push(createHash('sha256').update(block(level, index)).digest())
    }
    levels.push(Buffer.concat(digests))
  }
  return { shape, root: levels.at(-1)!, block }
}
