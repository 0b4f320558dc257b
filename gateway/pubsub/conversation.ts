/** What clients say on their sockets, and what of it is done: by how fast, how much, and in which words they say it. */
import type { Log } from '../../node/index.ts'
import { BodyTooLargeError, GatewayError } from '../errors.ts'
import { CLOSE } from '../sockets.ts'
import { type Bucket, takeToken } from '../token-bucket.ts'
import type { Channel } from './channel.types.ts'
import { type ClientMessage, parseClientMessage } from './client-message.ts'
import { PublishFailedError } from './errors.ts'
import { frameOf, jsonFrame, OPCODE } from './frames.ts'
import { CLIENT_PACE, MESSAGE_MAX_BYTES } from './limits.ts'
import type { Subscriber } from './subscriber.ts'

/** D65. */
const PUBLISH_ERROR = frameOf(OPCODE.text, Buffer.from('publish_error'))

/** Who talks on a socket. */
export interface Talker {
  readonly channel: Channel
  readonly subscriber: Subscriber
  /** Of messages it may send, at `CLIENT_PACE`. */
  readonly bucket: Bucket
}

export interface ConversationsOptions<T extends Talker> {
  close: (talker: T, code: number, reason: string) => void
  log: Log
}

export function createConversations<T extends Talker>({ close, log }: ConversationsOptions<T>) {
  function heard(talker: T, data: Buffer, isBinary: boolean): void {
    if (!takeToken(talker.bucket, CLIENT_PACE)) close(talker, CLOSE.policy, 'too many messages')
    else if (talker.subscriber.form === 'raw') publishRaw(talker, data)
    else if (isBinary) close(talker, CLOSE.policy, 'JSON text only')
    else understand(talker, data)
  }

  function publishRaw(talker: T, data: Buffer): void {
    if (data.byteLength > MESSAGE_MAX_BYTES) close(talker, CLOSE.tooBig, 'message too big')
    else publish(talker, data, () => talker.subscriber.tell(PUBLISH_ERROR))
  }

  function understand(talker: T, data: Buffer): void {
    const message = parseClientMessage(data)
    if (message === null) close(talker, CLOSE.policy, 'not a message of warren.pubsub.v1')
    else if (message.type === 'publish') publishNamed(talker, message)
    else if (message.type === 'resume') resume(talker, message)
  }

  function publishNamed(talker: T, { data, id }: ClientMessage & { type: 'publish' }): void {
    const { subscriber } = talker
    const failed = ({ code, message }: GatewayError) => subscriber.tell(jsonFrame({ type: 'error', code, message, id }))
    if (data.byteLength > MESSAGE_MAX_BYTES) {
      failed(new BodyTooLargeError(MESSAGE_MAX_BYTES))
      return
    }
    const place = publish(talker, data, failed)
    if (place !== null && id !== undefined) subscriber.tell(jsonFrame({ type: 'published', id, ...place }))
  }

  function resume({ channel, subscriber }: T, { after, since }: ClientMessage & { type: 'resume' }): void {
    if (channel.resume(subscriber, after, since)) return
    subscriber.tell(jsonFrame({ type: 'error', code: 'NOT_HELD', message: 'open the socket with ?resume=true' }))
  }

  function publish({ channel }: T, data: Buffer, failed: (error: GatewayError) => void) {
    try {
      const { sent, publisher, seq } = channel.publish(data)
      sent.catch(error => {
        log.debug({ err: error }, 'a message did not leave')
        failed(new PublishFailedError(error))
      })
      return { publisher, seq }
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      failed(error)
      return null
    }
  }

  return { heard }
}
