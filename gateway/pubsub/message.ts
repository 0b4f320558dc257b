/** A message, and what is written to sockets for it: each form is made once, when the first socket wants it. */
import { frameOf, jsonFrame, OPCODE } from './frames.ts'

/** Where a message stands: publishers are named by the gateway that took their messages, and count from 1. */
export interface Place {
  /** 16 characters; one a topic and gateway, new whenever the gateway begins to use the topic. */
  readonly publisher: string
  readonly seq: number
}

export interface Message extends Place {
  /** ms since the epoch at the gateway that took it. */
  readonly timestamp: number
  readonly data: Buffer
  /** A binary frame with the data. */
  rawFrame: () => Buffer
  /** A text frame with the envelope `{ seq, publisher, topic, timestamp, data }`, data in base64. */
  envelopeFrame: () => Buffer
}

export interface MessageInit extends Place {
  /** The tenant's own name. */
  topic: string
  timestamp: number
  data: Uint8Array
}

/** What one message may keep in memory for as long as it can be asked for again, bytes. */
export function weightOf({ data }: Pick<Message, 'data'>): number {
  return Math.ceil(data.byteLength * (1 + 1 + 4 / 3)) + OVERHEAD_BYTES
}

/** Envelope, objects and heads of frames. */
const OVERHEAD_BYTES = 512

export function createMessage({ topic, publisher, seq, timestamp, data: given }: MessageInit): Message {
  // A copy: what came from a socket is a view into a much larger buffer.
  const data = Buffer.allocUnsafeSlow(given.byteLength)
  data.set(given)
  let raw: Buffer | undefined
  let envelope: Buffer | undefined
  return {
    publisher,
    seq,
    timestamp,
    data,
    rawFrame() {
      raw ??= frameOf(OPCODE.binary, data)
      return raw
    },
    envelopeFrame() {
      envelope ??= jsonFrame({ seq, publisher, topic, timestamp, data: data.toString('base64') })
      return envelope
    }
  }
}
