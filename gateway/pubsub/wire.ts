/**
 * What gateways say to each other about a topic, sealed: whoever takes part in the gossip without the gateways' key can
 * neither read a message, nor make one, nor move one to another topic. The topic's name and the sizes are not hidden.
 *
 * version (1 byte) · publisher (12) · nonce (12) · AES-256-GCM of [ kind (1) · seq (6) · timestamp (6) · began (6) · body ] · tag (16)
 *
 * The key is HKDF-SHA-256 of the gateways' secret for one namespace and one publisher; the topic's internal name and
 * all bytes before the ciphertext are authenticated.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'

export const KIND = { message: 1, join: 2, leave: 3, state: 4 } as const

export interface Told {
  kind: number
  /** 16 characters of base64url. */
  publisher: string
  /** Of a message its own; else the publisher's newest. */
  seq: number
  /** ms since the epoch. */
  timestamp: number
  /** When the publisher made its first message on the topic, ms since the epoch; 0: it has made none. */
  beganAt: number
  /** A message's data; else JSON. */
  body: Buffer
}

const VERSION = 1
const PUBLISHER_BYTES = 12
const NONCE_BYTES = 12
const TAG_BYTES = 16
const HEAD_BYTES = 1 + PUBLISHER_BYTES + NONCE_BYTES
const UINT48_BYTES = 6
const FIELDS_BYTES = 1 + 3 * UINT48_BYTES
const KEY_BYTES = 32
/** Keys at hand; anybody may make us derive one. */
const KEYS_MAX = 1024

export interface Wire {
  seal: (topic: SealedTopic, told: Told) => Buffer
  /** null: not sealed with this key for this topic, or no message at all. */
  open: (topic: SealedTopic, sealed: Uint8Array) => Told | null
}

/** A topic by its internal name, and its namespace. */
export interface SealedTopic {
  namespace: string
  inner: string
}

export function newPublisher(): string {
  return randomBytes(PUBLISHER_BYTES).toString('base64url')
}

/** @param secret shared by all gateways of a network, at least 32 random bytes */
export function createWire(secret: Uint8Array): Wire {
  const keys = new Map<string, Buffer>()

  function keyOf(namespace: string, publisher: Buffer): Buffer {
    const name = `${namespace} ${publisher.toString('base64url')}`
    const key =
      keys.get(name) ?? Buffer.from(hkdfSync('sha256', secret, publisher, `warren pubsub ${namespace}`, KEY_BYTES))
    keys.delete(name)
    keys.set(name, key)
    if (keys.size > KEYS_MAX) keys.delete(keys.keys().next().value as string)
    return key
  }

  return {
    seal({ namespace, inner }, { kind, publisher, seq, timestamp, beganAt, body }) {
      const name = Buffer.from(publisher, 'base64url')
      const head = Buffer.concat([Buffer.of(VERSION), name, randomBytes(NONCE_BYTES)])
      const fields = Buffer.alloc(FIELDS_BYTES)
      fields[0] = kind
      for (const [at, value] of [seq, timestamp, beganAt].entries()) {
        fields.writeUIntBE(value, 1 + at * UINT48_BYTES, UINT48_BYTES)
      }
      const cipher = createCipheriv('aes-256-gcm', keyOf(namespace, name), head.subarray(1 + PUBLISHER_BYTES))
      cipher.setAAD(authenticated(inner, head))
      return Buffer.concat([head, cipher.update(fields), cipher.update(body), cipher.final(), cipher.getAuthTag()])
    },
    open({ namespace, inner }, given) {
      const sealed = Buffer.from(given.buffer, given.byteOffset, given.byteLength)
      if (sealed.byteLength < HEAD_BYTES + FIELDS_BYTES + TAG_BYTES || sealed[0] !== VERSION) return null
      const head = sealed.subarray(0, HEAD_BYTES)
      const name = head.subarray(1, 1 + PUBLISHER_BYTES)
      const decipher = createDecipheriv('aes-256-gcm', keyOf(namespace, name), head.subarray(1 + PUBLISHER_BYTES))
      decipher.setAAD(authenticated(inner, head))
      decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
      const open = decipher.update(sealed.subarray(HEAD_BYTES, -TAG_BYTES))
      try {
        decipher.final()
      } catch {
        return null
      }
      const field = (at: number) => open.readUIntBE(1 + at * UINT48_BYTES, UINT48_BYTES)
      return {
        kind: open[0] as number,
        publisher: name.toString('base64url'),
        seq: field(0),
        timestamp: field(1),
        beganAt: field(2),
        body: open.subarray(FIELDS_BYTES)
      }
    }
  }
}

function authenticated(inner: string, head: Buffer): Buffer {
  return Buffer.concat([Buffer.from(inner), head])
}
