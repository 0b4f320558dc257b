/** SHA-256 in pieces, by Node. Where `#sha256` is imported for a browser, sha256.browser.ts stands in its place. */
import { createHash } from 'node:crypto'

/** A hash under way: bytes in their order, then the digest, once. */
export interface Sha256 {
  update: (bytes: Uint8Array) => Sha256
  /** 32 bytes. */
  digest: () => Uint8Array
}

export function sha256(): Sha256 {
  return createHash('sha256')
}
