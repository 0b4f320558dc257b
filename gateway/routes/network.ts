/** /v1/network/*: this gateway's peers (with a key, D58 and D59), and the public picture of hosts, NATs and paths. */
import { type GatewayMiddleware, queryParameter, type Route, route } from '../http.ts'
import type { Live } from '../network/live.ts'
import type { NetworkPort } from '../network/port.ts'
import type { NetworkWatch } from '../network/watch.ts'
import { liveFragment, PAGE_HEADERS } from '../page/page.ts'
import { presentNetworkStatus, presentPeer } from '../present.ts'
import type { Sockets } from '../sockets.ts'
import type { Store } from '../store.ts'
import { networkStatus } from './health.ts'

export interface NetworkRouteOptions {
  authenticate: GatewayMiddleware
  store: Store
  network: NetworkPort | null
  watch: NetworkWatch
  live: Live
  sockets: Sockets
  startedAt: Date
  name: string
}

export function networkRoutes({ authenticate, watch, live, sockets, ...facts }: NetworkRouteOptions): Route[] {
  const status: GatewayMiddleware = async context => {
    context.body = presentNetworkStatus(await networkStatus(facts))
  }

  const peers: GatewayMiddleware = context => {
    const { network } = facts
    const now = new Date()
    const self = network === null ? [] : [{ id: network.peerId, addresses: [], connected: true, lastSeenAt: now }]
    context.body = [...self, ...(network?.peers() ?? [])].map(presentPeer)
  }

  /** JSON for programs; the same as HTML (`?as=html`) for the page. */
  const hosts: GatewayMiddleware = async context => {
    const view = await watch.view()
    context.set('Cache-Control', 'no-cache')
    if (queryParameter(context, 'as') === 'html') {
      context.set(PAGE_HEADERS)
      context.type = 'text/html; charset=utf-8'
      context.body = liveFragment(view)
    } else {
      context.body = view
    }
  }

  /** What `hosts` answers, in the same two forms, pushed. */
  const push: GatewayMiddleware = context => {
    const form = queryParameter(context, 'as') === 'html' ? 'html' : 'json'
    live.join(sockets.accept(context), form)
  }

  return [
    route('GET', '/v1/network/status', authenticate, status),
    route('GET', '/v1/network/peers', authenticate, peers),
    route('GET', '/v1/network/hosts', hosts),
    route('GET', '/v1/network/ws', push)
  ]
}
