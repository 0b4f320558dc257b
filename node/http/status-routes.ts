/** `/health`, `/info`, `/ready`, `/metrics` and `/peers`: what a node says of itself. All of them cheap. */
import type Router from '@koa/router'

/** What one answer is made of; read at every request. */
export interface NodeStatus {
  /** ByteCave's shape and what we add; see the README. */
  health: () => Record<string, unknown>
  /** The same, after a bounded sample of blobs was read. */
  deepHealth: () => Promise<Record<string, unknown>>
  info: () => Record<string, unknown>
  /** Reasons why this node does not do its whole work yet; empty when it does. */
  waiting: () => string[]
  peers: () => Array<Record<string, unknown>>
  metrics: () => Promise<{ contentType: string; text: string }>
}

/** Add the routes. */
export function addStatusRoutes(router: Router, status: NodeStatus): void {
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
  router.get('/metrics', async ctx => {
    const { contentType, text } = await status.metrics()
    ctx.set({ ...noStore, 'content-type': contentType })
    ctx.body = text
  })
  router.get('/peers', ctx => {
    const peers = status.peers()
    ctx.set(noStore)
    ctx.body = { count: new Set(peers.map(peer => peer.peerId)).size, peers }
  })
}
