/** SHA-256 in pieces where there is no Node. The browser's own takes only whole messages, and only on pages of https. */
import { sha256 as noble } from '@noble/hashes/sha2.js'
import type { Sha256 } from './sha256.ts'

export function sha256(): Sha256 {
  return noble.create()
}
