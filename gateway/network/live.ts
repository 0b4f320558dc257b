/** The picture of the network, pushed: at once to whoever joins, then to all whenever it has changed. */
import { setTimeout as after } from 'node:timers/promises'
import type { WebSocket } from 'ws'
import type { Log } from '../../node/index.ts'
import { LIVE_CHECK_MS, LIVE_REPEAT_MS } from '../constants.ts'
import { liveFragment } from '../page/page.ts'
import { CLOSE, type Sockets } from '../sockets.ts'
import type { NetworkView } from './hosts.types.ts'
import type { NetworkWatch } from './watch.ts'

/** As `/v1/network/hosts` has them: data for programs, HTML for the page. */
export type LiveForm = 'json' | 'html'

export interface Live {
  /** Sends this socket the picture now and every change of it, until it closes. */
  join: (socket: WebSocket, form: LiveForm) => void
}

export interface LiveOptions {
  watch: NetworkWatch
  sockets: Pick<Sockets, 'send' | 'close'>
  log: Log
}

export function createLive({ watch, sockets, log }: LiveOptions): Live {
  const forms = new Map<WebSocket, LiveForm>()
  let current: Edition | null = null
  let looking = false

  /** Runs while somebody is there. */
  async function look(): Promise<void> {
    try {
      let view = await watch.view()
      while (forms.size > 0) {
        const next = editionOf(view)
        if (current === null || next.facts !== current.facts || next.atMs - current.atMs >= LIVE_REPEAT_MS) {
          current = next
          for (const [socket, form] of forms) sockets.send(socket, next.text(form))
        }
        await after(LIVE_CHECK_MS, undefined, { ref: false })
        if (forms.size > 0) view = await watch.fresh()
      }
    } catch (error) {
      log.error({ err: error }, 'the picture could not be pushed')
      for (const socket of forms.keys()) sockets.close(socket, CLOSE.internal, 'ask /v1/network/hosts')
    } finally {
      looking = false
      current = null
    }
  }

  return {
    join(socket, form) {
      forms.set(socket, form)
      socket.once('close', () => forms.delete(socket))
      if (current !== null) sockets.send(socket, current.text(form))
      if (looking) return
      looking = true
      void look()
    }
  }
}

/** One state of the picture, written once for all who get it. */
interface Edition {
  /** Everything but the time, as JSON: equal when nothing has changed. */
  readonly facts: string
  readonly atMs: number
  readonly text: (form: LiveForm) => Buffer
}

function editionOf(view: NetworkView): Edition {
  const { at, ...rest } = view
  const facts = JSON.stringify(rest)
  const texts = new Map<LiveForm, Buffer>()
  return {
    facts,
    atMs: performance.now(),
    text(form) {
      // `at` is the picture's first field: with it before the rest, this is the picture's JSON, written once.
      const text =
        texts.get(form) ??
        Buffer.from(form === 'html' ? liveFragment(view) : `{"at":${JSON.stringify(at)},${facts.slice(1)}`)
      texts.set(form, text)
      return text
    }
  }
}
