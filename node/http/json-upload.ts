/**
 * A blob in JSON, `{"ciphertext": "<base64>", …}`: decoded as it arrives, so that its size costs no memory and the
 * limit counts the blob's bytes, not those of their base64. The other members are gathered, and are few and small.
 */
import { RequestInvalidError } from '../errors.ts'

/** Most bytes of JSON besides the blob. */
export const JSON_REST_MAX_BYTES = 16 * 1024
/** Least bytes of JSON that are too many for a blob of this size, whatever slashes are escaped. */
export const jsonBytesMax = (blobBytes: number): number => 2 * Math.ceil((blobBytes * 4) / 3) + JSON_REST_MAX_BYTES

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN = new Set([0x7b, 0x5b])
const CLOSE = new Set([0x7d, 0x5d])
const COLON = 0x3a
const SPACES = new Set([0x20, 0x09, 0x0a, 0x0d])

/** An upload whose blob begins to arrive. */
export interface JsonUpload {
  /** Members that came before the blob. */
  head: Record<string, unknown>
  /** The blob. Read to the end, or ended early. @throws RequestInvalidError when it is not base64 in JSON */
  bytes: AsyncGenerator<Uint8Array>
  /** All members but the blob; complete once `bytes` has ended. */
  members: () => Record<string, unknown>
  /** Lets go of the source, however little of `bytes` was read; to be called in the end. */
  close: () => void
}

/**
 * Read up to the blob.
 * @param name the member that holds it
 * @throws RequestInvalidError
 */
export async function openJsonUpload(source: AsyncIterable<Uint8Array>, name: string): Promise<JsonUpload> {
  const pieces = source[Symbol.asyncIterator]()
  const rest = createRest(name)
  let waiting: Buffer = Buffer.alloc(0)
  let members: Record<string, unknown> = {}

  // Not waited for: a read may be pending.
  const close = (): void => void pieces.return?.().catch(() => {})

  async function more(): Promise<boolean> {
    const next = await pieces.next()
    if (next.done) return false
    waiting = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength)
    return true
  }

  /** Take JSON until the blob's first letter, or to the end. */
  async function outside(): Promise<boolean> {
    for (;;) {
      const taken = rest.take(waiting)
      waiting = waiting.subarray(taken)
      if (rest.atBlob()) return true
      if (!(await more())) return false
    }
  }

  async function* bytes(): AsyncGenerator<Uint8Array> {
    const decoder = createDecoder()
    try {
      for (let inside = true; inside; ) {
        const end = waiting.indexOf(QUOTE)
        const letters = end === -1 ? waiting : waiting.subarray(0, end)
        const decoded = decoder.decode(letters)
        if (decoded.length > 0) yield decoded
        waiting = end === -1 ? Buffer.alloc(0) : waiting.subarray(end)
        inside = end === -1
        if (inside && !(await more())) throw new RequestInvalidError('The JSON ends within the blob.')
      }
      const last = decoder.end()
      if (last.length > 0) yield last
      rest.leaveBlob()
      if (await outside()) throw new RequestInvalidError(`"${name}" is there twice.`)
      members = rest.parsed('')
    } finally {
      await pieces.return?.()
    }
  }

  /** The members before the blob. */
  async function opened(): Promise<Record<string, unknown>> {
    if (await outside()) return rest.parsed('"}')
    rest.parsed('')
    throw new RequestInvalidError(`"${name}" is to be the blob in base64, as a string.`)
  }

  const head = await opened().catch(error => {
    close()
    throw error
  })
  delete head[name]
  return {
    head,
    close,
    bytes: bytes(),
    members: () => {
      const { [name]: _blob, ...others } = members
      return others
    }
  }
}

/** Follows the JSON around the blob and keeps its text. */
function createRest(name: string) {
  const kept: number[] = []
  let depth = 0
  let inString = false
  let escaped = false
  let stringStart = 0
  let lastString = ''
  /** The colon behind the blob's name was the last thing. */
  let named = false
  let atBlob = false

  function step(byte: number): void {
    if (inString) {
      if (escaped) escaped = false
      else if (byte === BACKSLASH) escaped = true
      else if (byte === QUOTE) {
        inString = false
        if (depth === 1) lastString = Buffer.from(kept.slice(stringStart, -1)).toString('utf8')
      }
      return
    }
    if (SPACES.has(byte)) return
    if (byte === QUOTE) {
      if (named) atBlob = true
      else inString = true
      stringStart = kept.length
    } else if (OPEN.has(byte)) depth += 1
    else if (CLOSE.has(byte)) depth -= 1
    named = byte === COLON && depth === 1 && lastString === name
  }

  return {
    /** Takes bytes up to the quote before the blob; answers how many. */
    take(bytes: Uint8Array): number {
      let at = 0
      while (at < bytes.length && !atBlob) {
        const byte = bytes[at]!
        kept.push(byte)
        step(byte)
        at += 1
        if (kept.length > JSON_REST_MAX_BYTES) {
          throw new RequestInvalidError(`There are over ${JSON_REST_MAX_BYTES} bytes of JSON besides the blob.`)
        }
      }
      return at
    },
    atBlob: () => atBlob,
    /** The quote behind the blob comes next: it ends a string. */
    leaveBlob() {
      atBlob = false
      inString = true
      lastString = ''
    },
    parsed(end: string): Record<string, unknown> {
      let value: unknown
      try {
        value = JSON.parse(Buffer.from(kept).toString('utf8') + end)
      } catch {
        throw new RequestInvalidError('The body is not JSON.')
      }
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
      throw new RequestInvalidError('The body is to be a JSON object.')
    }
  }
}

/** Base64, of either alphabet, in pieces of any length. */
function createDecoder() {
  let carry = ''
  let ended = false

  function decode(text: string): Buffer {
    if (/[^A-Za-z0-9+/_=-]/.test(text) || (ended && text !== '')) throw new NotBase64Error()
    const padding = text.indexOf('=')
    if (padding !== -1) {
      ended = true
      if (!/^={1,2}$/.test(text.slice(padding)) || text.length % 4 !== 0) throw new NotBase64Error()
    }
    return Buffer.from(text, 'base64')
  }

  return {
    decode(letters: Buffer): Buffer {
      // JSON may escape a slash, and nothing else that is in base64.
      const text = `${carry}${letters.toString('latin1')}`
      const isCut = text.endsWith('\\')
      const plain = (isCut ? text.slice(0, -1) : text).replaceAll('\\/', '/')
      const whole = plain.length - (plain.length % 4)
      carry = plain.slice(whole) + (isCut ? '\\' : '')
      return decode(plain.slice(0, whole))
    },
    end(): Buffer {
      if (carry.length === 1) throw new NotBase64Error()
      return decode(carry)
    }
  }
}

class NotBase64Error extends RequestInvalidError {
  constructor() {
    super('The blob is not base64.')
  }
}
