/** The routes about the node and its network in the description. */
import { z } from 'zod'
import { bytesCount, count, type Operation, shardRange, timeMs } from './operation.ts'

const publicKey = z
  .string()
  .regex(/^0x[0-9a-f]{64}$/)
  .describe('Ed25519')
const reachability = z.looseObject({ state: z.enum(['unknown', 'public', 'private']) })
const shardMode = z.enum(['fixed', 'auto']).describe('auto: assigned from the registry')
const info = z.looseObject({
  nodeId: z.string(),
  peerId: z.string(),
  publicKey,
  ownerAddress: z.string().nullable(),
  multiaddrs: z.array(z.string()),
  shards: z.array(shardRange),
  shardMode,
  shardCount: count,
  failureGroup: z.string(),
  reachability,
  portMapping: z.unknown(),
  registry: z.looseObject({ nodeId: z.string() }).nullable()
})
const path = z.enum(['direct', 'relayed'])
const seconds = z.int().min(0).describe('seconds')

export const statusOperations: Operation[] = [
  {
    method: 'get',
    path: '/',
    tag: 'node',
    summary: 'What there is',
    answers: {
      200: {
        description: 'every route; to a browser, which asks for text/html, a page with live figures',
        body: z.object({ name: z.string(), role: z.string(), endpoints: z.array(z.string()) })
      }
    }
  },
  {
    method: 'get',
    path: '/openapi.json',
    tag: 'node',
    summary: 'This description',
    answers: {
      200: {
        description: 'OpenAPI 3.1',
        body: z.looseObject({ openapi: z.string(), info: z.looseObject({}), paths: z.looseObject({}) })
      }
    }
  },
  {
    method: 'get',
    path: '/health',
    tag: 'node',
    summary: 'Counters, read from memory',
    query: { deep: { description: '1: read a few blobs too', schema: z.literal('1').optional() } },
    answers: {
      200: {
        description: 'how it is',
        body: z.looseObject({
          status: z.enum(['healthy', 'degraded', 'unhealthy']),
          uptime: seconds,
          storedBlobs: count,
          totalSize: bytesCount,
          peerId: z.string(),
          multiaddrs: z.array(z.string()),
          publicKey,
          peers: count,
          reachability: z.enum(['public', 'relayed', 'unknown']),
          reachabilityDetail: reachability,
          replication: z.looseObject({ factor: count, quorum: count, members: count, waiting: count }),
          integrity: z.looseObject({ checked: count, passed: count, failed: count })
        })
      }
    }
  },
  {
    method: 'get',
    path: '/ready',
    tag: 'node',
    summary: 'Whether it does its whole work',
    answers: {
      200: { description: 'it does', body: z.object({ ready: z.literal(true) }) },
      503: { description: 'not yet', body: z.object({ ready: z.literal(false), waiting: z.array(z.string()) }) }
    }
  },
  {
    method: 'get',
    path: '/metrics',
    tag: 'node',
    summary: 'Prometheus; absent with METRICS_ENABLED=false',
    answers: { 200: { description: 'metrics', body: 'text' } }
  },
  {
    method: 'get',
    path: '/info',
    tag: 'node',
    summary: 'Who it is',
    answers: { 200: { description: 'its names, keys, addresses and shards', body: info } }
  },
  {
    method: 'get',
    path: '/node/info',
    tag: 'node',
    summary: 'The same, and what it offers',
    answers: {
      200: {
        description: 'who it is',
        body: info.extend({
          version: z.string(),
          features: z.array(z.string()),
          contentTypes: z.union([z.literal('all'), z.array(z.string())]),
          storageCapacity: bytesCount,
          storageUsed: bytesCount,
          loadFactor: z.number().min(0),
          shardParticipation: z.number().min(0).max(1).describe('part of all shards'),
          uptime: seconds,
          timestamp: timeMs
        })
      }
    }
  },
  {
    method: 'get',
    path: '/status',
    tag: 'node',
    summary: 'What it holds and whether it takes more',
    answers: {
      200: {
        description: 'its state',
        body: z.object({
          nodeId: z.string(),
          version: z.string(),
          capacityBytes: bytesCount,
          usedBytes: bytesCount,
          storedCIDs: count,
          lastProof: timeMs.nullable(),
          uptime: seconds,
          endpoint: z.string().nullable().describe('NODE_URL'),
          replicationFactor: count,
          isAcceptingBlobs: z.boolean()
        })
      }
    }
  },
  {
    method: 'get',
    path: '/shards',
    tag: 'node',
    summary: 'Its shards',
    answers: {
      200: {
        description: 'as ranges and one by one',
        body: z.object({
          nodeId: z.string(),
          mode: shardMode,
          assigned: z.boolean().describe('false: not worked out yet, and nothing is taken'),
          changes: count.describe('of ranges since the start'),
          changedAtMs: timeMs.nullable(),
          members: count.describe('that were counted; 0 with fixed ranges'),
          away: count.describe('of those, silent for long: others own their shards besides'),
          shards: z.array(shardRange),
          shardCount: count,
          shardsOwned: count,
          shardsExpanded: z.array(count).nullable().describe('null when there are very many')
        })
      }
    }
  },
  {
    method: 'get',
    path: '/peers',
    tag: 'network',
    summary: 'Open connections',
    answers: {
      200: {
        description: 'one row a connection',
        body: z.object({
          count: count.describe('different peers'),
          peers: z.array(z.looseObject({ peerId: z.string(), nodeId: z.string().nullable(), path, addr: z.string() }))
        })
      }
    }
  },
  {
    method: 'post',
    path: '/peers/connect',
    tag: 'network',
    isGuarded: true,
    summary: 'Connect to a peer; for the operator',
    body: { 'application/json': z.object({ multiaddr: z.string().max(1024).describe('with /p2p/<peer id>') }) },
    answers: {
      200: {
        description: 'connected',
        body: z.looseObject({ success: z.literal(true), peerId: z.string(), path, addr: z.string() })
      }
    },
    errors: { 400: ['INVALID_REQUEST'], 401: ['UNAUTHORIZED'], 503: ['PEER_UNREACHABLE'] }
  },
  {
    method: 'get',
    path: '/network/stats',
    tag: 'network',
    summary: 'The network as this node sees it',
    answers: {
      200: {
        description: 'counts',
        body: z.looseObject({
          nodeId: z.string(),
          members: count,
          reachableMembers: count,
          failureGroups: count,
          shardCount: count,
          shardsWithoutOwner: count,
          peers: count,
          connections: z.object({ direct: count, relayed: count }),
          storage: z.object({
            nodes: count.describe('this one, and members heard lately; replicas are counted where they are'),
            capacityBytes: bytesCount,
            usedBytes: bytesCount,
            storedBlobs: count
          }),
          heartbeats: z.array(
            z.object({
              peerId: z.string(),
              nodeId: z.string(),
              status: z.enum(['healthy', 'degraded', 'unhealthy']),
              uptimeS: seconds,
              storedBlobs: count,
              usedBytes: bytesCount,
              capacityBytes: bytesCount,
              underReplicated: count,
              direct: count.describe('its connections'),
              relayed: count,
              timestamp: timeMs.describe('by its clock')
            })
          ),
          transfers: count,
          counters: z.record(z.string(), z.number()),
          timestamp: timeMs
        })
      }
    }
  },
  {
    method: 'get',
    path: '/replication-stats',
    tag: 'replication',
    summary: 'Replicas of this node in figures',
    answers: {
      200: {
        description: 'counts',
        body: z.object({
          factor: count,
          quorum: count,
          timeoutMs: count,
          members: count,
          reachableMembers: count,
          storedBlobs: count,
          underReplicated: count,
          quarantined: count
        })
      }
    }
  }
]
