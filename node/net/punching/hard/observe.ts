/**
 * Asking reflectors as whom they see our sockets, and telling the NAT's kind from it.
 *
 * All sockets ask all endpoints at once, in one order, so that mappings are made one after another; what stays
 * unanswered is asked again. Meanwhile new sockets ask for answers from where they did not ask.
 */
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:dgram'
import { decodeAnswer, type Endpoint, encodeAsk, type ReflectorAsk, TRANSACTION_BYTES } from './datagrams.ts'
import { type NatFacts, type NatKindSeen, natFacts, natKind, type Observation } from './kinds.ts'
import { bindMany, bindUdp, closeUdp, sendUdp } from './sockets.ts'

export type { Dependence, NatFacts, NatKindSeen, PortAllocation } from './kinds.ts'

/** A relay's reflector as a peer knows it: from the relay, over the authenticated connection. */
export interface ReflectorPlace {
  /** Its IPv4 address. */
  host: string
  /** Its UDP ports. */
  ports: readonly number[]
  /** Whether it also answers from another address. */
  hasOtherAddress: boolean
  /** What opens it, TOKEN_BYTES. */
  token: Uint8Array
}

/** Sockets that are observed: with two reflectors of two ports, 16 observations. */
const SOCKETS = 4
/** At most so many endpoints are asked, whoever names them. */
const MAX_ENDPOINTS = 8
/** A question is asked so often at most, and so long after the one before. */
const TRIES = 4
const RETRY_MS = 250
/** After the last try. */
const LAST_WAIT_MS = 500

/** One question of one socket; it is asked until answered or given up. */
export interface Asking extends AbortOptionsLike {
  socket: Socket
  to: Endpoint
  token: Uint8Array
  from?: ReflectorAsk['from']
  tries?: number
  retryMs?: number
  /** Asked before each repetition; false ends the asking. */
  mayRepeat?: () => boolean
}

interface AbortOptionsLike {
  signal: AbortSignal
}

/**
 * As whom the reflector at `to` sees `socket`; null when no answer came. The first datagram leaves before this returns,
 * so that calls one after another make mappings one after another.
 * @throws the signal's reason
 */
export function ask(asking: Asking): Promise<Endpoint | null> {
  const { socket, to, token, from = 'here', tries = TRIES, retryMs = RETRY_MS, mayRepeat = () => true, signal } = asking
  if (signal.aborted) return Promise.reject(signal.reason)
  const transaction = Uint8Array.from(randomBytes(TRANSACTION_BYTES))
  const bytes = encodeAsk({ transaction, token, from })
  return new Promise((resolve, reject) => {
    let tried = 0
    let timer: NodeJS.Timeout | undefined
    const end = (): void => {
      clearTimeout(timer)
      socket.off('message', onMessage)
      socket.off('close', onClose)
      signal.removeEventListener('abort', onAbort)
    }
    const finish = (seen: Endpoint | null): void => {
      end()
      resolve(seen)
    }
    const onMessage = (message: Uint8Array): void => {
      const answer = decodeAnswer(message)
      // Who does not know the transaction does not answer in the reflector's name.
      if (answer !== null && Buffer.compare(answer.transaction, transaction) === 0) finish(answer.seen)
    }
    const onClose = (): void => finish(null)
    const onAbort = (): void => {
      end()
      reject(signal.reason)
    }
    const send = (): void => {
      if (tried === tries || (tried > 0 && !mayRepeat())) {
        finish(null)
        return
      }
      tried++
      sendUdp(socket, bytes, to)
      timer = setTimeout(send, tried === tries ? Math.max(retryMs, LAST_WAIT_MS) : retryMs)
    }
    socket.on('message', onMessage)
    socket.on('close', onClose)
    signal.addEventListener('abort', onAbort, { once: true })
    send()
  })
}

/** An endpoint of a reflector and what opens it. */
export interface ObservedBy extends Endpoint {
  token: Uint8Array
}

/** Every endpoint of the reflectors, those of different addresses by turns. */
export function endpointsOf(reflectors: readonly ReflectorPlace[]): ObservedBy[] {
  const most = Math.max(0, ...reflectors.map(({ ports }) => ports.length))
  return Array.from({ length: most }, (_, nth) =>
    reflectors.flatMap(({ host, ports, token }) =>
      ports[nth] === undefined ? [] : [{ host, port: ports[nth], token }]
    )
  )
    .flat()
    .slice(0, MAX_ENDPOINTS)
}

/** A kind with what a puncher needs besides. */
export interface NatSeen {
  kind: NatKindSeen
  facts: NatFacts
}

/**
 * Observe the NAT before us: about one round trip, or 1.5 s where something stays unanswered.
 * @throws the signal's reason; no socket stays open
 */
export async function observeNat(options: {
  reflectors: readonly ReflectorPlace[]
  signal: AbortSignal
}): Promise<NatSeen> {
  const { signal } = options
  const reflectors = options.reflectors.filter(({ ports }) => ports.length > 0)
  const endpoints = endpointsOf(reflectors)
  signal.throwIfAborted()
  if (endpoints.length === 0) return { kind: { ...UNKNOWN }, facts: natFacts([]) }
  const sockets = await bindMany(SOCKETS)
  try {
    const asked = sockets.flatMap((socket, index) =>
      endpoints.map(async ({ token, ...by }): Promise<Observation> => {
        const localPort = socket.address().port
        return { socket: index, localPort, by, seen: await ask({ socket, to: by, token, signal }) }
      })
    )
    const [observations, otherPort, otherAddress] = await Promise.all([
      Promise.all(asked),
      answeredFrom(
        'other-port',
        reflectors.find(({ ports }) => ports.length > 1),
        signal
      ),
      answeredFrom(
        'other-address',
        reflectors.find(({ hasOtherAddress }) => hasOtherAddress),
        signal
      )
    ])
    return { kind: natKind(observations, { otherPort, otherAddress }), facts: natFacts(observations) }
  } finally {
    for (const socket of sockets) closeUdp(socket)
  }
}

/**
 * The kind of the NAT before us, as far as these reflectors can tell it.
 * @throws the signal's reason; no socket stays open
 */
export async function detectNatKind(options: {
  reflectors: readonly ReflectorPlace[]
  signal: AbortSignal
}): Promise<NatKindSeen> {
  return (await observeNat(options)).kind
}

const UNKNOWN: NatKindSeen = { mapping: 'unknown', allocation: 'unknown', filtering: 'unknown' }

/** Whether a new socket gets an answer from where it did not ask; null when even the plain answer is missing. */
async function answeredFrom(
  from: 'other-port' | 'other-address',
  reflector: ReflectorPlace | undefined,
  signal: AbortSignal
): Promise<boolean | null> {
  const [port] = reflector?.ports ?? []
  if (reflector === undefined || port === undefined) return null
  const { host, token } = reflector
  const socket = await bindUdp()
  try {
    const to = { host, port }
    const [plain, other] = await Promise.all([
      ask({ socket, to, token, signal }),
      ask({ socket, to, token, from, signal })
    ])
    if (other !== null) return true
    return plain === null ? null : false
  } finally {
    closeUdp(socket)
  }
}
