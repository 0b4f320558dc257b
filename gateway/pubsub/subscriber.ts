/**
 * The writing side of one socket. What its connection takes is written at once and as it is; what it does not take
 * waits in a short queue, and beyond that is dropped, counted, and told as gaps when the reader goes on.
 */
import type { Socket } from 'node:net'
import { jsonFrame } from './frames.ts'
import { GAPS_MAX, QUEUE_MAX_BYTES, QUEUE_MAX_MESSAGES } from './limits.ts'
import type { Message } from './message.ts'
import type { Gap } from './replay.ts'

/** Raw payloads in binary frames, or the envelopes of `warren.pubsub.v1`. */
export type Form = 'raw' | 'envelope'

/** What is written to a topic's sockets: a message, or a control message, which only envelope sockets get. */
export type Item = { readonly message: Message } | { readonly control: Buffer }

export interface Subscriber {
  readonly form: Form
  /** The chunk is all items' frames in this subscriber's form; answers whether it was written, or waits, or is dropped. */
  deliver: (chunk: Buffer, items: readonly Item[]) => boolean
  /** A control message to this socket alone; left out when it does not read. */
  tell: (frame: Buffer) => void
  /** Messages and gaps to a socket that has been told nothing yet. */
  replay: (gaps: readonly Gap[], messages: readonly Message[]) => void
  /** Since when its connection takes nothing, ms of performance.now(); null: it does. */
  stalledSince: () => number | null
}

export interface SubscriberOptions {
  socket: Socket
  form: Form
  /** The tenant's own name of the topic. */
  topic: string
  /** Whether frames may still be written: after a close frame none may. */
  isOpen: () => boolean
  dropped: (count: number) => void
  delivered: (count: number) => void
}

/** The frame of an item; null: sockets of this form do not get it. */
export function frameFor(form: Form, item: Item): Buffer | null {
  if ('message' in item) return form === 'raw' ? item.message.rawFrame() : item.message.envelopeFrame()
  return form === 'raw' ? null : item.control
}

export function gapFrame(topic: string, { publisher, from, to }: Gap): Buffer {
  return jsonFrame({ type: 'gap', topic, publisher, from, to })
}

export function createSubscriber(options: SubscriberOptions): Subscriber {
  const { socket, form, topic, isOpen, dropped, delivered } = options
  let stalledSince: number | null = null
  let queue: Item[] = []
  let queuedBytes = 0
  /** By publisher, what was dropped since the queue was full: one range each, for all that came was dropped. */
  let missed: Map<string, Gap> | null = null
  let missedOthers = false

  function write(frames: readonly Buffer[]): void {
    if (frames.length === 0 || !isOpen()) return
    socket.cork()
    for (const frame of frames) socket.write(frame)
    socket.uncork()
    wait()
  }

  function wait(): void {
    if (!socket.writableNeedDrain || stalledSince !== null) return
    stalledSince = performance.now()
    socket.once('drain', goOn)
  }

  function goOn(): void {
    stalledSince = null
    const frames = queue.map(item => frameFor(form, item)).filter(frame => frame !== null)
    delivered(queue.reduce((sum, item) => sum + ('message' in item ? 1 : 0), 0))
    if (form === 'envelope' && missed !== null) {
      for (const gap of missed.values()) frames.push(gapFrame(topic, gap))
      if (missedOthers) frames.push(jsonFrame({ type: 'gap', topic, publisher: null, from: null, to: null }))
    }
    queue = []
    queuedBytes = 0
    missed = null
    missedOthers = false
    write(frames)
  }

  function drop(message: Message): void {
    missed ??= new Map()
    const known = missed.get(message.publisher)
    if (known !== undefined) known.to = message.seq
    else if (missed.size < GAPS_MAX) {
      missed.set(message.publisher, { publisher: message.publisher, from: message.seq, to: message.seq })
    } else missedOthers = true
    dropped(1)
  }

  function enqueue(item: Item): void {
    const frame = frameFor(form, item)
    if (frame === null) return
    const fits = queue.length < QUEUE_MAX_MESSAGES && queuedBytes + frame.byteLength <= QUEUE_MAX_BYTES
    if (fits && missed === null) {
      queue.push(item)
      queuedBytes += frame.byteLength
    } else if ('message' in item) {
      drop(item.message)
    }
  }

  return {
    form,
    deliver(chunk, items) {
      if (!isOpen()) return false
      if (stalledSince !== null) {
        for (const item of items) enqueue(item)
        return false
      }
      if (chunk.byteLength > 0 && !socket.write(chunk)) wait()
      return true
    },
    tell(frame) {
      if (stalledSince === null) write([frame])
    },
    replay(gaps, messages) {
      write([
        ...gaps.map(gap => gapFrame(topic, gap)),
        ...messages.map(message => message.envelopeFrame()),
        jsonFrame({ type: 'resumed', topic, messages: messages.length })
      ])
      delivered(messages.length)
    },
    stalledSince: () => stalledSince
  }
}
