/** One stream of `/warren/hard-punch/1.0.0`: say, hear what may come now, and nothing else. */
import type { Stream } from '@libp2p/interface'
import { ProtocolViolationError } from '../../../errors.ts'
import { frameReader, sendHeader } from '../../frames.ts'
import { type Message, type MessageType, parseMessage } from './messages.ts'
import { HardPunchError, type HardPunchReason } from './reasons.ts'

export interface Talk {
  say: (message: Message) => Promise<void>
  /**
   * The next message, which must be one of these.
   * @throws HardPunchError `peer-refused`, or what the peer said where that is worth another attempt, `peer-gone`, `protocol`; or the signal's reason
   */
  hear: <T extends MessageType>(...types: T[]) => Promise<Message<T>>
  /** Resolves as soon as there is something to hear; it is not taken. */
  spoken: () => Promise<void>
  /** Say why, if that is still possible, and close. */
  end: (failed?: string) => Promise<void>
}

const GOODBYE_MS = 1000
/** What of a peer's reasons is worth another attempt. */
const TOLD: Record<string, HardPunchReason> = { busy: 'peer-busy', 'no-meeting': 'no-meeting' }

/** Attach before the first await after the stream was got. */
export function createTalk(stream: Stream, options: { signal: AbortSignal; idleTimeoutMs: number }): Talk {
  const reader = frameReader(stream)
  let next: Promise<Message> | undefined

  async function read(): Promise<Message> {
    let header: Record<string, unknown>
    try {
      header = await reader.header(options)
    } catch (cause) {
      options.signal.throwIfAborted()
      throw new HardPunchError(cause instanceof ProtocolViolationError ? 'protocol' : 'peer-gone', { cause })
    }
    const message = parseMessage(header)
    if (message === null) throw new HardPunchError('protocol')
    return message
  }
  function peek(): Promise<Message> {
    if (next === undefined) {
      next = read()
      // Whoever peeks may have met the peer before it spoke.
      next.catch(() => undefined)
    }
    return next
  }

  return {
    async say(message) {
      try {
        await sendHeader(stream, message, options)
      } catch (cause) {
        options.signal.throwIfAborted()
        throw new HardPunchError('peer-gone', { cause })
      }
    },
    async hear<T extends MessageType>(...types: T[]) {
      const message = await peek()
      next = undefined
      if (message.type === 'failed') {
        throw new HardPunchError(TOLD[message.reason] ?? 'peer-refused', { cause: new Error(message.reason) })
      }
      if (!types.includes(message.type as T)) throw new HardPunchError('protocol')
      return message as Message<T>
    },
    spoken: async () => void (await peek()),
    async end(failed) {
      const limit = { signal: AbortSignal.timeout(GOODBYE_MS), idleTimeoutMs: GOODBYE_MS }
      try {
        if (failed !== undefined) await sendHeader(stream, { type: 'failed', reason: failed }, limit)
        await stream.close(limit)
      } catch (error) {
        stream.abort(error as Error)
      }
      reader.release()
    }
  }
}
