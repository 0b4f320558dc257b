/**
 * The reflector of the relay role: a small UDP service that tells whoever brings a token as whom it sees them.
 *
 * Not STUN: it answers only peers the relay gave a token to (over their authenticated connection), never with more bytes
 * than were sent, never to anybody but the sender, and at a bounded rate for each source and in all. A token is an
 * expiry and a MAC over it, so that nothing is kept for a peer.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:dgram'
import { decodeAsk, encodeAnswer, TOKEN_BYTES } from './datagrams.ts'
import { bindUdp, closeUdp, sendUdp } from './sockets.ts'

/** Limits of a reflector. */
export interface ReflectorLimits {
  /** Answers a second to one source address; peers of one carrier share an address. */
  perSourcePerSecond: number
  /** Answers a second in all. */
  perSecond: number
  /** Source addresses remembered; beyond it the one not heard for longest is forgotten. */
  maxSources: number
  /** How long a token opens the reflector, ms. */
  tokenTtlMs: number
}

export const DEFAULT_REFLECTOR_LIMITS: ReflectorLimits = {
  perSourcePerSecond: 256,
  perSecond: 8192,
  maxSources: 4096,
  tokenTtlMs: 10 * 60 * 1000
}

export interface ReflectorCounts {
  answered: number
  /** No question, or a token that is not ours or too old. */
  refused: number
  /** Over a rate. */
  limited: number
}

export interface Reflector {
  /** UDP ports it answers on, first the one that is asked; empty until started. */
  ports: () => number[]
  /** Its other address, null when it has one only. */
  otherHost: () => string | null
  /** A fresh token. */
  token: () => { token: Uint8Array; ttlMs: number }
  counts: () => ReflectorCounts
  /** @throws when a port cannot be bound; nothing stays open then */
  start: () => Promise<void>
  stop: () => void
}

const EXPIRY_BYTES = 4
const SECRET_BYTES = 32
const SECOND_MS = 1000

/**
 * @param init.ports UDP ports, two for filtering to be told; 0 is any port
 * @param init.hosts addresses to bind: one (or the wildcard), or two of this machine
 */
export function createReflector(init: {
  ports: readonly number[]
  hosts?: readonly string[]
  limits?: Partial<ReflectorLimits>
  now?: () => number
}): Reflector {
  const { hosts = ['0.0.0.0'], now = Date.now } = init
  const limits = { ...DEFAULT_REFLECTOR_LIMITS, ...init.limits }
  const secret = randomBytes(SECRET_BYTES)
  const sources = new Map<string, Bucket>()
  const all = bucket(limits.perSecond, now())
  const counts: ReflectorCounts = { answered: 0, refused: 0, limited: 0 }
  /** By host, then port. */
  let sockets: Socket[][] = []
  let bound: number[] = []

  function mac(expiry: Uint8Array): Buffer {
    return createHmac('sha256', secret)
      .update(expiry)
      .digest()
      .subarray(0, TOKEN_BYTES - EXPIRY_BYTES)
  }

  function isOurs(token: Uint8Array): boolean {
    const bytes = Buffer.from(token)
    if (bytes.readUInt32BE(0) * SECOND_MS < now()) return false
    return timingSafeEqual(bytes.subarray(EXPIRY_BYTES), mac(bytes.subarray(0, EXPIRY_BYTES)))
  }

  /** Whether this source may have an answer now. */
  function mayAnswer(host: string): boolean {
    const atMs = now()
    const own = sources.get(host) ?? bucket(limits.perSourcePerSecond, atMs)
    sources.delete(host)
    sources.set(host, own)
    if (sources.size > limits.maxSources) sources.delete(sources.keys().next().value!)
    return take(own, limits.perSourcePerSecond, atMs) && take(all, limits.perSecond, atMs)
  }

  function answer(
    at: { host: number; port: number },
    bytes: Uint8Array,
    from: { address: string; port: number }
  ): void {
    const ask = decodeAsk(bytes)
    if (ask === null || !isOurs(ask.token)) {
      counts.refused++
      return
    }
    const by =
      ask.from === 'other-port'
        ? sockets[at.host]?.[1 - at.port]
        : ask.from === 'other-address'
          ? sockets[1 - at.host]?.[at.port]
          : sockets[at.host]?.[at.port]
    const seen = { host: from.address, port: from.port }
    const reply = encodeAnswer({ transaction: ask.transaction, seen })
    // Without another port or address silence is the truth: nothing came from there.
    if (by === undefined || reply === null) return
    if (!mayAnswer(from.address)) {
      counts.limited++
      return
    }
    counts.answered++
    sendUdp(by, reply, seen)
  }

  const reflector: Reflector = {
    ports: () => bound,
    otherHost: () => (sockets.length > 1 ? (hosts[1] ?? null) : null),
    token() {
      const token = Buffer.alloc(TOKEN_BYTES)
      token.writeUInt32BE(Math.ceil((now() + limits.tokenTtlMs) / SECOND_MS))
      mac(token.subarray(0, EXPIRY_BYTES)).copy(token, EXPIRY_BYTES)
      return { token, ttlMs: limits.tokenTtlMs }
    },
    counts: () => ({ ...counts }),
    async start() {
      try {
        for (const [host, address] of hosts.entries()) {
          const row: Socket[] = []
          sockets.push(row)
          for (const [port, wanted] of init.ports.entries()) {
            // Both addresses have the same ports, whichever the kernel chose for the first.
            const socket = await bindUdp({ host: address, port: host === 0 ? wanted : bound[port]! })
            row.push(socket)
            if (host === 0) bound.push(socket.address().port)
            socket.on('message', (bytes, from) => answer({ host, port }, bytes, from))
          }
        }
      } catch (error) {
        reflector.stop()
        throw error
      }
    },
    stop() {
      for (const socket of sockets.flat()) closeUdp(socket)
      sockets = []
      bound = []
      sources.clear()
    }
  }
  return reflector
}

/** A token bucket of one second. */
interface Bucket {
  left: number
  atMs: number
}

function bucket(perSecond: number, atMs: number): Bucket {
  return { left: perSecond, atMs }
}

function take(from: Bucket, perSecond: number, atMs: number): boolean {
  const passedMs = Math.max(0, atMs - from.atMs)
  from.left = Math.min(perSecond, from.left + (passedMs * perSecond) / SECOND_MS)
  from.atMs = atMs
  if (from.left < 1) return false
  from.left--
  return true
}
