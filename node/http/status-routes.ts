/** `/health`, `/info`, `/ready`, `/metrics`, `/peers` and others: what a node says of itself and of its network. All of them cheap. */
import type Router from '@koa/router'
import { z } from 'zod'
import { RequestInvalidError } from '../errors.ts'
import { addressProblem } from '../net/addresses.ts'
import type { RequireAdmin } from './admin-token.ts'
import { jsonBody } from './json-body.ts'
import { goneSignal } from './request.ts'

const connectBody = z.object({ multiaddr: z.string().max(1024) })

/** What one answer is made of; read at every request. */
export interface NodeStatus {
  /** ByteCave's shape and what we add; see the README. */
  health: () => Record<string, unknown>
  /** The same, after a bounded sample of blobs was read. */
  deepHealth: () => Promise<Record<string, unknown>>
  info: () => Record<string, unknown>
  /** The shape of ByteCave's code, of /node/info and /status. */
  nodeInfo: () => Record<string, unknown>
  status: () => Record<string, unknown>
  shards: () => Record<string, unknown>
  networkStats: () => Record<string, unknown>
  replicationStats: () => Record<string, unknown>
  /** Reasons why this node does not do its whole work yet; empty when it does. */
  waiting: () => string[]
  peers: () => Array<Record<string, unknown>>
  metrics: () => Promise<{ contentType: string; text: string }>
}

export interface StatusRoutesOptions {
  status: NodeStatus
  /** Connect to a peer at an address. @throws PeerUnreachableError */
  connect: (address: string, options: { signal: AbortSignal }) => Promise<{ peerId: string; path: string }>
  /** Whether /metrics is served. */
  serveMetrics: boolean
  requireAdmin: RequireAdmin
}

/** Add the routes. */
export function addStatusRoutes(router: Router, options: StatusRoutesOptions): void {
  const { status, connect, serveMetrics, requireAdmin } = options
  const noStore = { 'cache-control': 'no-store' }

  router.get('/health', async ctx => {
    ctx.set(noStore)
    ctx.body = ctx.query.deep === '1' ? await status.deepHealth() : status.health()
  })
  router.get('/info', ctx => {
    ctx.set(noStore)
    ctx.body = status.info()
  })
  router.get('/ready', ctx => {
    const waiting = status.waiting()
    ctx.set(noStore)
    ctx.status = waiting.length === 0 ? 200 : 503
    ctx.body = waiting.length === 0 ? { ready: true } : { ready: false, waiting }
  })
  if (serveMetrics) {
    router.get('/metrics', async ctx => {
      const { contentType, text } = await status.metrics()
      ctx.set({ ...noStore, 'content-type': contentType })
      ctx.body = text
    })
  }
  router.get('/peers', ctx => {
    const peers = status.peers()
    ctx.set(noStore)
    ctx.body = { count: new Set(peers.map(peer => peer.peerId)).size, peers }
  })

  const answers: Array<[string, () => Record<string, unknown>]> = [
    ['/node/info', status.nodeInfo],
    ['/status', status.status],
    ['/shards', status.shards],
    ['/network/stats', status.networkStats],
    ['/replication-stats', status.replicationStats]
  ]
  for (const [path, answer] of answers) {
    router.get(path, ctx => {
      ctx.set(noStore)
      ctx.body = answer()
    })
  }

  router.post('/peers/connect', async ctx => {
    requireAdmin(ctx)
    const { multiaddr } = await jsonBody(ctx.req, connectBody)
    const problem = addressProblem(multiaddr, { needsPeer: true })
    if (problem !== null) throw new RequestInvalidError(`"multiaddr" ${problem}.`)
    ctx.body = { success: true, ...(await connect(multiaddr, { signal: goneSignal(ctx) })) }
  })
}
