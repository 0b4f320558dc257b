import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { MemoryBlockstore } from 'blockstore-core/memory'
import fc from 'fast-check'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { CID_CHUNK_BYTES, CID_MAX_LINKS, CidHasher, cidOfDigest } from './cid.ts'
import { buildDag, dagShape } from './dag-shape.ts'

/** The blocks that the importer makes, by the hex of their SHA-256, and the root's CID. */
async function imported(bytes: Uint8Array, chunkSize: number, maxChildrenPerNode: number) {
  const store = new MemoryBlockstore()
  const options = {
    rawLeaves: false,
    cidVersion: 1 as const,
    chunker: fixedSize({ chunkSize }),
    layout: balanced({ maxChildrenPerNode })
  }
  let root = ''
  for await (const { cid } of importer([{ content: bytes }], store, options)) root = cid.toString()
  const blocks = new Map<string, Buffer>()
  for await (const { cid, bytes: chunks } of store.getAll()) {
    const parts: Uint8Array[] = []
    for await (const part of chunks) parts.push(part)
    blocks.set(Buffer.from(cid.multihash.digest).toString('hex'), Buffer.concat(parts))
  }
  return { root, blocks }
}

async function sameAsImporter(bytes: Uint8Array, chunkBytes: number, maxLinks: number): Promise<void> {
  const { root, blocks } = await imported(bytes, chunkBytes, maxLinks)
  const leaves: Uint8Array[] = []
  const hasher = new CidHasher({ chunkBytes, maxLinks, onLeaf: digest => leaves.push(digest) })
  hasher.update(bytes)
  assert.equal(hasher.digest(), root)
  const shape = dagShape(bytes.length, { chunkBytes, maxLinks })
  const dag = buildDag(shape, Buffer.concat(leaves))
  assert.equal(cidOfDigest(dag.root), root)
  for (const [index, digest] of leaves.entries()) {
    assert.equal(blocks.get(Buffer.from(digest).toString('hex'))?.length, shape.blockBytes(0, index))
  }
  for (let level = 1; level < shape.counts.length; level += 1) {
    for (let index = 0; index < shape.counts[level]!; index += 1) {
      const block = dag.block(level, index)
      const name = createHash('sha256').update(block).digest('hex')
      assert.ok(blocks.get(name)?.equals(block), `node ${level}/${index}`)
      assert.equal(block.length, shape.blockBytes(level, index))
      assert.equal(shape.decode(level, index, block)?.length, shape.children(level, index).count * 32)
    }
  }
}

describe('the shape of a file’s blocks', () => {
  it('is what ipfs-unixfs-importer builds, at its own chunk size', async () => {
    for (const [sizeBytes, counts] of [
      [1, [1]],
      [CID_CHUNK_BYTES - 1, [1]],
      [CID_CHUNK_BYTES, [1]],
      [CID_CHUNK_BYTES + 1, [2, 1]],
      [CID_MAX_LINKS * CID_CHUNK_BYTES, [174, 1]],
      [CID_MAX_LINKS * CID_CHUNK_BYTES + 1, [175, 2, 1]]
    ] as const) {
      assert.deepEqual(dagShape(sizeBytes).counts, counts)
      await sameAsImporter(Buffer.alloc(sizeBytes, 7), CID_CHUNK_BYTES, CID_MAX_LINKS)
    }
  })

  it('is what the importer builds at any depth', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 1500 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 2, max: 5 }),
        sameAsImporter
      ),
      { numRuns: 60 }
    )
  })

  it('takes no other bytes for a node: not one bit, not another size of the file', () => {
    const shape = dagShape(300 * CID_CHUNK_BYTES)
    const dag = buildDag(shape, Buffer.alloc(300 * 32, 5))
    const block = dag.block(2, 0)
    // Each of the two links has its digest from its byte 8 on; the second byte of a link is its length.
    const starts = [8, 8 + 2 + block[1]!]
    const isDigest = (at: number) => starts.some(start => at >= start && at < start + 32)
    for (let at = 0; at < block.length; at += 1) {
      const wrong = Buffer.from(block)
      wrong[at]! ^= 1
      // A digest may be anything here: it is the block below that must have it.
      assert.equal(shape.decode(2, 0, wrong) === null, !isDigest(at), `byte ${at}`)
    }
    for (const other of [299, 301].map(leaves => dagShape(leaves * CID_CHUNK_BYTES))) {
      assert.equal(other.decode(2, 0, block), null)
    }
    assert.equal(shape.decode(2, 0, block.subarray(1)), null)
    assert.equal(shape.decode(2, 0, Buffer.alloc(0)), null)
  })
})
