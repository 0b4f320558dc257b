/** Sockets outlive keys and tokens: each credential is asked about again, once for all sockets that have it. */
import type { Log } from '../../node/index.ts'
import { GatewayError } from '../errors.ts'
import type { GatewayContext, GatewayMiddleware, GatewayState, Identity } from '../http.ts'

export interface Recheck<Socket> {
  /** Without a credential there is nothing to end. */
  watch: (socket: Socket, context: GatewayContext, identity: Identity) => void
  forget: (socket: Socket) => void
  close: () => void
}

export interface RecheckOptions<Socket> {
  authenticate: GatewayMiddleware
  everyMs: number
  ended: (socket: Socket) => void
  log: Log
}

interface Watched<Socket> {
  headers: { authorization: string; 'x-api-key': string }
  namespace: string
  readonly sockets: Set<Socket>
}

export function createRecheck<Socket>({ authenticate, everyMs, ended, log }: RecheckOptions<Socket>): Recheck<Socket> {
  const watched = new Map<string, Watched<Socket>>()
  const credentials = new Map<Socket, string>()
  let looking = false
  const timer = setInterval(() => void look(), everyMs)
  timer.unref()

  async function look(): Promise<void> {
    if (looking) return
    looking = true
    for (const entry of [...watched.values()]) {
      if (!(await holds(entry))) for (const socket of [...entry.sockets]) ended(socket)
    }
    looking = false
  }

  /** What cannot be found out now (the database is busy) is no reason to close. */
  async function holds({ headers, namespace }: Watched<Socket>): Promise<boolean> {
    const context = requestWith(headers)
    try {
      await authenticate(context, async () => {})
      const { identity } = context.state
      return identity?.namespace === namespace && identity.owner
    } catch (error) {
      if (error instanceof GatewayError && (error.status === 401 || error.status === 403)) return false
      log.warn({ err: error }, 'a credential could not be checked again')
      return true
    }
  }

  return {
    watch(socket, context, { namespace }) {
      const headers = { authorization: context.get('authorization'), 'x-api-key': context.get('x-api-key') }
      if (headers.authorization === '' && headers['x-api-key'] === '') return
      const name = JSON.stringify([headers.authorization, headers['x-api-key'], namespace])
      const entry = watched.get(name) ?? { headers, namespace, sockets: new Set() }
      entry.sockets.add(socket)
      watched.set(name, entry)
      credentials.set(socket, name)
    },
    forget(socket) {
      const name = credentials.get(socket)
      if (name === undefined) return
      credentials.delete(socket)
      const entry = watched.get(name)
      entry?.sockets.delete(socket)
      if (entry?.sockets.size === 0) watched.delete(name)
    },
    close: () => clearInterval(timer)
  }
}

/** As much of a request as `authenticate` looks at: its headers. The first request itself would be much to keep. */
function requestWith(headers: Watched<unknown>['headers']): GatewayContext {
  const state: GatewayState = {}
  const get = (name: string) => headers[name.toLowerCase() as keyof typeof headers] ?? ''
  const request = { headers, get }
  return { get, headers, request, req: { headers }, state, query: {}, querystring: '' } as unknown as GatewayContext
}
