/**
 * Who a node is: one Ed25519 key. On disk it has the layout of the ByteCave document: `p2p/peer-id.json`
 * (js-peer-id JSON), `keys/private.key` (PKCS#8 PEM) and `keys/public.key` (SPKI PEM). The key is random or
 * imported, never derived from an address.
 */
import { createHash, createPrivateKey, createPublicKey, hkdfSync, type KeyObject, sign, verify } from 'node:crypto'
import { chmod, mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import {
  generateKeyPair,
  privateKeyFromProtobuf,
  privateKeyToProtobuf,
  publicKeyFromRaw,
  publicKeyToProtobuf
} from '@libp2p/crypto/keys'
import type { Ed25519PrivateKey, PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey, peerIdFromPublicKey, peerIdFromString } from '@libp2p/peer-id'
import { IdentityCorruptError, IdentityMismatchError } from './errors.ts'

/** DER in front of the 32 bytes of an Ed25519 key: PKCS#8 (RFC 8410 section 7) and SPKI (section 4). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')

const ED25519_KEY_BYTES = 32
const SECRET_FILE_MODE = 0o600
const PUBLIC_FILE_MODE = 0o644
const SECRET_FOLDER_MODE = 0o700

/** A node's identity in memory. */
export interface Identity {
  /** `12D3KooW…` */
  readonly peerId: string
  /** For libp2p. */
  readonly privateKey: PrivateKey
  /** `0x` and 64 hex digits: the raw Ed25519 public key, as in /health, /info and the registry. */
  readonly publicKey: `0x${string}`
  /** Ed25519 signature, 64 bytes. */
  sign: (message: Uint8Array) => Uint8Array
  /**
   * A secret bound to this identity and to `label` (HKDF-SHA256 over the key's seed): what wraps keys at rest.
   * Same label, same bytes, over restarts.
   */
  deriveSecret: (label: string, lengthBytes?: number) => Uint8Array
}

/** Where `loadIdentity` looks. */
export interface IdentityOptions {
  /** `p2p/` and `keys/` are below it. */
  dataDir: string
  /** A file with the base64 libp2p protobuf of an Ed25519 private key; imported when there is no identity yet. */
  importFile?: string
}

/**
 * The identity kept below `dataDir`, made or imported at the first start. A missing file of the three is written
 * again from the others.
 * @throws IdentityMismatchError when files, or a file and the imported key, hold different keys
 * @throws IdentityCorruptError when a file cannot be read as a key
 */
export async function loadIdentity({ dataDir, importFile }: IdentityOptions): Promise<Identity> {
  const paths = {
    peerId: join(dataDir, 'p2p', 'peer-id.json'),
    private: join(dataDir, 'keys', 'private.key'),
    public: join(dataDir, 'keys', 'public.key')
  }
  const imported = importFile === undefined ? null : parseKey(await readFile(importFile, 'utf8'), importFile)
  const [peerIdText, privateText, publicText] = await Promise.all(Object.values(paths).map(readIfThere))
  const fromPeerId = peerIdText == null ? null : parsePeerIdFile(peerIdText, paths.peerId)
  const fromPem = privateText == null ? null : parsePem(privateText, paths.private)

  if (fromPeerId !== null && fromPem !== null && !fromPeerId.equals(fromPem)) {
    throw new IdentityMismatchError(
      `${paths.peerId} and ${paths.private} hold different keys: restore the right one from your backup and delete the other`
    )
  }
  const kept = fromPeerId ?? fromPem
  if (kept !== null && imported !== null && !kept.equals(imported)) {
    throw new IdentityMismatchError(
      `${importFile} holds another key than ${dataDir} already has (${peerIdFromPrivateKey(kept)}): remove P2P_PRIVATE_KEY_FILE to keep the identity, or use an empty DATA_DIR`
    )
  }
  const key = kept ?? imported ?? (await generateKeyPair('Ed25519'))
  const spki = spkiPem(key.publicKey.raw)
  if (publicText != null && publicText.trim() !== spki.trim()) {
    throw new IdentityMismatchError(
      `${paths.public} does not belong to the private key beside it: delete it and it is written again`
    )
  }
  if (peerIdText === null) await writeSecurely(paths.peerId, peerIdJson(key), SECRET_FILE_MODE)
  if (privateText === null) await writeSecurely(paths.private, pkcs8Pem(key), SECRET_FILE_MODE)
  if (publicText === null) await writeSecurely(paths.public, spki, PUBLIC_FILE_MODE)
  await Promise.all([chmod(paths.peerId, SECRET_FILE_MODE), chmod(paths.private, SECRET_FILE_MODE)])
  return identityOf(key)
}

/**
 * The identity in one file: the base64 libp2p protobuf of an Ed25519 private key (the relay's layout). Made,
 * mode 0600, when the file is absent.
 * @throws IdentityCorruptError when the file holds something else
 */
export async function loadKeyFile(path: string): Promise<Identity> {
  const text = await readIfThere(path)
  if (text !== null) return identityOf(parseKey(text, path))
  const key = await generateKeyPair('Ed25519')
  await writeSecurely(path, `${Buffer.from(privateKeyToProtobuf(key)).toString('base64')}\n`, SECRET_FILE_MODE)
  return identityOf(key)
}

/** An identity that lives in memory only: clients, tests. */
export async function ephemeralIdentity(): Promise<Identity> {
  return identityOf(await generateKeyPair('Ed25519'))
}

/** The peer id that a raw Ed25519 public key (32 bytes, or `0x` hex of them) has; null when it is no such key. */
export function peerIdOfPublicKey(publicKey: Uint8Array | `0x${string}`): string | null {
  const raw = typeof publicKey === 'string' ? Buffer.from(publicKey.slice(2), 'hex') : publicKey
  if (raw.byteLength !== ED25519_KEY_BYTES) return null
  try {
    return peerIdFromPublicKey(publicKeyFromRaw(raw)).toString()
  } catch {
    return null
  }
}

/** Whether `signature` is that of the Ed25519 peer over `message`. False for malformed input, never throws. */
export function verifyPeerSignature(peerId: string, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    const { publicKey } = peerIdFromString(peerId)
    if (publicKey?.type !== 'Ed25519') return false
    const key = createPublicKey({
      key: Buffer.concat([SPKI_PREFIX, publicKey.raw]),
      format: 'der',
      type: 'spki'
    })
    return verify(null, message, key, signature)
  } catch {
    return false
  }
}

function identityOf(key: Ed25519PrivateKey): Identity {
  const seed = key.raw.subarray(0, ED25519_KEY_BYTES)
  const signingKey = keyObject(seed)
  return {
    peerId: peerIdFromPrivateKey(key).toString(),
    privateKey: key,
    publicKey: `0x${Buffer.from(key.publicKey.raw).toString('hex')}`,
    sign: message => sign(null, message, signingKey),
    deriveSecret: (label, lengthBytes = ED25519_KEY_BYTES) =>
      new Uint8Array(hkdfSync('sha256', seed, createHash('sha256').update('warren').digest(), label, lengthBytes))
  }
}

function keyObject(seed: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' })
}

function pkcs8Pem(key: Ed25519PrivateKey): string {
  return keyObject(key.raw.subarray(0, ED25519_KEY_BYTES)).export({ type: 'pkcs8', format: 'pem' }) as string
}

function spkiPem(raw: Uint8Array): string {
  const key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, raw]), format: 'der', type: 'spki' })
  return key.export({ type: 'spki', format: 'pem' }) as string
}

function peerIdJson(key: Ed25519PrivateKey): string {
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
  const json = {
    id: peerIdFromPrivateKey(key).toString(),
    privKey: base64(privateKeyToProtobuf(key)),
    pubKey: base64(publicKeyToProtobuf(key.publicKey))
  }
  return `${JSON.stringify(json, null, 2)}\n`
}

function parseKey(text: string, path: string): Ed25519PrivateKey {
  try {
    const key = privateKeyFromProtobuf(Buffer.from(text.trim(), 'base64'))
    if (key.type === 'Ed25519') return key
  } catch (cause) {
    throw corrupt(path, 'the base64 of a libp2p private key', cause)
  }
  throw corrupt(path, 'an Ed25519 key')
}

function parsePeerIdFile(text: string, path: string): Ed25519PrivateKey {
  let json: { id?: unknown; privKey?: unknown }
  try {
    json = JSON.parse(text) as typeof json
  } catch (cause) {
    throw corrupt(path, 'JSON {id, privKey, pubKey}', cause)
  }
  if (typeof json?.privKey !== 'string') throw corrupt(path, 'JSON {id, privKey, pubKey}')
  const key = parseKey(json.privKey, path)
  if (json.id !== peerIdFromPrivateKey(key).toString()) {
    throw new IdentityMismatchError(`${path}: id is not that of privKey: restore the file from your backup`)
  }
  return key
}

function parsePem(text: string, path: string): Ed25519PrivateKey {
  try {
    const key = createPrivateKey(text)
    if (key.asymmetricKeyType === 'ed25519') {
      const seed = key.export({ type: 'pkcs8', format: 'der' }).subarray(PKCS8_PREFIX.length)
      const raw = createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(SPKI_PREFIX.length)
      // libp2p's protobuf of an Ed25519 private key: type 1, then 64 bytes, seed and public key.
      const protobuf = Buffer.concat([Buffer.from('08011240', 'hex'), seed, raw])
      return privateKeyFromProtobuf(protobuf) as Ed25519PrivateKey
    }
  } catch (cause) {
    throw corrupt(path, 'a PKCS#8 PEM private key', cause)
  }
  throw corrupt(path, 'an Ed25519 key')
}

function corrupt(path: string, what: string, cause?: unknown): IdentityCorruptError {
  return new IdentityCorruptError(`${path} is not ${what}: restore it from your backup, or remove it for a new one`, {
    cause
  })
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** Whole or not at all: temporary file, fsync, rename, fsync of the folder. */
async function writeSecurely(path: string, text: string, mode: number): Promise<void> {
  const folder = dirname(path)
  await mkdir(folder, { recursive: true, mode: SECRET_FOLDER_MODE })
  const temporary = `${path}.${process.pid}.tmp`
  const file = await open(temporary, 'w', mode)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  const directory = await open(folder, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
