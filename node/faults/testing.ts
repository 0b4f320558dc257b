/** What the fault programs and tests share: blobs from seeds, and damage on disk. */
import { createHash, randomInt } from 'node:crypto'
import { open } from 'node:fs/promises'
import type { BlobStore } from '../blobs/store.types.ts'

const PIECE_BYTES = 64 * 1024
const MIB = 1024 * 1024

/** Store bytes. @returns the CID */
export async function put(store: BlobStore, bytes: Uint8Array): Promise<string> {
  const staged = await store.stage(inPieces(bytes), { maxBytes: 64 * MIB, sizeHint: bytes.length })
  await staged.commit()
  return staged.cid
}

/** The bytes as a body arrives. */
export async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES)
}

/** Bytes that only `seed` decides, so that whoever knows it can tell whether they came back right. */
export function bytesOf(seed: string, sizeBytes: number): Buffer {
  const blocks: Buffer[] = []
  for (let i = 0; blocks.length * 64 < sizeBytes; i += 1)
    blocks.push(createHash('sha512').update(`${seed}:${i}`).digest())
  return Buffer.concat(blocks).subarray(0, sizeBytes)
}

/** Flip one bit of a file, at a random place unless one is given. */
export async function flipBit(path: string, bit?: number): Promise<void> {
  const file = await open(path, 'r+')
  try {
    const { size } = await file.stat()
    const at = bit ?? randomInt(size * 8)
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at >> 3)
    byte[0]! ^= 1 << (at & 7)
    await file.write(byte, 0, 1, at >> 3)
  } finally {
    await file.close()
  }
}
