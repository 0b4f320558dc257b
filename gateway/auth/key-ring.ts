/**
 * The keys that sign access tokens, as one file holds them: which one signs now, which still verify, when the next is
 * due. Pure but for making a key.
 */
import { createPrivateKey, createPublicKey, generateKeyPair, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { ACCESS_TOKEN_LIFETIME_S, CLOCK_SKEW_S, SIGNING_KEY_ANNOUNCE_MS } from '../constants.ts'
import { KeyFileInvalidError } from './errors.ts'
import { headerOf, type TokenKey, thumbprint } from './jwt.ts'

const RSA_BITS = 2048
const SEALING_KEY_BYTES = 32

export interface RingKey extends TokenKey {
  createdAtMs: number
  /** It is in the JWKS before that, so that whoever keeps a copy knows it by then. */
  activeFromMs: number
}

export interface KeyRing {
  /** Seals what wallets may ask for again. */
  readonly sealingKey: Buffer
  /** From the oldest to the newest; never empty. */
  readonly keys: readonly RingKey[]
}

interface WrittenRing {
  version: 1
  sealingKey: string
  keys: Array<{ createdAtMs: number; activeFromMs: number; privateKey: string }>
}

export async function newRing(nowMs: number): Promise<KeyRing> {
  return { sealingKey: randomBytes(SEALING_KEY_BYTES), keys: [await newKey(nowMs, nowMs)] }
}

export async function newKey(createdAtMs: number, activeFromMs: number): Promise<RingKey> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: RSA_BITS })
  return ringKey(privateKey.export({ format: 'pem', type: 'pkcs8' }) as string, createdAtMs, activeFromMs)
}

/** The ring with a next key, which signs when it has been announced for long enough; without keys that are over. */
export function withNextKey(ring: KeyRing, key: RingKey, nowMs: number): KeyRing {
  return { ...ring, keys: [...verifyingKeys(ring, nowMs), key] }
}

/** When a key made now may sign. */
export function activeFrom(nowMs: number): number {
  return nowMs + SIGNING_KEY_ANNOUNCE_MS
}

/** The newest key whose time has come. */
export function signingKey({ keys }: KeyRing, nowMs: number): RingKey {
  return keys.findLast(key => key.activeFromMs <= nowMs) ?? (keys[0] as RingKey)
}

/** Keys whose tokens may still be good, and the one to come. */
export function verifyingKeys({ keys }: KeyRing, nowMs: number): RingKey[] {
  const lastMs = (ACCESS_TOKEN_LIFETIME_S + 2 * CLOCK_SKEW_S) * 1000
  return keys.filter((_, index) => {
    const next = keys[index + 1]
    return next === undefined || nowMs < next.activeFromMs + lastMs
  })
}

/** Whether it is time for a next key, and none is waiting. */
export function isRotationDue(ring: KeyRing, nowMs: number, everyMs: number): boolean {
  const newest = ring.keys.at(-1) as RingKey
  return newest.activeFromMs <= nowMs && nowMs - newest.createdAtMs >= everyMs
}

/** RFC 7517: public members only. */
export function presentJwks(ring: KeyRing, nowMs: number) {
  return {
    keys: verifyingKeys(ring, nowMs).map(({ kid, publicKey }) => {
      const { n, e } = publicKey.export({ format: 'jwk' })
      return { kty: 'RSA', use: 'sig', alg: 'RS256', kid, n, e }
    })
  }
}

export function writeRing({ sealingKey, keys }: KeyRing): string {
  const written: WrittenRing = {
    version: 1,
    sealingKey: sealingKey.toString('base64'),
    keys: keys.map(({ createdAtMs, activeFromMs, privateKey }) => ({
      createdAtMs,
      activeFromMs,
      privateKey: privateKey.export({ format: 'pem', type: 'pkcs8' }) as string
    }))
  }
  return `${JSON.stringify(written, null, 2)}\n`
}

/** @throws KeyFileInvalidError, without a word of what is in the file */
export function readRing(text: string, path: string): KeyRing {
  try {
    const { version, sealingKey, keys } = JSON.parse(text) as WrittenRing
    const secret = Buffer.from(sealingKey, 'base64')
    if (version !== 1 || secret.byteLength !== SEALING_KEY_BYTES || keys.length === 0) throw new Error('shape')
    return {
      sealingKey: secret,
      keys: keys.map(({ privateKey, createdAtMs, activeFromMs }) => ringKey(privateKey, createdAtMs, activeFromMs))
    }
  } catch {
    throw new KeyFileInvalidError(path)
  }
}

function ringKey(pem: string, createdAtMs: number, activeFromMs: number): RingKey {
  const privateKey = createPrivateKey(pem)
  const bits = privateKey.asymmetricKeyDetails?.modulusLength ?? 0
  if (privateKey.asymmetricKeyType !== 'rsa' || bits < RSA_BITS) throw new Error('no RSA key of 2048 bits')
  if (!Number.isSafeInteger(createdAtMs) || !Number.isSafeInteger(activeFromMs)) throw new Error('times')
  const publicKey = createPublicKey(privateKey)
  const kid = thumbprint(publicKey)
  return { kid, privateKey, publicKey, header: headerOf(kid), createdAtMs, activeFromMs }
}
