/**
 * Proofs by leaves: some leaves of the blob, which the challenge chooses, and every block on the way from the root to
 * them. Each block has the hash that the one above names, the root's is in the CID, and each is to the byte what a
 * blob of the signed size has in its place (dag-shape.ts): so whoever knows the CID alone can check it, and a wrong size
 * that would leave fewer leaves to choose from shows at the root.
 */
import { createHash } from 'node:crypto'
import { digestOfCid } from '../blobs/cid.ts'
import { DIGEST_BYTES, leafFrame } from '../blobs/dag.ts'
import { type Dag, type DagShape, dagShape } from '../blobs/dag-shape.ts'
import type { OpenBlob } from '../blobs/store.types.ts'
import { faulty } from './statement.ts'

const DOMAIN = 'warren proof leaves v1'
/** Bytes of a drawn number; SHA-256 gives five. */
const DRAW_BYTES = 6
const DRAW_RANGE = 2 ** (8 * DRAW_BYTES)

/**
 * Indices of the leaves that a challenge asks for: `count` different ones of `leafCount`, ascending, all of them where
 * there are no more. Nothing that the answering node could choose is in it.
 */
export function chooseLeaves(cid: string, challenge: string, count: number, leafCount: number): number[] {
  if (leafCount <= count) return Array.from({ length: leafCount }, (_, index) => index)
  const chosen = new Set<number>()
  // Numbers at the end of the range would make some leaves likelier than others: drawn again.
  const fairBelow = DRAW_RANGE - (DRAW_RANGE % leafCount)
  for (let round = 0; chosen.size < count; round += 1) {
    const drawn = createHash('sha256').update(`${DOMAIN}:${cid}:${challenge}:${round}`).digest()
    for (let at = 0; at + DRAW_BYTES <= drawn.length && chosen.size < count; at += DRAW_BYTES) {
      const number = drawn.readUIntBE(at, DRAW_BYTES)
      if (number < fairBelow) chosen.add(number % leafCount)
    }
  }
  return [...chosen].sort((a, b) => a - b)
}

/** The blocks of an answer in their order: level by level from the root down, each level ascending. */
function blocksOf(shape: DagShape, leaves: readonly number[]): Array<{ level: number; index: number }> {
  const levels: number[][] = [[...leaves]]
  for (let level = 1; level < shape.counts.length; level += 1) {
    levels.push([...new Set(levels[level - 1]!.map(shape.parent))])
  }
  return levels.flatMap((indices, level) => indices.map(index => ({ level, index }))).sort((a, b) => b.level - a.level)
}

/** Bytes of an answer's blocks. */
export function leafPayloadBytes(shape: DagShape, leaves: readonly number[]): number {
  return blocksOf(shape, leaves).reduce((sum, { level, index }) => sum + shape.blockBytes(level, index), 0)
}

/** The blocks of an answer from a blob held here, one chunk in memory. */
export async function* leafBlocks(
  blob: Pick<OpenBlob, 'read'>,
  dag: Dag,
  leaves: readonly number[],
  signal?: AbortSignal
): AsyncGenerator<Uint8Array> {
  const { shape } = dag
  for (const { level, index } of blocksOf(shape, leaves)) {
    if (level > 0) {
      yield dag.block(level, index)
      continue
    }
    const length = shape.leafBytes(index)
    const { head, tail } = leafFrame(length)
    yield head
    yield* blob.read({ offset: index * shape.leafBytes(0), length, signal })
    yield tail
  }
}

/**
 * Check the blocks of an answer as they come, one block in memory.
 * @returns SHA-256 of the challenge and the blocks, in hex, to be compared with the statement's
 * @throws ProofInvalidError SIZE_WRONG, BLOCK_WRONG; and what the source throws
 */
export async function checkLeafPayload(
  facts: { cid: string; challenge: string; sizeBytes: number; leaves: number },
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>
): Promise<string> {
  const { cid, challenge, sizeBytes, leaves } = facts
  const shape = dagShape(sizeBytes)
  const top = shape.counts.length - 1
  const known = new Map<string, Uint8Array>([[`${top}/0`, digestOfCid(cid)]])
  const all = createHash('sha256').update(challenge, 'hex')
  const blocks = blockReader(source)
  for (const { level, index } of blocksOf(shape, chooseLeaves(cid, challenge, leaves, shape.counts[0]!))) {
    const block = await blocks(shape.blockBytes(level, index))
    const name = `${level}/${index}`
    if (block === null) throw faulty('BLOCK_WRONG', `it ends before block ${name}`)
    all.update(block)
    if (!createHash('sha256').update(block).digest().equals(known.get(name)!)) {
      throw faulty('BLOCK_WRONG', `block ${name} does not have the hash that the CID or the block above names`)
    }
    if (level === 0) {
      const { head, tail } = leafFrame(shape.leafBytes(index))
      if (!block.subarray(0, head.length).equals(head) || !block.subarray(block.length - tail.length).equals(tail)) {
        throw faulty('SIZE_WRONG', `block ${name} is no leaf of a blob of ${sizeBytes} bytes`)
      }
      continue
    }
    const digests = shape.decode(level, index, block)
    if (digests === null) throw faulty('SIZE_WRONG', `block ${name} is no node of a blob of ${sizeBytes} bytes`)
    const { first, count } = shape.children(level, index)
    for (let i = 0; i < count; i += 1) {
      known.set(`${level - 1}/${first + i}`, digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES))
    }
  }
  if ((await blocks(1)) !== null) throw faulty('BLOCK_WRONG', 'bytes follow its last block')
  return all.digest('hex')
}

/** Reads so many bytes at a time; null when they end before. */
function blockReader(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
  const pieces = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  let rest: Uint8Array = new Uint8Array(0)
  return async (sizeBytes: number): Promise<Buffer | null> => {
    const parts: Uint8Array[] = []
    for (let missing = sizeBytes; missing > 0; ) {
      if (rest.length === 0) {
        const next = await pieces.next()
        if (next.done) return null
        rest = next.value
      }
      const part = rest.subarray(0, missing)
      parts.push(part)
      missing -= part.length
      rest = rest.subarray(part.length)
    }
    return Buffer.concat(parts)
  }
}
