/**
 * The digests of a blob's leaves, kept beside large blobs as `leaves`: sealed files hold no blocks, and without these a
 * path from the root to one leaf would cost reading the whole blob.
 *
 * The file is not synced, because it proves itself: the nodes built over it end in the CID or they do not. One that is
 * missing, torn or altered is made again from the blob. It is sealed under the blob's key all the same: whoever steals
 * the disk could else try guesses at one chunk without knowing the others.
 */
import type { KeyObject } from 'node:crypto'
import { open, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CID_CHUNK_BYTES, CidHasher, cidOfDigest } from './cid.ts'
import { DIGEST_BYTES } from './dag.ts'
import { buildDag, type Dag, dagShape } from './dag-shape.ts'
import { FILE_MODE } from './durable.ts'
import { openChunk, SEAL_TAG_BYTES, SealBrokenError, sealChunk } from './seal.ts'

export const LEAVES_FILE = 'leaves'
/** Blobs of more bytes (16 leaves) have the file; reading a smaller one is no dearer than a file of its own. */
export const LEAVES_KEPT_ABOVE_BYTES = 16 * CID_CHUNK_BYTES
/** Its number among the sealed chunks of the blob: no data chunk comes near. Its bytes are always the same for a blob. */
const LEAVES_CHUNK = Number.MAX_SAFE_INTEGER

/** Where the tree of one blob is kept. */
export interface DagPlace {
  folder: string
  cid: string
  sizeBytes: number
  /** The blob's own. */
  key: KeyObject
}

/** Write the digests of a blob that is being staged into its folder, if it is large enough. */
export async function keepLeafDigests(
  { folder, sizeBytes, key }: Omit<DagPlace, 'cid'>,
  digests: readonly Uint8Array[]
): Promise<void> {
  if (sizeBytes <= LEAVES_KEPT_ABOVE_BYTES) return
  await writeFile(join(folder, LEAVES_FILE), sealed(key, digests), { mode: FILE_MODE, flag: 'wx' })
}

/** The tree of a large blob from the file in its folder; null when the file is not there or not right. */
export async function readKeptDag({ folder, cid, sizeBytes, key }: DagPlace): Promise<Dag | null> {
  if (sizeBytes <= LEAVES_KEPT_ABOVE_BYTES) return null
  const shape = dagShape(sizeBytes)
  try {
    const bytes = await readExactly(join(folder, LEAVES_FILE), shape.counts[0]! * DIGEST_BYTES + SEAL_TAG_BYTES)
    if (bytes === null) return null
    const dag = buildDag(shape, openChunk(key, LEAVES_CHUNK, true, bytes))
    return cidOfDigest(dag.root) === cid ? dag : null
  } catch {
    return null
  }
}

/**
 * The tree of a blob from its bytes, all of them; for a large one the file is written for the next time.
 * @throws SealBrokenError when they have another CID
 */
export async function rebuildDag(place: DagPlace, bytes: AsyncIterable<Uint8Array>): Promise<Dag> {
  const { folder, cid, sizeBytes, key } = place
  const leaves: Uint8Array[] = []
  const hasher = new CidHasher({ onLeaf: digest => leaves.push(digest) })
  for await (const piece of bytes) hasher.update(piece)
  if (hasher.digest() !== cid) throw new SealBrokenError('its bytes have another CID')
  if (sizeBytes > LEAVES_KEPT_ABOVE_BYTES) await replace(join(folder, LEAVES_FILE), sealed(key, leaves))
  return buildDag(dagShape(sizeBytes), Buffer.concat(leaves))
}

function sealed(key: KeyObject, digests: readonly Uint8Array[]): Buffer {
  return Buffer.concat(sealChunk(key, LEAVES_CHUNK, true, digests))
}

/** Whole or not at all. A disk that refuses, or a blob that went away, costs only the time of another rebuild. */
async function replace(path: string, bytes: Buffer): Promise<void> {
  const temporary = `${path}.new`
  try {
    await writeFile(temporary, bytes, { mode: FILE_MODE })
    await rename(temporary, path)
  } catch {
    await rm(temporary, { force: true }).catch(() => {})
  }
}

async function readExactly(path: string, sizeBytes: number): Promise<Buffer | null> {
  const file = await open(path, 'r')
  try {
    if ((await file.stat()).size !== sizeBytes) return null
    const bytes = await file.readFile()
    return bytes.length === sizeBytes ? bytes : null
  } finally {
    await file.close()
  }
}
