/** Random texts: nonces, tokens, keys; and how a key is sealed for its owner. Pure but for the randomness. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'

const SEAL_IV_BYTES = 12
const SEAL_TAG_BYTES = 16

/**
 * 32 random bytes in base64url, 43 characters, all of them letters and digits, as EIP-4361 wants a nonce: drawn again
 * until there is no - and no _ (four times on average).
 */
export function newNonce(): string {
  for (;;) {
    const nonce = randomBytes(32).toString('base64url')
    if (!/[-_]/.test(nonce)) return nonce
  }
}

export function newRefreshToken(): string {
  return randomBytes(32).toString('base64url')
}

/** Name of a token (`jti`) or of a login (`sid`). */
export function newId(): string {
  return randomBytes(16).toString('base64url')
}

export function newApiKey(namespace: string): string {
  return `ak_${randomBytes(18).toString('base64url')}:${namespace}`
}

export function newAppId(): string {
  return `app_${randomBytes(12).toString('base64url')}`
}

/** AES-256-GCM: iv, ciphertext, tag. `about` is bound to it: what is sealed for one cannot be opened for another. */
export function seal(secret: Buffer, text: string, about: string): Buffer {
  const iv = randomBytes(SEAL_IV_BYTES)
  const cipher = createCipheriv('aes-256-gcm', secret, iv).setAAD(Buffer.from(about))
  return Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
}

/** null when it was sealed under another secret or about something else. */
export function unseal(secret: Buffer, sealed: Uint8Array, about: string): string | null {
  if (sealed.byteLength < SEAL_IV_BYTES + SEAL_TAG_BYTES) return null
  const bytes = Buffer.from(sealed)
  const decipher = createDecipheriv('aes-256-gcm', secret, bytes.subarray(0, SEAL_IV_BYTES))
    .setAAD(Buffer.from(about))
    .setAuthTag(bytes.subarray(-SEAL_TAG_BYTES))
  try {
    return Buffer.concat([decipher.update(bytes.subarray(SEAL_IV_BYTES, -SEAL_TAG_BYTES)), decipher.final()]).toString(
      'utf8'
    )
  } catch {
    return null
  }
}
