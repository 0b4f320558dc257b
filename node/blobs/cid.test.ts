import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { BlackHoleBlockstore } from 'blockstore-core/black-hole'
import fc from 'fast-check'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { CidInvalidError, CidMismatchError } from '../errors.ts'
import { CidHasher, cidOf, parseCid, verifyCid } from './cid.ts'
import { cidVectors as vectors } from './cid.vectors.ts'

const EMPTY_CID = 'bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y'

async function reference(bytes: Uint8Array, chunkSize: number, maxChildrenPerNode: number): Promise<string> {
  let cid = ''
  const options = {
    rawLeaves: false,
    cidVersion: 1 as const,
    chunker: fixedSize({ chunkSize }),
    layout: balanced({ maxChildrenPerNode })
  }
  for await (const entry of importer([{ content: bytes }], new BlackHoleBlockstore(), options)) {
    cid = entry.cid.toString()
  }
  return cid
}

describe('cid', () => {
  it('equals the published vectors', async () => {
    assert.equal(await cidOf([]), EMPTY_CID)
    for (const [name, bytes, cid] of vectors) assert.equal(await cidOf([bytes]), cid, name)
  })

  it('does not depend on how the bytes are cut', async () => {
    const [, bytes, cid] = vectors[6]!
    for (const step of [1021, 65536, 262143, 262145]) {
      const hasher = new CidHasher()
      for (let at = 0; at < bytes.length; at += step) hasher.update(bytes.subarray(at, at + step))
      assert.equal(hasher.digest(), cid)
      assert.equal(hasher.sizeBytes, bytes.length)
    }
  })

  it('builds the same trees as ipfs-unixfs-importer at any depth', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 2000 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 2, max: 5 }),
        async (sizeBytes, chunkBytes, maxLinks) => {
          const bytes = createHash('shake256', { outputLength: Math.max(1, sizeBytes) })
            .update(`${sizeBytes}`)
            .digest()
            .subarray(0, sizeBytes)
          const hasher = new CidHasher({ chunkBytes, maxLinks })
          hasher.update(bytes)
          assert.equal(hasher.digest(), await reference(bytes, chunkBytes, maxLinks))
        }
      ),
      { numRuns: 60 }
    )
  })

  it('equals ipfs-unixfs-importer where a second level of nodes begins', async () => {
    const bytes = Buffer.alloc(175 * 262144, 7)
    assert.equal(await cidOf([bytes]), await reference(bytes, 262144, 174))
  })

  it('reads CIDs, aliases included, into one canonical text', () => {
    const canonical = vectors[0]![2]
    assert.equal(parseCid(canonical), canonical)
    assert.equal(parseCid('Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD'), canonical)
  })

  it('refuses what is not a CID of ours', () => {
    const bad = [
      '',
      'bafy',
      '../../etc/passwd',
      'bafybeihykld7uyxzogax6vgyvag42y7464eywpf55gxi5qpoisibh3c5w1',
      `${vectors[0]![2]}a`,
      'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e',
      'x'.repeat(10_000),
      'Qm'
    ]
    for (const cid of bad) assert.throws(() => parseCid(cid), CidInvalidError, cid.slice(0, 40))
  })

  it('holds the end of wrong bytes back', async () => {
    const [, bytes, cid] = vectors[6]!
    const collect = async (source: AsyncIterable<Uint8Array>, got: Uint8Array[]) => {
      for await (const piece of verifyCid(cid, source)) got.push(piece)
    }
    async function* cut(from: Uint8Array) {
      for (let at = 0; at < from.length; at += 65536) yield from.subarray(at, at + 65536)
    }
    const good: Uint8Array[] = []
    await collect(cut(bytes), good)
    assert.ok(Buffer.concat(good).equals(bytes))
    const wrong = Buffer.from(bytes)
    wrong[5] = 1
    const got: Uint8Array[] = []
    await assert.rejects(collect(cut(wrong), got), CidMismatchError)
    assert.equal(Buffer.concat(got).length, bytes.length - 65536)
  })
})
