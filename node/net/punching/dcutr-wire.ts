/**
 * `/libp2p/dcutr` on the wire: `message HolePunch { required Type type = 1; repeated bytes ObsAddrs = 2; }` with
 * `CONNECT = 100` and `SYNC = 300`, each message behind its length as a varint. Own code: the length-prefixed reader of
 * `@libp2p/utils` keeps a length that never ends without bound.
 * @see https://github.com/libp2p/specs/blob/master/relay/DCUtR.md#rpc-messages
 */
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { ByteQueue, encodeVarint, textOf } from '../bytes.ts'
import { DcutrProtocolError, DcutrUnsupportedError, PeerGoneError } from './dcutr-errors.ts'
import { MULTISTREAM_LINES, selection } from './lazy-stream.ts'

export const DCUTR_PROTOCOL = '/libp2p/dcutr'
/** Bytes of one message, as the specification has it. */
export const MAX_MESSAGE_BYTES = 4096
/** Addresses of one message that are looked at; more are skipped. */
export const MAX_ADDRESSES = 16

/** Bytes of the varint that can name a message's length. */
const MAX_LENGTH_BYTES = 2
/** Bytes of a protobuf varint. */
const MAX_VARINT_BYTES = 10
/** The longest honest conversation is CONNECT and SYNC. */
const MAX_UNREAD_BYTES = 2 * (MAX_MESSAGE_BYTES + MAX_LENGTH_BYTES)

const TYPES = { CONNECT: 100, SYNC: 300 } as const
const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const
/** `isPrivate` is of our own: others skip a field that they do not know. */
const FIELD = { type: 1, addresses: 2, isPrivate: 3 } as const
const TAG_BITS = 3

/** A HolePunch message. */
export interface HolePunchMessage {
  type: keyof typeof TYPES
  /** Multiaddrs as bytes; whether they are any is for the reader to find out. */
  addresses: Uint8Array[]
  /** Of the sender: it announces no address that could be dialled without a punch, so nobody need wait to hear of one. */
  isPrivate?: boolean
}

/** Bytes of a message, without its length. */
export function encodeMessage({ type, addresses, isPrivate = false }: HolePunchMessage): Uint8Array {
  const tag = (field: number, wire: number) => encodeVarint((field << TAG_BITS) | wire)
  const parts = [tag(FIELD.type, WIRE.varint), encodeVarint(TYPES[type])]
  for (const address of addresses) {
    parts.push(tag(FIELD.addresses, WIRE.bytes), encodeVarint(address.byteLength), address)
  }
  if (isPrivate) parts.push(tag(FIELD.isPrivate, WIRE.varint), encodeVarint(1))
  return Buffer.concat(parts)
}

/**
 * A message from its bytes. Fields it does not know are skipped, addresses behind MAX_ADDRESSES too.
 * @throws DcutrProtocolError
 */
export function decodeMessage(bytes: Uint8Array): HolePunchMessage {
  if (bytes.byteLength > MAX_MESSAGE_BYTES) throw tooLong(bytes.byteLength)
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let read = 0; read < MAX_VARINT_BYTES; read++) {
      const byte = bytes[at++]
      if (byte === undefined) throw new DcutrProtocolError('a message that ends inside a number')
      value += (byte & 0x7f) * 2 ** (7 * read)
      if (byte < 0x80) return value
    }
    throw new DcutrProtocolError('a number without end')
  }
  const skip = (length: number): Uint8Array => {
    if (length > bytes.byteLength - at) throw new DcutrProtocolError('a message that ends inside a field')
    at += length
    return bytes.subarray(at - length, at)
  }
  let type: number | undefined
  let isPrivate = false
  const addresses: Uint8Array[] = []
  while (at < bytes.byteLength) {
    const tag = varint()
    const field = Math.floor(tag / 2 ** TAG_BITS)
    const wire = tag % 2 ** TAG_BITS
    if (field === 0) throw new DcutrProtocolError('a field without a number')
    if (wire === WIRE.varint) {
      const value = varint()
      if (field === FIELD.type) type = value
      else if (field === FIELD.isPrivate) isPrivate = value === 1
    } else if (wire === WIRE.bytes) {
      const value = skip(varint())
      if (field === FIELD.addresses && addresses.length < MAX_ADDRESSES) addresses.push(value)
    } else if (wire === WIRE.fixed64) skip(8)
    else if (wire === WIRE.fixed32) skip(4)
    else throw new DcutrProtocolError(`a field of wire type ${wire}`)
  }
  for (const [name, value] of Object.entries(TYPES)) {
    if (value === type) return { type: name as keyof typeof TYPES, addresses, isPrivate }
  }
  throw new DcutrProtocolError(type === undefined ? 'a message without a type' : `a message of type ${type}`)
}

/** Reads the messages of one stream. Attach it before the first await after the stream was got. */
export interface MessageReader {
  /**
   * The next message, which is to be of this type.
   * @throws DcutrProtocolError, PeerGoneError when the stream ends first, or the signal's reason
   */
  next: (type: HolePunchMessage['type'], options: { signal: AbortSignal }) => Promise<HolePunchMessage>
  /**
   * Before the first message of a stream that was opened lazily: the peer's word that it speaks the protocol.
   * @throws DcutrUnsupportedError, or as `next`
   */
  agreed: (options: { signal: AbortSignal }) => Promise<void>
  /** Resolves when the peer ended or reset its side; with an error when it was a reset. */
  ended: Promise<Error | undefined>
  /** Stop listening. */
  release: () => void
}

export function messageReader(stream: Stream): MessageReader {
  const buffer = new ByteQueue()
  const end = Promise.withResolvers<Error | undefined>()
  let isEnded = stream.readableEnded
  let failure: Error | undefined
  let wake: () => void = () => undefined
  const finish = (error?: Error) => {
    failure ??= error
    isEnded = true
    end.resolve(failure)
    wake()
  }
  const onMessage = ({ data }: StreamMessageEvent) => {
    if (buffer.byteLength + data.byteLength <= MAX_UNREAD_BYTES) buffer.push(data)
    // A sender that does not wait for answers has nothing that we want to keep.
    else finish(tooLong(buffer.byteLength + data.byteLength))
    wake()
  }
  const onEnd = () => finish()
  const onClose = ({ error }: StreamCloseEvent) => finish(error)
  stream.addEventListener('message', onMessage)
  // Not 'end': a reset tells of that first, and of its error after it.
  stream.addEventListener('remoteCloseWrite', onEnd)
  stream.addEventListener('close', onClose)
  if (isEnded) end.resolve(undefined)

  /** @returns null while it is not complete */
  let length: number | null = null
  function take(): Uint8Array | null {
    if (length === null) {
      const found = buffer.takeVarint(MAX_LENGTH_BYTES)
      if (found === 'invalid') throw new DcutrProtocolError(`a message of more than ${MAX_MESSAGE_BYTES} bytes`)
      if (found === null) return null
      if (found > MAX_MESSAGE_BYTES) throw tooLong(found)
      length = found
    }
    if (buffer.byteLength < length) return null
    const parts: Uint8Array[] = []
    for (let missing = length; missing > 0; ) {
      const part = buffer.take(missing)
      parts.push(part)
      missing -= part.byteLength
    }
    length = null
    return Buffer.concat(parts)
  }

  async function frame(what: string, signal: AbortSignal): Promise<Uint8Array> {
    for (;;) {
      signal.throwIfAborted()
      const bytes = take()
      if (bytes !== null) return bytes
      if (failure instanceof DcutrProtocolError) throw failure
      if (isEnded) throw new PeerGoneError(`before its ${what}`, failure ? { cause: failure } : undefined)
      await new Promise<void>((resolve, reject) => {
        const onAbort = () => reject(signal.reason)
        wake = () => {
          signal.removeEventListener('abort', onAbort)
          resolve()
        }
        signal.addEventListener('abort', onAbort, { once: true })
      })
    }
  }

  return {
    ended: end.promise,
    async next(type, { signal }) {
      const message = decodeMessage(await frame(type, signal))
      if (message.type === type) return message
      throw new DcutrProtocolError(`${message.type} where ${type} is due`)
    },
    async agreed({ signal }) {
      for (const line of [MULTISTREAM_LINES.header, `${DCUTR_PROTOCOL}\n`]) {
        const heard = textOf(await frame('choice of a protocol', signal))
        if (heard === MULTISTREAM_LINES.refusal) throw new DcutrUnsupportedError()
        if (heard !== line) throw new DcutrProtocolError('something else than a choice of a protocol')
      }
    },
    release() {
      stream.removeEventListener('message', onMessage)
      stream.removeEventListener('remoteCloseWrite', onEnd)
      stream.removeEventListener('close', onClose)
      buffer.clear()
      finish()
    }
  }
}

/**
 * Sends one message with its length.
 * @param options.isFirst on a stream that was opened lazily: with the choice of the protocol
 * @throws PeerGoneError when the stream is closed
 */
export function sendMessage(stream: Stream, message: HolePunchMessage, { isFirst = false } = {}): void {
  const bytes = encodeMessage(message)
  const before = isFirst ? selection(DCUTR_PROTOCOL) : new Uint8Array()
  try {
    stream.send(Buffer.concat([before, encodeVarint(bytes.byteLength), bytes]))
  } catch (cause) {
    throw new PeerGoneError(`before our ${message.type}`, { cause })
  }
}

function tooLong(byteLength: number): DcutrProtocolError {
  return new DcutrProtocolError(`${byteLength} bytes where a message of ${MAX_MESSAGE_BYTES} is allowed`)
}
