/** Seeded randomness: the same seed and label give the same payloads and choices on every machine. */
import { type Cipheriv, createCipheriv, createHash } from 'node:crypto'

const ZERO_BLOCK_BYTES = 16
const UINT32 = 2 ** 32

export interface Random {
  /** That many bytes, incompressible. */
  bytes: (length: number) => Buffer
  /** A whole number from 0 up to, not including, `limit` (at most 2^32). */
  below: (limit: number) => number
  one: <T>(from: readonly T[]) => T
  /** `count` different ones, in random order. */
  pick: <T>(from: readonly T[], count: number) => T[]
  /** An independent stream, so that one more choice here changes nothing there. */
  fork: (label: string) => Random
}

/** A keystream of AES-256-CTR under SHA-256 of the seed: quick, and the same wherever OpenSSL is. */
export function seededRandom(seed: string): Random {
  const key = createHash('sha256').update(`warren scenario random\0${seed}`).digest()
  const stream: Cipheriv = createCipheriv('aes-256-ctr', key, Buffer.alloc(ZERO_BLOCK_BYTES))
  const bytes = (length: number): Buffer => stream.update(Buffer.alloc(length))
  const below = (limit: number): number => {
    if (!Number.isInteger(limit) || limit < 1 || limit > UINT32)
      throw new RangeError(`limit ${limit} is not from 1 to 2^32`)
    // Numbers of the last, incomplete span would favour small results.
    const fair = UINT32 - (UINT32 % limit)
    let value = bytes(4).readUInt32LE()
    while (value >= fair) value = bytes(4).readUInt32LE()
    return value % limit
  }
  return {
    bytes,
    below,
    one(from) {
      if (from.length === 0) throw new RangeError('nothing to choose from')
      return from[below(from.length)]!
    },
    pick(from, count) {
      if (count > from.length) throw new RangeError(`cannot pick ${count} of ${from.length}`)
      const left = [...from]
      return Array.from({ length: count }, () => left.splice(below(left.length), 1)[0]!)
    },
    fork: label => seededRandom(`${seed}\0${label}`)
  }
}
