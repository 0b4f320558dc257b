/**
 * What the ByteCave code has clients sign before they store (EIP-191): who, what bytes, what for, when, and once. A node
 * takes blobs without it too; one that comes is looked at, so that no client believes a broken signature was taken.
 * Memberships on a chain are not asked for.
 */
import { keccak_256 } from '@noble/hashes/sha3.js'
import { z } from 'zod'
import { AuthorizationInvalidError, BusyError } from '../errors.ts'

/** How far the time that was signed may be from now. */
export const AUTHORIZATION_TOLERANCE_MS = 5 * 60_000
/** A nonce is kept this long: as long as any time it was signed with may be taken. */
export const NONCE_LIFE_MS = 2 * AUTHORIZATION_TOLERANCE_MS
/** Most nonces kept. While they are as many, further authorizations are refused: none is taken twice. */
export const NONCES_MAX = 50_000
/** Longest nonce, and longest id of a thread, in characters. */
export const NONCE_MAX = 128
export const THREAD_ID_MAX = 256

const address = z.string().regex(/^0x[0-9a-fA-F]{40}$/, 'it is to be an address, 0x and 40 hex digits')
// One line of what is signed: with a line break, one text could mean two things.
const line = (max: number) =>
  z.string().regex(new RegExp(`^[\\x20-\\x7e]{1,${max}}$`), `it is to be 1 to ${max} printable characters of ASCII`)
const signed = {
  sender: address.describe('account that signed'),
  signature: z
    .string()
    .regex(/^0x[0-9a-fA-F]{130}$/, 'it is to be 0x and 130 hex digits')
    .describe('EIP-191 signature of the text'),
  timestamp: z.int().min(0).describe(`ms since 1970; at most ${AUTHORIZATION_TOLERANCE_MS} ms from the node’s time`),
  nonce: line(NONCE_MAX).describe('taken once of each sender'),
  contentHash: z
    .string()
    .regex(/^0x[0-9a-fA-F]{64}$/, 'it is to be 0x and 64 hex digits')
    .describe('keccak256 of the bytes')
}

/** An authorization in JSON. What else is in it was not signed and is not looked at. */
export const storeAuthorization = z.discriminatedUnion(
  'type',
  [
    z.object({ type: z.enum(['group_post', 'group_comment']), groupPostsAddress: address, ...signed }),
    z.object({ type: z.literal('message'), threadId: line(THREAD_ID_MAX), ...signed }),
    z.object({ type: z.literal('token_distribution'), tokenAddress: address, ...signed })
  ],
  'it is to be an object whose type is group_post, group_comment, message or token_distribution'
)
export type StoreAuthorization = z.infer<typeof storeAuthorization>
type Unsigned<A> = A extends unknown ? Omit<A, 'sender' | 'signature'> : never

/** The text that is signed. */
export function authorizationText(given: Unsigned<StoreAuthorization>): string {
  return [
    'HASHD Vault Storage Request',
    `Type: ${given.type}`,
    `Content Hash: ${given.contentHash}`,
    `Context: ${contextOf(given)}`,
    `Timestamp: ${given.timestamp}`,
    `Nonce: ${given.nonce}`
  ].join('\n')
}

export interface StoreAuthorizations {
  /**
   * Look at the authorization of a blob that is all here and not kept yet. Its bytes are read and hashed only for one that
   * is well formed, of now and its sender's: keccak256 costs more than storing them does.
   * @param authorization undefined or null: there is none, which is right too
   * @returns gives it back when the blob was not kept after all: the same one may come again
   * @throws AuthorizationInvalidError, BusyError
   */
  take: (authorization: unknown, read: () => AsyncIterable<Uint8Array>) => Promise<() => void>
  /** Nonces kept. */
  readonly size: number
}

/** @param now the time in ms since 1970 @param noncesMax only tests ask for another */
export function createStoreAuthorizations(now: () => number = Date.now, noncesMax = NONCES_MAX): StoreAuthorizations {
  /** Sender and nonce → when it was taken; in that order. */
  const takenAtMs = new Map<string, number>()

  function keep(key: string): void {
    for (const [old, atMs] of takenAtMs) {
      if (now() - atMs <= NONCE_LIFE_MS) break
      takenAtMs.delete(old)
    }
    if (takenAtMs.has(key)) throw new AuthorizationInvalidError('the nonce was taken before. Sign again with another.')
    if (takenAtMs.size >= noncesMax) throw new BusyError('authorized stores')
    takenAtMs.set(key, now())
  }

  /** @returns its sender and nonce */
  async function check(given: unknown, read: () => AsyncIterable<Uint8Array>): Promise<string> {
    const parsed = storeAuthorization.safeParse(given)
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      const where = ['authorization', ...(issue?.path ?? [])].join('.')
      throw new AuthorizationInvalidError(`"${where}" is wrong: ${issue?.message}. Correct it, or send none.`)
    }
    const { sender, signature, timestamp, nonce } = parsed.data
    const aheadMs = timestamp - now()
    if (Math.abs(aheadMs) > AUTHORIZATION_TOLERANCE_MS) {
      const apart = `${Math.abs(Math.round(aheadMs / 1000))} s ${aheadMs > 0 ? 'ahead of' : 'behind'} this node’s time`
      throw new AuthorizationInvalidError(`"authorization.timestamp" is ${apart}. Set the clock and sign again.`)
    }
    const { signerOf } = await import('../chain/personal-message.ts')
    if ((await signerOf(authorizationText(parsed.data), signature as `0x${string}`)) !== sender.toLowerCase()) {
      throw new AuthorizationInvalidError('the signature is not the sender’s of this text. Sign it with that account.')
    }
    const hash = keccak_256.create()
    for await (const piece of read()) hash.update(piece)
    const contentHash = `0x${Buffer.from(hash.digest()).toString('hex')}`
    if (parsed.data.contentHash.toLowerCase() !== contentHash) {
      throw new AuthorizationInvalidError(`the bytes’ keccak256 is ${contentHash}. Sign what is sent.`)
    }
    // In the end and without a wait: of two that come together one is taken.
    const key = `${sender.toLowerCase()}:${nonce}`
    keep(key)
    return key
  }

  return {
    async take(given, read) {
      if (given === undefined || given === null) return () => {}
      const key = await check(given, read)
      return () => void takenAtMs.delete(key)
    },
    get size() {
      return takenAtMs.size
    }
  }
}

/** What the bytes are for. */
function contextOf(given: Unsigned<StoreAuthorization>): string {
  if ('threadId' in given) return given.threadId
  return 'tokenAddress' in given ? given.tokenAddress : given.groupPostsAddress
}
