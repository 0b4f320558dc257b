/** Files that every way of a benchmark stores: the same seed, number and size give the same bytes in any process. */
import { createCipheriv, hash } from 'node:crypto'

const KEY_BYTES = 16
const COUNTER_BYTES = 16
/** No block of a store that cuts files into blocks may be there already: every piece of this size has the file's number. */
const STAMP_EVERY_BYTES = 64 * 1024
const STAMP_BYTES = 8

/** File 0 of a seed: bytes that nothing can compress. */
export function firstFile(seed: string, bytes: number): Buffer<ArrayBuffer> {
  const key = hash('sha256', seed, 'buffer').subarray(0, KEY_BYTES)
  const body = Buffer.alloc(bytes)
  const stream = createCipheriv('aes-128-ctr', key, Buffer.alloc(COUNTER_BYTES)).update(body)
  stream.copy(body)
  return numbered(body, 0)
}

/** Makes a file of the same seed into the one of that number, in place. */
export function numbered<Body extends Buffer>(body: Body, index: number): Body {
  for (let at = 0; at + STAMP_BYTES <= body.length; at += STAMP_EVERY_BYTES) body.writeBigUInt64BE(BigInt(index), at)
  return body
}
