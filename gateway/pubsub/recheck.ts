/** Sockets outlive keys and tokens: each credential is asked about again, once for all sockets that have it. */
import type { Log } from '../../node/index.ts'
import type { Credential, Identify } from '../auth/identify.ts'
import type { GatewayContext, Identity } from '../http.ts'
import { credentialOf } from '../middleware/authenticate.ts'
import { RECHECK_TURN_MAX } from './limits.ts'

export interface Recheck<Socket> {
  /** Without a credential there is nothing to end. */
  watch: (socket: Socket, context: GatewayContext, identity: Identity) => void
  forget: (socket: Socket) => void
  close: () => void
}

export interface RecheckOptions<Socket> {
  /** Not by the middleware of requests: to be asked about costs its owner nothing of its rate, nor may that run out. */
  identify: Identify
  everyMs: number
  ended: (socket: Socket) => void
  log: Log
}

interface Watched<Socket> {
  credential: Credential
  namespace: string
  readonly sockets: Set<Socket>
}

export function createRecheck<Socket>({ identify, everyMs, ended, log }: RecheckOptions<Socket>): Recheck<Socket> {
  const watched = new Map<string, Watched<Socket>>()
  const credentials = new Map<Socket, string>()
  let looking = false
  let closed = false
  const timer = setInterval(() => void look(), everyMs)
  timer.unref()

  async function look(): Promise<void> {
    if (looking) return
    looking = true
    for (const [index, entry] of [...watched.values()].entries()) {
      // Most answers are at hand, so that nothing here waits by itself: ten thousand would hold everything else up.
      if (index > 0 && index % RECHECK_TURN_MAX === 0) await new Promise(resolve => setImmediate(resolve))
      if (closed) return
      if (!(await holds(entry))) for (const socket of [...entry.sockets]) ended(socket)
    }
    looking = false
  }

  /** What cannot be found out now (the database is busy) is no reason to close. */
  async function holds({ credential, namespace }: Watched<Socket>): Promise<boolean> {
    try {
      const identity = await identify(credential)
      return identity?.namespace === namespace && identity.owner
    } catch (error) {
      log.warn({ err: error }, 'a credential could not be checked again')
      return true
    }
  }

  return {
    watch(socket, context, { namespace }) {
      const credential = credentialOf(context)
      if (credential === null) return
      const name = JSON.stringify([credential.text, credential.bearer, namespace])
      const entry = watched.get(name) ?? { credential, namespace, sockets: new Set() }
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
    close() {
      closed = true
      clearInterval(timer)
    }
  }
}
