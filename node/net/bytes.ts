/**
 * Bytes that arrived and were not read yet, without copying them together; and varints (LEB128, unsigned). Nothing here
 * is Node's alone: browsers run it too.
 */

const MORE = 0x80
const BITS = 7
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })

export class ByteQueue {
  #chunks: Uint8Array[] = []
  #byteLength = 0

  get byteLength(): number {
    return this.#byteLength
  }

  /** Keeps the chunk, or each chunk of a list of them; not a copy. */
  push(data: Uint8Array | Iterable<Uint8Array>): void {
    for (const chunk of data instanceof Uint8Array ? [data] : data) {
      if (chunk.byteLength === 0) continue
      this.#chunks.push(chunk)
      this.#byteLength += chunk.byteLength
    }
  }

  /** The oldest chunk, at most `max` bytes of it; empty when there is none. */
  take(max: number): Uint8Array {
    const first = this.#chunks[0]
    if (first === undefined) return new Uint8Array(0)
    if (first.byteLength <= max) this.#chunks.shift()
    else this.#chunks[0] = first.subarray(max)
    const taken = first.byteLength <= max ? first : first.subarray(0, max)
    this.#byteLength -= taken.byteLength
    return taken
  }

  /** UTF-8 of the next `length` bytes, all of which must be there. */
  takeText(length: number): string {
    const parts: Uint8Array[] = []
    for (let missing = length; missing > 0; ) {
      const part = this.take(missing)
      parts.push(part)
      missing -= part.byteLength
    }
    return utf8.decode(concat(parts))
  }

  /** The varint in front; null while it is incomplete, `invalid` when it has more than `maxBytes`. */
  takeVarint(maxBytes: number): number | null | 'invalid' {
    let value = 0
    let read = 0
    for (const chunk of this.#chunks) {
      for (const byte of chunk) {
        value += (byte & (MORE - 1)) * 2 ** (BITS * read)
        read++
        if (byte < MORE) {
          for (let left = read; left > 0; ) left -= this.take(left).byteLength
          return value
        }
        if (read === maxBytes) return 'invalid'
      }
    }
    return null
  }

  clear(): void {
    this.#chunks = []
    this.#byteLength = 0
  }
}

/** Unsigned LEB128. */
export function encodeVarint(value: number): Uint8Array {
  const bytes: number[] = []
  let rest = value
  while (rest >= MORE) {
    bytes.push((rest % MORE) | MORE)
    rest = Math.floor(rest / MORE)
  }
  bytes.push(rest)
  return Uint8Array.from(bytes)
}

/** One after another, in one piece; a single chunk is given back as it is. */
export function concat(chunks: readonly Uint8Array[]): Uint8Array {
  if (chunks.length === 1) return chunks[0]!
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0))
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.byteLength
  }
  return whole
}

/** UTF-8; what is none becomes U+FFFD. */
export function textOf(bytes: Uint8Array): string {
  return utf8.decode(bytes)
}
