/** /v1/pubsub/*: a namespace's topics (D62–D69, P24). */
import type { Context } from 'koa'
import { bytesOfBase64 } from '../base64.ts'
import { JSON_BODY_MAX_BYTES } from '../constants.ts'
import { ApiKeyMissingError, BodyTooLargeError, RequestInvalidError } from '../errors.ts'
import { type GatewayMiddleware, queryParameter, type Route, route } from '../http.ts'
import { jsonBodyOf } from '../middleware/limits.ts'
import type { TenantHandler } from '../middleware/own-namespace.ts'
import { credentialOfUpgrade } from '../pubsub/credential.ts'
import { PublishFailedError } from '../pubsub/errors.ts'
import { MEMBER_META_MAX_BYTES, MESSAGE_MAX_BYTES } from '../pubsub/limits.ts'
import { type Member, memberSchema } from '../pubsub/presence.ts'
import type { PubsubSockets } from '../pubsub/sockets.ts'

export interface PubsubRouteOptions {
  authenticate: GatewayMiddleware
  ownNamespace: (handler: TenantHandler) => GatewayMiddleware
  pubsubSockets: PubsubSockets
}

const PUBLISH_BODY = '{topic,data_base64}'

export function pubsubRoutes({ authenticate, ownNamespace, pubsubSockets }: PubsubRouteOptions): Route[] {
  const publish: TenantHandler = async (context, { pubsub }) => {
    const body = await jsonBodyOf(context, { maxBytes: JSON_BODY_MAX_BYTES, expected: PUBLISH_BODY })
    if (typeof body.topic !== 'string' || body.topic === '' || typeof body.data_base64 !== 'string') {
      throw new RequestInvalidError(`invalid body: expected ${PUBLISH_BODY}`)
    }
    const data = bytesOfBase64(body.data_base64)
    if (data === null) throw new RequestInvalidError('invalid base64 data')
    if (data.byteLength > MESSAGE_MAX_BYTES) throw new BodyTooLargeError(MESSAGE_MAX_BYTES)
    await pubsub.publish(body.topic, data).sent.catch(error => {
      throw new PublishFailedError(error)
    })
    context.body = { status: 'ok' }
  }

  const topics: TenantHandler = (context, { pubsub }) => {
    context.body = { topics: pubsub.topics() }
  }

  const presence: TenantHandler = async (context, { pubsub }) => {
    const topic = queryParameter(context, 'topic')
    const members = await pubsub.members(topic)
    context.body = { topic, members, count: members.length }
  }

  const socket: TenantHandler = (context, { pubsub }) => {
    const { identity } = context.state
    if (identity === undefined) throw new ApiKeyMissingError()
    const member = memberOf(context)
    const channel = pubsub.channel(queryParameter(context, 'topic'))
    const resumes = isAsked(context, 'resume')
    pubsubSockets.accept(context, channel, { identity, member, resumes })
  }

  return [
    route('GET', '/v1/pubsub/ws', credentialOfUpgrade, authenticate, ownNamespace(socket)),
    route('POST', '/v1/pubsub/publish', authenticate, ownNamespace(publish)),
    route('GET', '/v1/pubsub/topics', authenticate, ownNamespace(topics)),
    route('GET', '/v1/pubsub/presence', authenticate, ownNamespace(presence))
  ]
}

/** `?name=true`. What would be taken for a wish and is none is told, not passed over. */
function isAsked(context: Context, name: string): boolean {
  const text = queryParameter(context, name) ?? ''
  if (!['', 'true', 'false'].includes(text)) throw new RequestInvalidError(`invalid '${name}': expected true or false`)
  return text === 'true'
}

/** `?presence=true&member_id=&member_meta=`: who the socket says it is. */
function memberOf(context: Context): Member | null {
  if (!isAsked(context, 'presence')) return null
  const memberId = queryParameter(context, 'member_id') ?? ''
  if (memberId === '') throw new RequestInvalidError("missing 'member_id' for presence")
  const meta = metaOf(queryParameter(context, 'member_meta') ?? '')
  const { success, data } = memberSchema.safeParse({
    member_id: memberId,
    joined_at: Math.floor(Date.now() / 1000),
    ...(meta === undefined ? {} : { meta })
  })
  if (!success || !memberId.isWellFormed() || memberId.includes('\0')) {
    throw new RequestInvalidError("invalid 'member_id' or 'member_meta': at most 128 characters, and a JSON object")
  }
  return data
}

function metaOf(text: string): unknown {
  if (text === '') return undefined
  if (Buffer.byteLength(text) > MEMBER_META_MAX_BYTES) {
    throw new RequestInvalidError(`invalid 'member_meta': over ${MEMBER_META_MAX_BYTES} bytes`)
  }
  try {
    return JSON.parse(text)
  } catch {
    throw new RequestInvalidError("invalid 'member_meta': it is no JSON")
  }
}
