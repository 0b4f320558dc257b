/** What the room's tests share: sockets of topics that keep what they are told. Not for production code. */
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { ALICE, eventually, type RunningGateway, refusalOf as refusalAt } from '../testing/fixtures.ts'
import { ENVELOPE_PROTOCOL } from './sockets.ts'

export interface OpenOptions {
  /** Beside the topic. */
  query?: Record<string, string>
  key?: string | null
  envelope?: boolean
  protocols?: string[]
  headers?: Record<string, string>
  autoPong?: boolean
  localAddress?: string
}

export interface Told {
  text: string
  isBinary: boolean
}

/** A client's socket of the topic; it has all that it was told since the first byte. */
export function open(running: Pick<RunningGateway, 'url'>, topic: string, options: OpenOptions = {}) {
  const { query = {}, key = ALICE, envelope = false, protocols = [], headers = {}, ...rest } = options
  const url = new URL('/v1/pubsub/ws', running.url.replace('http', 'ws'))
  for (const [name, value] of Object.entries({ topic, ...query })) url.searchParams.set(name, value)
  const socket = new WebSocket(url, [...(envelope ? [ENVELOPE_PROTOCOL] : []), ...protocols], {
    headers: { ...(key === null ? {} : { 'X-API-Key': key }), ...headers },
    ...rest
  })
  const told: Told[] = []
  const closed = new Promise<number>(resolve => socket.once('close', resolve))
  socket.on('message', (data: Buffer, isBinary) => told.push({ text: data.toString(), isBinary }))
  socket.on('error', () => {})
  const json = () => told.map(({ text }) => JSON.parse(text) as Record<string, unknown>)
  return {
    socket,
    told,
    texts: () => told.map(({ text }) => text),
    /** Of `warren.pubsub.v1`: all of it, its messages, what their data say, and all of one type. */
    json,
    messages: () => json().filter(each => 'seq' in each && !('type' in each)),
    data: () => json().flatMap(each => ('type' in each ? [] : [fromBase64(each.data as string)])),
    typed: (type: string) => json().filter(each => each.type === type),
    say: (message: unknown) => socket.send(JSON.stringify(message)),
    closed,
    opened: once(socket, 'open'),
    async [Symbol.asyncDispose]() {
      socket.terminate()
      if (socket.readyState !== socket.CLOSED) await closed
    }
  }
}

export type Client = ReturnType<typeof open>

export const base64 = (text: string) => Buffer.from(text).toString('base64')
const fromBase64 = (text: string) => Buffer.from(text, 'base64').toString()

export async function publish(running: RunningGateway, topic: unknown, data: string, key = ALICE): Promise<Response> {
  return await running.ask('/v1/pubsub/publish', {
    method: 'POST',
    headers: { 'X-API-Key': key, 'Content-Type': 'application/json' },
    body: JSON.stringify({ topic, data_base64: data })
  })
}

/** What an offer of a socket is answered with when it is not accepted; it is Alice's unless the headers say otherwise. */
export const refusalOf = (running: RunningGateway, path: string, headers: Record<string, string> = {}) =>
  refusalAt(running, path, { 'X-API-Key': ALICE, ...headers })

/** One series of /metrics. */
export async function metric(running: RunningGateway, name: string, labels: Record<string, string> = {}) {
  const text = await (await fetch(`${running.url}/metrics`)).text()
  const line = text
    .split('\n')
    .find(each => each.startsWith(`${name}{`) && Object.entries(labels).every(([k, v]) => each.includes(`${k}="${v}"`)))
  return Number(line?.split(' ').at(-1) ?? 0)
}

export async function come(client: Client, count: number): Promise<void> {
  await eventually(async () => client.told.length >= count)
}
