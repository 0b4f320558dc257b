/** /v1/network/*. */
import { z } from 'zod'
import { bytesCount, count, isoTime, type Operation, uptime } from './operation.ts'

const TAG = 'Network'

const path = z.enum(['direct', 'relayed'])
const peerId = z.string().describe('peer id')

export const networkStatus = z.object({
  node_id: peerId.describe('peer id; the name of the gateway where it runs without a network'),
  connected: z.boolean(),
  peer_count: count,
  database_size: bytesCount,
  uptime
})

const host = z.object({
  name: z.string(),
  role: z.string(),
  site: z.string().nullable(),
  nat: z.string().nullable(),
  natKind: z.string().nullable(),
  control: z.string().nullable().describe('base URL of its own HTTP'),
  peerId: peerId.nullable(),
  state: z.enum(['up', 'down', 'unknown']),
  since: isoTime.nullable(),
  reason: z.string().nullable().describe('why it is not up'),
  storedBlobs: count.nullable(),
  storedBytes: bytesCount.nullable(),
  self: z.boolean(),
  path: path.nullable().describe('how this gateway reaches it')
})

const hosts = z.object({
  at: isoTime,
  gateway: z.string(),
  hosts: z.array(host),
  nats: z.array(z.object({ name: z.string(), kind: z.string().nullable(), hosts: z.array(z.string()) })),
  paths: z.array(z.object({ a: z.string(), b: z.string(), path, via: z.string().nullable() })),
  omitted: z.object({ hosts: count, paths: count }).describe('how many more there are')
})

const as = {
  as: { description: 'html: as the page has it', schema: z.literal('html').optional() }
}

export const networkOperations: Operation[] = [
  {
    at: ['GET /v1/network/status'],
    tag: TAG,
    summary: 'The network in short',
    access: 'key',
    answers: { 200: { description: 'now', body: networkStatus } }
  },
  {
    at: ['GET /v1/network/peers'],
    tag: TAG,
    summary: 'Peers of this gateway, itself first',
    access: 'key',
    answers: {
      200: {
        description: 'now',
        body: z.array(
          z.object({
            id: peerId,
            addresses: z.array(z.string()).describe('multiaddrs'),
            connected: z.boolean(),
            last_seen: isoTime.nullable()
          })
        )
      }
    }
  },
  {
    at: ['GET /v1/network/hosts'],
    tag: TAG,
    summary: 'What the page draws: hosts, NATs and the paths between them',
    access: 'public',
    query: as,
    answers: { 200: { description: 'now', body: { 'application/json': hosts, 'text/html': 'html' } } }
  },
  {
    at: ['GET /v1/network/ws'],
    tag: TAG,
    summary: 'The same over a WebSocket, at once and whenever it has changed',
    access: 'public',
    query: as,
    answers: { 101: { description: 'a WebSocket: text messages, each what /v1/network/hosts answers' } },
    errors: {
      403: ['ORIGIN_FORBIDDEN'],
      426: ['UPGRADE_REQUIRED'],
      429: ['SOCKET_LIMIT'],
      503: ['SOCKETS_FULL', 'STOPPING']
    }
  }
]
