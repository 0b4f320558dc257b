/**
 * `/warren/reflector/1.0.0`: what a relay tells its peers over their authenticated connections; JSON questions and
 * answers (frames.ts), a few of them on one stream.
 *
 * - `{ ask: 'reflector' }` → `{ ports, hosts, hasOtherAddress, token, ttlMs }`
 * - `{ ask: 'permit', peer }` → `{ permitted: true }`: that peer may learn where the relay sees the asker, for a minute
 * - `{ ask: 'address', peer }` → `{ host }`: where the relay sees that peer, which permitted it or is the asker itself
 *
 * The address is the far end of an authenticated connection, so nobody can have the relay name a third party's. It is
 * told only to whom that peer named: a consent that is stronger than a circuit, which anybody may open. An error is
 * `{ error }` with a code.
 */
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { CODE_IP4, type Multiaddr } from '@multiformats/multiaddr'
import { z } from 'zod'
import { frameReader, sendHeader } from '../../frames.ts'
import { deadline } from '../../timings.ts'
import { TOKEN_BYTES } from './datagrams.ts'
import { FIRST_PORT, LAST_PORT } from './ports.ts'
import type { Reflector } from './reflector.ts'

export const REFLECTOR_PROTOCOL = '/warren/reflector/1.0.0'

const MAX_PEER_CHARS = 128
const MAX_PORTS = 4
const MAX_HOSTS = 4
const MAX_CODE_CHARS = 40
const port = z.int().min(FIRST_PORT).max(LAST_PORT)
const peer = z.string().min(1).max(MAX_PEER_CHARS)

const question = z.discriminatedUnion('ask', [
  z.object({ ask: z.literal('reflector') }),
  z.object({ ask: z.literal('permit'), peer }),
  z.object({ ask: z.literal('address'), peer })
])

export const reflectorReply = z.object({
  ports: z.array(port).max(MAX_PORTS),
  /** Addresses of the reflector where the relay knows them; empty: the address the relay was reached at. */
  hosts: z.array(z.ipv4()).max(MAX_HOSTS),
  hasOtherAddress: z.boolean(),
  token: z.hex().length(2 * TOKEN_BYTES),
  ttlMs: z.int().min(1)
})
export const permitReply = z.object({ permitted: z.literal(true) })
export const addressReply = z.object({ host: z.ipv4() })
const errorReply = z.object({ error: z.string().max(MAX_CODE_CHARS) })

/** Streams of it on one connection. */
const MAX_STREAMS = 8
const MAX_QUESTIONS = 4
/** A stream ends after this, whatever was asked. */
const STREAM_TTL_MS = 20_000
/** For one answer. */
const TIMEOUT_MS = 5000
const PERMIT_TTL_MS = 60_000
/** Permits kept; beyond it the oldest goes. */
const MAX_PERMITS = 16_384
/** Permits of one asker; beyond it the oldest of that asker goes, so that nobody evicts what others permitted. */
const MAX_PERMITS_PER_ASKER = 32

/** The IPv4 address at the front of a direct multiaddr; null when there is none. */
export function ipv4Of(address: Multiaddr): string | null {
  const [first] = address.getComponents()
  return first?.code === CODE_IP4 ? (first.value ?? null) : null
}

/**
 * The relay's side. `reflector` null: it has none, and still tells addresses.
 * @param options.hosts the reflector's addresses, where the wildcard is not all there is to know
 */
export async function serveReflector(options: {
  libp2p: Libp2p
  reflector: Reflector | null
  hosts?: readonly string[]
  now?: () => number
}): Promise<{ permits: () => number; stop: () => Promise<void> }> {
  const { libp2p, reflector, hosts = [], now = Date.now } = options
  /** `from to` → whose it is and until when. */
  const permits = new Map<string, { from: string; untilMs: number }>()
  /** The same by who permitted: the keys of one asker, oldest first. */
  const byAsker = new Map<string, Set<string>>()

  function seen(peerId: string): string | null {
    const connections = libp2p
      .getConnections()
      .filter(({ remotePeer, direct }) => direct && String(remotePeer) === peerId)
    // The newest connection: after a network change it is the one that is true.
    const [newest] = connections.sort((one, other) => other.timeline.open - one.timeline.open)
    return newest === undefined ? null : ipv4Of(newest.remoteAddr)
  }

  function forget(key: string): void {
    const from = permits.get(key)?.from
    if (from === undefined) return
    permits.delete(key)
    const own = byAsker.get(from)
    own?.delete(key)
    if (own?.size === 0) byAsker.delete(from)
  }

  function permit(from: string, to: string): void {
    const key = `${from} ${to}`
    forget(key)
    permits.set(key, { from, untilMs: now() + PERMIT_TTL_MS })
    const own = byAsker.get(from) ?? new Set()
    byAsker.set(from, own.add(key))
    const [oldestOwn] = own
    if (own.size > MAX_PERMITS_PER_ASKER) forget(oldestOwn!)
    for (const [oldest, { untilMs }] of permits) {
      if (permits.size <= MAX_PERMITS && untilMs > now()) break
      forget(oldest)
    }
  }

  function answer(asker: string, header: unknown): object {
    const asked = question.safeParse(header)
    if (!asked.success) return { error: 'INVALID_REQUEST' }
    switch (asked.data.ask) {
      case 'reflector': {
        if (reflector === null || reflector.ports().length === 0) return { error: 'NO_REFLECTOR' }
        const { token, ttlMs } = reflector.token()
        const hasOtherAddress = reflector.otherHost() !== null
        return { ports: reflector.ports(), hosts, hasOtherAddress, token: Buffer.from(token).toString('hex'), ttlMs }
      }
      case 'permit':
        permit(asker, asked.data.peer)
        return { permitted: true }
      case 'address': {
        const { peer } = asked.data
        if (peer !== asker && (permits.get(`${peer} ${asker}`)?.untilMs ?? 0) <= now())
          return { error: 'NOT_PERMITTED' }
        const host = seen(peer)
        return host === null ? { error: 'NOT_SEEN' } : { host }
      }
    }
  }

  async function serve(stream: Stream, connection: Connection): Promise<void> {
    const reader = frameReader(stream)
    const frame = { idleTimeoutMs: STREAM_TTL_MS, signal: AbortSignal.timeout(STREAM_TTL_MS) }
    const asker = String(connection.remotePeer)
    try {
      for (let nth = 0; nth < MAX_QUESTIONS; nth++) {
        const header = await reader.header(frame)
        // Through another relay the address would be that relay's.
        await sendHeader(stream, connection.direct ? answer(asker, header) : { error: 'NOT_DIRECT' }, frame)
      }
      await stream.close(frame)
    } catch (error) {
      stream.abort(error as Error)
    } finally {
      reader.release()
    }
  }

  await libp2p.handle(REFLECTOR_PROTOCOL, (stream, connection) => void serve(stream, connection), {
    maxInboundStreams: MAX_STREAMS
  })
  return {
    permits: () => permits.size,
    async stop() {
      await libp2p.unhandle(REFLECTOR_PROTOCOL)
      permits.clear()
      byAsker.clear()
    }
  }
}

/** Thrown when a relay answers a question with an error. */
export class ReflectorRefusedError extends Error {
  readonly code: string

  constructor(code: string) {
    super(`The relay refused (${code}). Use a relay that runs this version, or stay on the relay.`)
    this.name = 'ReflectorRefusedError'
    this.code = code
  }
}

/** Questions to one relay, each as soon as the one before is answered. */
export interface RelayTalk {
  /** @throws ReflectorRefusedError, ZodError for an answer that is none, what streams throw, or the signal's reason */
  ask: <T>(asked: z.input<typeof question>, reply: z.ZodType<T>, signal: AbortSignal) => Promise<T>
  end: () => void
}

/** @throws what opening a stream throws, or the signal's reason */
export async function talkToRelay(connection: Connection, signal: AbortSignal): Promise<RelayTalk> {
  const opening = deadline(TIMEOUT_MS, signal)
  const stream = await connection.newStream(REFLECTOR_PROTOCOL, { signal: opening.signal }).finally(opening.clear)
  const reader = frameReader(stream)
  return {
    async ask(asked, reply, signal) {
      const frame = { idleTimeoutMs: TIMEOUT_MS, signal }
      await sendHeader(stream, asked, frame)
      const header = await reader.header(frame)
      const refused = errorReply.safeParse(header)
      if (refused.success) throw new ReflectorRefusedError(refused.data.error)
      return reply.parse(header)
    },
    end() {
      // The relay's side ends with it: nothing of it is worth a farewell.
      stream.abort(new Error('nothing more is asked'))
      reader.release()
    }
  }
}
