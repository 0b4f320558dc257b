/**
 * Values at rest: AES-256-GCM under a key that is derived (HKDF-SHA256) from the master key for one namespace and one run
 * of a gateway. What is sealed for one kind, namespace and name opens for no other.
 */
import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto'
import { VALUE_KEYS_MAX } from '../constants.ts'

const CIPHER = 'aes-256-gcm'
const KEY_BYTES = 32
const TAG_BYTES = 16
/** First byte of all that is sealed. */
const VERSION = 1
/** One a run: keys of two runs differ, so their nonces may be the same. */
const SALT_BYTES = 16
const COUNTER_BYTES = 6
const NONCE_BYTES = 12
const HEAD_BYTES = 1 + SALT_BYTES + COUNTER_BYTES

/** What is longer than it was: bytes. */
export const SEAL_BYTES = HEAD_BYTES + TAG_BYTES

/** What something is sealed for. Neither `kind` nor `namespace` has a NUL. */
export interface SealedFor {
  kind: 'value' | 'cid' | 'cursor'
  namespace: string
  /** Any text. */
  name: string
}

export interface Sealer {
  seal: (whole: Uint8Array, purpose: SealedFor) => Buffer
  /** null: it was not sealed for this with this master key, or was changed. */
  open: (sealed: Uint8Array, purpose: SealedFor) => Buffer | null
}

export function createSealer(masterKey: Uint8Array): Sealer {
  const ownSalt = randomBytes(SALT_BYTES)
  const ownSaltText = ownSalt.toString('latin1')
  const keys = new Map<string, KeyObject>()
  // Never begins anew while its salt lives, whatever the namespace: no nonce comes twice under one key.
  let counter = 0

  function keyOf(namespace: string, salt: Uint8Array, saltText: string): KeyObject {
    const id = saltText + namespace
    const known = keys.get(id)
    if (known !== undefined) return known
    const key = createSecretKey(
      new Uint8Array(hkdfSync('sha256', masterKey, salt, `warren values 1\0${namespace}`, KEY_BYTES))
    )
    // The oldest goes: deriving it again costs microseconds.
    const [oldest] = keys.keys()
    if (keys.size >= VALUE_KEYS_MAX && oldest !== undefined) keys.delete(oldest)
    keys.set(id, key)
    return key
  }

  return {
    seal(whole, purpose) {
      counter += 1
      const sealed = Buffer.allocUnsafe(SEAL_BYTES + whole.byteLength)
      sealed[0] = VERSION
      sealed.set(ownSalt, 1)
      sealed.writeUIntBE(counter, 1 + SALT_BYTES, COUNTER_BYTES)
      const cipher = createCipheriv(CIPHER, keyOf(purpose.namespace, ownSalt, ownSaltText), nonceOf(sealed))
      cipher.setAAD(boundTo(purpose))
      sealed.set(cipher.update(whole), HEAD_BYTES)
      cipher.final()
      sealed.set(cipher.getAuthTag(), HEAD_BYTES + whole.byteLength)
      return sealed
    },
    open(sealed, purpose) {
      if (sealed.byteLength < SEAL_BYTES || sealed[0] !== VERSION) return null
      const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength)
      const salt = bytes.subarray(1, 1 + SALT_BYTES)
      const key = keyOf(purpose.namespace, salt, salt.toString('latin1'))
      const decipher = createDecipheriv(CIPHER, key, nonceOf(bytes), { authTagLength: TAG_BYTES })
      decipher.setAAD(boundTo(purpose))
      decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
      const whole = decipher.update(bytes.subarray(HEAD_BYTES, -TAG_BYTES))
      try {
        decipher.final()
      } catch {
        return null
      }
      return whole
    }
  }
}

function nonceOf(sealed: Buffer): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES)
  sealed.copy(nonce, NONCE_BYTES - COUNTER_BYTES, 1 + SALT_BYTES, HEAD_BYTES)
  return nonce
}

/** One reading only: the name comes last, and what is before it has no NUL. */
function boundTo({ kind, namespace, name }: SealedFor): Buffer {
  return Buffer.from(`${kind}\0${namespace}\0${name}`)
}
