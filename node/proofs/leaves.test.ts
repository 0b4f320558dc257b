import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { MemoryBlockstore } from 'blockstore-core/memory'
import fc from 'fast-check'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { CID_CHUNK_BYTES, CID_MAX_LINKS, CidHasher, cidOfDigest } from '../blobs/cid.ts'
import { leafFrame } from '../blobs/dag.ts'
import { buildDag, dagShape } from '../blobs/dag-shape.ts'
import { ProofInvalidError } from '../errors.ts'
import { checkLeafPayload, chooseLeaves, leafBlocks, leafPayloadBytes } from './leaves.ts'
import { challengedHash, newChallenge } from './statement.ts'

const challenge = fc.stringMatching(/^[0-9a-f]{64}$/)
const CHALLENGE = 'c5'.repeat(32)

/** A blob in memory as the store opens one, and its CID. */
function blobOf(bytes: Uint8Array) {
  const leaves: Uint8Array[] = []
  const hasher = new CidHasher({ onLeaf: digest => leaves.push(digest) })
  hasher.update(bytes)
  const cid = hasher.digest()
  const dag = buildDag(dagShape(bytes.length), Buffer.concat(leaves))
  async function* read({ offset = 0, length = bytes.length } = {}) {
    yield bytes.subarray(offset, offset + length)
  }
  return { cid, sizeBytes: bytes.length, dag, read }
}

/** Bytes that differ from chunk to chunk. */
function content(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes)
  for (let at = 0, i = 0; at < sizeBytes; at += CID_CHUNK_BYTES, i += 1)
    bytes.fill(i % 251, at, Math.min(sizeBytes, at + CID_CHUNK_BYTES))
  return bytes
}

async function answerOf(blob: ReturnType<typeof blobOf>, leaves: number, drawn = CHALLENGE) {
  const chosen = chooseLeaves(blob.cid, drawn, leaves, blob.dag.shape.counts[0]!)
  const pieces: Uint8Array[] = []
  for await (const piece of leafBlocks(blob, blob.dag, chosen)) pieces.push(piece)
  const payload = Buffer.concat(pieces)
  assert.equal(payload.length, leafPayloadBytes(blob.dag.shape, chosen))
  return { payload, chosen, facts: { cid: blob.cid, challenge: drawn, sizeBytes: blob.sizeBytes, leaves } }
}

const refused = (reason: string) => (error: unknown) => error instanceof ProofInvalidError && error.reason === reason

describe('the choice of leaves', () => {
  it('is of different leaves that there are, ascending, as many as asked or all', () => {
    fc.assert(
      fc.property(
        challenge,
        fc.integer({ min: 1, max: 16 }),
        fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 2 ** 40 })),
        (drawn, count, leafCount) => {
          const chosen = chooseLeaves('bafy', drawn, count, leafCount)
          assert.equal(chosen.length, Math.min(count, leafCount))
          assert.ok(chosen.every((leaf, i) => leaf >= 0 && leaf < leafCount && (i === 0 || leaf > chosen[i - 1]!)))
          assert.deepEqual(chooseLeaves('bafy', drawn, count, leafCount), chosen)
        }
      )
    )
  })

  it('is another one for another challenge or blob, and cannot be told from a part of it', () => {
    fc.assert(
      fc.property(challenge, fc.integer({ min: 0, max: 63 }), (drawn, at) => {
        const digit = ((Number.parseInt(drawn[at]!, 16) + 1) % 16).toString(16)
        const other = `${drawn.slice(0, at)}${digit}${drawn.slice(at + 1)}`
        // Eight of 2^32: the same by chance once in 10^72.
        const chosen = chooseLeaves('bafy', drawn, 8, 2 ** 32)
        assert.notDeepEqual(chooseLeaves('bafy', other, 8, 2 ** 32), chosen)
        assert.notDeepEqual(chooseLeaves('bafz', drawn, 8, 2 ** 32), chosen)
      })
    )
  })

  it('has every leaf about as often as any other', () => {
    const leafCount = 23
    const rounds = 4000
    const seen = Array<number>(leafCount).fill(0)
    for (let round = 0; round < rounds; round += 1) {
      const drawn = createHash('sha256').update(`round ${round}`).digest('hex')
      for (const leaf of chooseLeaves('bafy', drawn, 4, leafCount)) seen[leaf]! += 1
    }
    const mean = (rounds * 4) / leafCount
    const chiSquare = seen.reduce((sum, count) => sum + (count - mean) ** 2 / mean, 0)
    // 22 degrees of freedom: above 48 once in a thousand choices of these rounds, which never change.
    assert.ok(chiSquare < 48, `${chiSquare}`)
  })
})

describe('a proof by leaves', () => {
  const SIZES = [
    1,
    1000,
    CID_CHUNK_BYTES - 1,
    CID_CHUNK_BYTES,
    CID_CHUNK_BYTES + 1,
    5 * CID_CHUNK_BYTES,
    CID_MAX_LINKS * CID_CHUNK_BYTES,
    CID_MAX_LINKS * CID_CHUNK_BYTES + 1
  ]

  it('has the blocks that ipfs-unixfs-importer makes, and they hold with the CID alone', async () => {
    for (const sizeBytes of SIZES) {
      const bytes = content(sizeBytes)
      const store = new MemoryBlockstore()
      const options = {
        rawLeaves: false,
        cidVersion: 1 as const,
        chunker: fixedSize({ chunkSize: CID_CHUNK_BYTES }),
        layout: balanced({ maxChildrenPerNode: CID_MAX_LINKS })
      }
      let root = ''
      for await (const { cid } of importer([{ content: bytes }], store, options)) root = cid.toString()
      const names = new Set<string>()
      for await (const { cid } of store.getAll()) names.add(Buffer.from(cid.multihash.digest).toString('hex'))

      const blob = blobOf(bytes)
      assert.equal(blob.cid, root)
      const { payload, facts, chosen } = await answerOf(blob, 3)
      const hash = await checkLeafPayload(facts, [payload.subarray(0, 1), payload.subarray(1)])
      assert.equal(hash, (await challengedHash(facts.challenge, [payload])).bytesHash)

      let at = 0
      const { shape } = blob.dag
      const take = (length: number) => {
        at += length
        return createHash('sha256')
          .update(payload.subarray(at - length, at))
          .digest('hex')
      }
      for (let level = shape.counts.length - 1; level >= 0; level -= 1) {
        const indices = new Set(chosen.map(leaf => Math.floor(leaf / CID_MAX_LINKS ** level)))
        for (const index of indices) assert.ok(names.has(take(shape.blockBytes(level, index))), `${level}/${index}`)
      }
      assert.equal(at, payload.length)
    }
  })

  it('does not hold with one byte altered, missing or added, wherever it is', async () => {
    const { payload, facts } = await answerOf(blobOf(content(175 * CID_CHUNK_BYTES)), 2)
    await fc.assert(
      fc.asyncProperty(fc.nat(payload.length - 1), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
        const wrong = Buffer.from(payload)
        wrong[at]! ^= mask
        await assert.rejects(checkLeafPayload(facts, [wrong]), ProofInvalidError)
      }),
      { numRuns: 40 }
    )
    await assert.rejects(checkLeafPayload(facts, [payload.subarray(0, -1)]), refused('BLOCK_WRONG'))
    await assert.rejects(checkLeafPayload(facts, [payload, Buffer.alloc(1)]), refused('BLOCK_WRONG'))
    await assert.rejects(checkLeafPayload(facts, []), refused('BLOCK_WRONG'))
  })

  it('does not hold with the leaves of another challenge, or fewer of them', async () => {
    const blob = blobOf(content(175 * CID_CHUNK_BYTES))
    const { payload, facts } = await answerOf(blob, 2)
    await assert.rejects(checkLeafPayload({ ...facts, challenge: newChallenge() }, [payload]), ProofInvalidError)
    const fewer = await answerOf(blob, 1)
    await assert.rejects(checkLeafPayload(facts, [fewer.payload]), refused('BLOCK_WRONG'))
  })

  it('cannot name another size, to have fewer leaves to choose from', async () => {
    const blob = blobOf(content(175 * CID_CHUNK_BYTES))
    const { payload, facts } = await answerOf(blob, 2)
    for (const sizeBytes of [
      1,
      CID_CHUNK_BYTES,
      174 * CID_CHUNK_BYTES,
      blob.sizeBytes - 1,
      blob.sizeBytes + 1,
      2 ** 50
    ]) {
      await assert.rejects(checkLeafPayload({ ...facts, sizeBytes }, [payload]), ProofInvalidError, `${sizeBytes}`)
    }
  })

  it('refuses a root that was made to lie of the size, though the CID was made from it', async () => {
    const blob = blobOf(content(3 * CID_CHUNK_BYTES))
    const { payload } = await answerOf(blob, 3)
    const root = blob.dag.block(1, 0)
    const lying = Buffer.from(root)
    const at = root.lastIndexOf(Buffer.from([0x18, 0x80, 0x80, 0x30]))
    assert.ok(at > 0)
    // Two leaves' bytes instead of three.
    lying.set([0x80, 0x80, 0x20], at + 1)
    const cid = cidOfDigest(createHash('sha256').update(lying).digest())
    const blocks = [lying, payload.subarray(root.length)]
    const facts = { cid, challenge: CHALLENGE, leaves: 3 }
    const honest = { ...facts, sizeBytes: 3 * CID_CHUNK_BYTES }
    await assert.rejects(checkLeafPayload(honest, blocks), refused('SIZE_WRONG'))
    await assert.rejects(checkLeafPayload({ ...honest, sizeBytes: 2 * CID_CHUNK_BYTES }, blocks), ProofInvalidError)
  })

  it('refuses a block that is no leaf of a file where a leaf must be', async () => {
    const { head, tail } = leafFrame(10)
    const folder = Buffer.concat([head, Buffer.alloc(10), tail])
    // UnixFS type: folder, not file.
    folder[3] = 0x01
    const cid = cidOfDigest(createHash('sha256').update(folder).digest())
    const facts = { cid, challenge: CHALLENGE, sizeBytes: 10, leaves: 1 }
    await assert.rejects(checkLeafPayload(facts, [folder]), refused('SIZE_WRONG'))
  })
})
