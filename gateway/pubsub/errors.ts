/** What the room answers with an error on purpose; `GatewayError` says how. */
import { GatewayError } from '../errors.ts'
import { MEMBERS_MAX } from './limits.ts'

/** Thrown when a request names no topic (D62). */
export class TopicMissingError extends GatewayError {
  constructor() {
    super('TOPIC_MISSING', 400, "missing 'topic'")
  }
}

/** Thrown when a text cannot be a topic (D18). */
export class TopicInvalidError extends GatewayError {
  constructor() {
    super('TOPIC_INVALID', 400, "invalid 'topic': 1 to 256 of the characters a-z A-Z 0-9 . _ / -")
  }
}

/** Thrown when a namespace, or the gateway, has as many topics in use as it may. */
export class TopicsFullError extends GatewayError {
  constructor(max: number) {
    super('TOPICS_FULL', 429, `${max} topics are in use already: use fewer, unused ones are free after a minute`, {
      headers: { 'Retry-After': '60' }
    })
  }
}

/** Thrown when a topic has as many members as are listed. */
export class MembersFullError extends GatewayError {
  constructor() {
    super('MEMBERS_FULL', 429, `${MEMBERS_MAX} members are on this topic already: join without presence`, {
      headers: { 'Retry-After': '30' }
    })
  }
}

/** Thrown when more messages are on their way to other gateways than may be. Nobody got this one. */
export class PublishBusyError extends GatewayError {
  constructor() {
    super('PUBLISH_BUSY', 503, 'too many messages are on their way: publish slower', {
      headers: { 'Retry-After': '1' }
    })
  }
}

/** Thrown when a message reached this gateway's sockets, and could not be handed to the network. */
export class PublishFailedError extends GatewayError {
  constructor(cause: unknown) {
    super('PUBLISH_FAILED', 503, 'the message reached sockets of this gateway only: the network did not take it', {
      headers: { 'Retry-After': '2' },
      cause
    })
  }
}

/** Thrown at start when the file of the gateways' common secret cannot be used. */
export class PubsubKeyError extends GatewayError {
  constructor(path: string, cause?: unknown) {
    super(
      'PUBSUB_KEY_INVALID',
      500,
      `${path} ${cause === undefined ? 'is no key for pub/sub' : `cannot be read (${(cause as { code?: string }).code})`}: GATEWAY_PUBSUB_KEY_FILE names base64 of 32 random bytes, the same for all gateways`,
      {
        cause
      }
    )
  }
}
