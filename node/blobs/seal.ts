/**
 * Sealing at rest: AES-256-GCM in chunks (NIST SP 800-38D), after the STREAM construction.
 *
 * A blob has a random key of its own, so the nonce is simply the chunk's number and can never repeat under a key. A
 * chunk is bound to its place and to being the last by its AAD: chunks cannot be swapped, dropped or cut off. The key
 * is wrapped under the node's secret with the CID as AAD, and everything else the metadata says is under a MAC.
 *
 * On disk: for each chunk its ciphertext, then its 16-byte tag. Nothing of a chunk is given out before its tag held.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual
} from 'node:crypto'

/** Plain bytes of a chunk. The same as a CID leaf, so that both are cut once. */
export const SEAL_CHUNK_BYTES = 256 * 1024
/** GCM tag, bytes. */
export const SEAL_TAG_BYTES = 16
/** A sealed chunk on disk, bytes; the last one may be shorter. */
export const SEALED_CHUNK_BYTES = SEAL_CHUNK_BYTES + SEAL_TAG_BYTES

const KEY_BYTES = 32
const NONCE_BYTES = 12
const ALGORITHM = 'aes-256-gcm'
/** Format number of `data` and `meta.json`. */
export const SEAL_VERSION = 1

/** Thrown inside the store when a tag, a MAC or a format does not hold. The store turns it into BlobCorruptError. */
export class SealBrokenError extends Error {
  readonly code = 'SEAL_BROKEN'

  constructor(why: string) {
    super(why)
    this.name = 'SealBrokenError'
  }
}

/** A fresh random key for one blob, 32 bytes. A KeyObject, because Node makes one of raw bytes anew for every chunk. */
export function newBlobKey(): KeyObject {
  return createSecretKey(randomBytes(KEY_BYTES))
}

/** Number of chunks of a blob. A blob has at least one. */
export function chunkCount(sizeBytes: number): number {
  return Math.max(1, Math.ceil(sizeBytes / SEAL_CHUNK_BYTES))
}

/** Size of the sealed file of a blob, bytes. */
export function sealedSize(sizeBytes: number): number {
  return sizeBytes + chunkCount(sizeBytes) * SEAL_TAG_BYTES
}

/** Size of the blob in a sealed file of this size, bytes; null when no blob seals to it. */
export function plainSize(sealedBytes: number): number | null {
  const size = sealedBytes - Math.ceil(sealedBytes / SEALED_CHUNK_BYTES) * SEAL_TAG_BYTES
  return size > 0 && sealedSize(size) === sealedBytes ? size : null
}

/** Seal one chunk: the pieces of ciphertext in order, the tag last. */
export function sealChunk(key: KeyObject, index: number, last: boolean, pieces: readonly Uint8Array[]): Buffer[] {
  const cipher = createCipheriv(ALGORITHM, key, nonceOf(index), { authTagLength: SEAL_TAG_BYTES })
  cipher.setAAD(chunkAad(index, last))
  const sealed = pieces.map(piece => cipher.update(piece))
  // GCM is a stream mode: `final` brings no bytes, only the tag.
  cipher.final()
  sealed.push(cipher.getAuthTag())
  return sealed
}

/**
 * Open one chunk, tag included. All of it or nothing.
 * @throws SealBrokenError
 */
export function openChunk(key: KeyObject, index: number, last: boolean, sealed: Uint8Array): Buffer {
  if (sealed.length < SEAL_TAG_BYTES) throw new SealBrokenError(`chunk ${index} is shorter than its tag`)
  const body = sealed.subarray(0, sealed.length - SEAL_TAG_BYTES)
  const decipher = createDecipheriv(ALGORITHM, key, nonceOf(index), { authTagLength: SEAL_TAG_BYTES })
  decipher.setAAD(chunkAad(index, last))
  decipher.setAuthTag(sealed.subarray(sealed.length - SEAL_TAG_BYTES))
  const plain = decipher.update(body)
  try {
    decipher.final()
  } catch {
    throw new SealBrokenError(`chunk ${index} does not have its tag`)
  }
  return plain
}

/** What `meta.json` holds. Sizes in bytes, time in milliseconds since 1970, binary values in base64. */
export interface BlobMeta {
  version: number
  cid: string
  sizeBytes: number
  mimeType: string
  createdAtMs: number
  chunkBytes: number
  /** 12 bytes IV, 32 bytes wrapped key, 16 bytes tag. */
  wrappedKey: string
  /** HMAC-SHA256 over all the fields above. */
  mac: string
}

/** The node's secrets for data at rest. Derived once; nothing here goes to disk. */
export interface SealSecrets {
  wrapKey: KeyObject
  macKey: KeyObject
}

/** Secrets of this purpose from a secret of the node, by HKDF-SHA256 (RFC 5869). */
export function deriveSealSecrets(nodeSecret: Uint8Array): SealSecrets {
  const derive = (info: string) => createSecretKey(Buffer.from(hkdfSync('sha256', nodeSecret, '', info, KEY_BYTES)))
  return { wrapKey: derive('warren blob key wrap v1'), macKey: derive('warren blob meta mac v1') }
}

/** Metadata for a blob, its key wrapped. */
export function sealMeta(
  secrets: SealSecrets,
  key: KeyObject,
  facts: { cid: string; sizeBytes: number; mimeType: string; createdAtMs: number }
): BlobMeta {
  const iv = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(ALGORITHM, secrets.wrapKey, iv, { authTagLength: SEAL_TAG_BYTES })
  cipher.setAAD(Buffer.from(facts.cid, 'utf8'))
  const wrapped = Buffer.concat([iv, cipher.update(key.export()), cipher.final(), cipher.getAuthTag()])
  const fields = {
    version: SEAL_VERSION,
    cid: facts.cid,
    sizeBytes: facts.sizeBytes,
    mimeType: facts.mimeType,
    createdAtMs: facts.createdAtMs,
    chunkBytes: SEAL_CHUNK_BYTES,
    wrappedKey: wrapped.toString('base64')
  }
  return { ...fields, mac: macOf(secrets, fields).toString('base64') }
}

/** Metadata that held, and the blob's key. */
export interface OpenedMeta {
  meta: BlobMeta
  key: KeyObject
}

/**
 * Read `meta.json` of the blob `cid` and unwrap its key.
 * @throws SealBrokenError
 */
export function openMeta(secrets: SealSecrets, cid: string, text: string): OpenedMeta {
  const meta = parseMeta(text)
  if (meta.cid !== cid) throw new SealBrokenError('meta.json is that of another blob')
  if (meta.version !== SEAL_VERSION || meta.chunkBytes !== SEAL_CHUNK_BYTES) {
    throw new SealBrokenError('meta.json has a format this version does not read')
  }
  // One text for one meaning: a flipped bit is then seen even where base64 or JSON would read past it.
  if (text !== metaText(meta)) throw new SealBrokenError('meta.json is not as it was written')
  const mac = Buffer.from(meta.mac, 'base64')
  const expected = macOf(secrets, meta)
  if (mac.length !== expected.length || !timingSafeEqual(mac, expected)) {
    throw new SealBrokenError('meta.json was changed, or was written under another private.key')
  }
  const wrapped = Buffer.from(meta.wrappedKey, 'base64')
  if (wrapped.length !== NONCE_BYTES + KEY_BYTES + SEAL_TAG_BYTES) throw new SealBrokenError('the key has a wrong size')
  const decipher = createDecipheriv(ALGORITHM, secrets.wrapKey, wrapped.subarray(0, NONCE_BYTES), {
    authTagLength: SEAL_TAG_BYTES
  })
  decipher.setAAD(Buffer.from(cid, 'utf8'))
  decipher.setAuthTag(wrapped.subarray(NONCE_BYTES + KEY_BYTES))
  const key = decipher.update(wrapped.subarray(NONCE_BYTES, NONCE_BYTES + KEY_BYTES))
  try {
    decipher.final()
  } catch {
    throw new SealBrokenError('the key does not unwrap for this CID')
  }
  return { meta, key: createSecretKey(key) }
}

/** The text of `meta.json`. */
export function metaText(meta: BlobMeta): string {
  const { version, cid, sizeBytes, mimeType, createdAtMs, chunkBytes } = meta
  const [wrappedKey, mac] = [meta.wrappedKey, meta.mac].map(text => Buffer.from(text, 'base64').toString('base64'))
  return `${JSON.stringify({ version, cid, sizeBytes, mimeType, createdAtMs, chunkBytes, wrappedKey, mac })}\n`
}

function parseMeta(text: string): BlobMeta {
  let json: Partial<Record<keyof BlobMeta, unknown>>
  try {
    json = JSON.parse(text) as typeof json
  } catch {
    throw new SealBrokenError('meta.json is not JSON')
  }
  const { version, cid, sizeBytes, mimeType, createdAtMs, chunkBytes, wrappedKey, mac } = json ?? {}
  const numbers = [version, sizeBytes, createdAtMs, chunkBytes].every(value => Number.isSafeInteger(value))
  const texts = [cid, mimeType, wrappedKey, mac].every(value => typeof value === 'string')
  if (!numbers || !texts) throw new SealBrokenError('meta.json lacks a field')
  return json as BlobMeta
}

function macOf(secrets: SealSecrets, meta: Omit<BlobMeta, 'mac'>): Buffer {
  const fields = [
    meta.version,
    meta.cid,
    meta.sizeBytes,
    meta.mimeType,
    meta.createdAtMs,
    meta.chunkBytes,
    meta.wrappedKey
  ]
  return createHmac('sha256', secrets.macKey).update(JSON.stringify(fields)).digest()
}

function nonceOf(index: number): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES)
  writeIndex(nonce, index, NONCE_BYTES - 8)
  return nonce
}

function chunkAad(index: number, last: boolean): Buffer {
  const aad = Buffer.alloc(9)
  writeIndex(aad, index, 0)
  aad[8] = last ? 1 : 0
  return aad
}

/** 8 bytes, most significant first. */
function writeIndex(into: Buffer, index: number, at: number): void {
  into.writeUInt32BE(Math.floor(index / 2 ** 32), at)
  into.writeUInt32BE(index % 2 ** 32, at + 4)
}
