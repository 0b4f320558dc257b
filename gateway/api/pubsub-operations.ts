/** /v1/pubsub/*: a namespace's topics. */
import { z } from 'zod'
import { count, type Operation, text } from './operation.ts'

const TAG = 'Pub/sub'

const topic = z.string().describe('1 to 256 of a-z A-Z 0-9 . _ / -')
const theTopic = { description: 'the topic', schema: topic, isRequired: true }
const onTopic = { 400: ['INVALID_REQUEST', 'TOPIC_MISSING', 'TOPIC_INVALID'] }

export const pubsubOperations: Operation[] = [
  {
    at: ['GET /v1/pubsub/ws'],
    tag: TAG,
    summary: 'A WebSocket of a topic',
    description:
      'Without a subprotocol: bytes as they are published. With warren.pubsub.v1: JSON envelopes, gaps, resume and presence.',
    access: 'key',
    inNamespace: true,
    query: {
      topic: theTopic,
      resume: text('true: the first thing that is said is where to go on'),
      presence: text('true: be seen by the others of the topic'),
      member_id: text('with presence: as whom'),
      member_meta: text('with presence: a JSON object'),
      token: text('the credential, for browsers, which send no header'),
      api_key: text('the same')
    },
    headers: { 'Sec-WebSocket-Protocol': 'warren.pubsub.v1, or nothing' },
    answers: { 101: { description: 'a WebSocket from now on' } },
    errors: {
      ...onTopic,
      403: ['ORIGIN_FORBIDDEN'],
      426: ['UPGRADE_REQUIRED'],
      429: ['SOCKET_LIMIT', 'TOPICS_FULL', 'MEMBERS_FULL'],
      503: ['SOCKETS_FULL', 'STOPPING']
    }
  },
  {
    at: ['POST /v1/pubsub/publish'],
    tag: TAG,
    summary: 'Publish a message',
    access: 'key',
    inNamespace: true,
    body: { 'application/json': z.object({ topic, data_base64: z.base64() }) },
    answers: { 200: { description: 'sent', body: z.object({ status: z.literal('ok') }) } },
    errors: {
      ...onTopic,
      413: ['BODY_TOO_LARGE'],
      429: ['TOPICS_FULL'],
      503: ['PUBLISH_BUSY', 'PUBLISH_FAILED']
    }
  },
  {
    at: ['GET /v1/pubsub/topics'],
    tag: TAG,
    summary: 'Topics that have a socket at this gateway',
    access: 'key',
    inNamespace: true,
    answers: { 200: { description: 'in byte order', body: z.object({ topics: z.array(topic) }) } }
  },
  {
    at: ['GET /v1/pubsub/presence'],
    tag: TAG,
    summary: 'Who is present in a topic, at all gateways',
    access: 'key',
    inNamespace: true,
    query: { topic: theTopic },
    answers: {
      200: {
        description: 'the members',
        body: z.object({
          topic,
          members: z.array(
            z.object({
              member_id: z.string(),
              joined_at: count.describe('seconds since 1970'),
              meta: z.looseObject({}).optional()
            })
          ),
          count
        })
      }
    },
    errors: { ...onTopic, 429: ['TOPICS_FULL'] }
  }
]
