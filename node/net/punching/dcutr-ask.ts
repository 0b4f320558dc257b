/**
 * The side that opens the stream, B of the specification: it holds the inbound end of the relayed connection, says
 * CONNECT, measures the round trip, says SYNC and is server of the handshakes.
 */
import type { Connection, Stream } from '@libp2p/interface'
import {
  type Attempt,
  type DcutrContext,
  endStream,
  ownAddresses,
  peerCandidates,
  punchAll,
  report,
  within
} from './dcutr-context.ts'
import {
  DcutrError,
  DcutrUnsupportedError,
  NoPunchAddressesError,
  PeerGoneError,
  PunchRefusedError
} from './dcutr-errors.ts'
import { DCUTR_PROTOCOL, type HolePunchMessage, type MessageReader, messageReader, sendMessage } from './dcutr-wire.ts'
import { openLazily } from './lazy-stream.ts'
import { dialAnnounced, identified } from './unilateral.ts'

/** How long the first observation of ourselves is waited for. */
const OBSERVED_WAIT_MS = 1000

/**
 * One attempt.
 * @param options.isNew the relayed connection was opened just now and is being identified
 * @param options.onAnswered the peer takes part: from now on an ask of its own is a new attempt, not a collision
 * @throws DcutrError or PunchFailedError; nothing of the attempt stays open
 */
export async function ask(
  context: DcutrContext,
  attempt: Attempt,
  options: { isNew: boolean; onAnswered: () => void }
): Promise<Connection> {
  const { relayed, signal } = attempt
  const identify = options.isNew ? identified(context, relayed) : null
  let stream: Stream | undefined
  let reader: MessageReader | undefined
  try {
    let answer: HolePunchMessage | undefined
    let failure: unknown
    const own = await ownAddresses(context, 'responder', attempt.attempt === 1 ? OBSERVED_WAIT_MS : 0, signal)
    if (own.length === 0) failure = new NoPunchAddressesError('own')
    else {
      try {
        // 1. B opens a stream to A.
        const opened = await open(context, attempt)
        stream = opened.stream
        const messages = messageReader(stream)
        reader = messages
        // 2. B sends CONNECT with its observed addresses and takes the time to A's CONNECT.
        const sentAtMs = performance.now()
        const message = { type: 'CONNECT', addresses: own.map(({ bytes }) => bytes) } as const
        sendMessage(stream, message, { isFirst: opened.isLazy })
        answer = await within(signal, context.limits.punchNegotiationMs, 'did not answer CONNECT', async limit => {
          if (opened.isLazy) await messages.agreed({ signal: limit })
          return await messages.next('CONNECT', { signal: limit })
        })
        attempt.rttMs = performance.now() - sentAtMs
        options.onAnswered()
      } catch (error) {
        signal.throwIfAborted()
        failure = error instanceof PeerGoneError ? new PunchRefusedError({ cause: error }) : error
      }
    }
    // The unilateral upgrade comes first in the specification. Here identify has the time of CONNECT to tell of announced
    // addresses, and a peer that says it has none costs no wait.
    if (attempt.attempt === 1 && answer?.isPrivate !== true) {
      const connection = await dialAnnounced(context, relayed, identify?.done ?? Promise.resolve(), signal)
      if (connection !== null) {
        report(context, attempt, 'other', 'unilateral')
        if (stream !== undefined) endStream(stream)
        return connection
      }
    }
    if (answer === undefined || stream === undefined || reader === undefined) throw failure
    const targets = await peerCandidates(context, attempt, answer.addresses, own)
    if (targets.length === 0) throw new NoPunchAddressesError('peer')
    // 4. B sends SYNC; at half the round trip it arrives, and both begin.
    try {
      sendMessage(stream, { type: 'SYNC', addresses: [] })
    } catch (cause) {
      throw new PunchRefusedError({ cause })
    }
    const connection = await punchAll(context, attempt, targets, reader)
    endStream(stream)
    return connection
  } catch (error) {
    if (stream !== undefined) endStream(stream, error)
    throw error
  } finally {
    reader?.release()
    identify?.stop()
  }
}

async function open({ limits }: DcutrContext, { relayed, signal }: Attempt): ReturnType<typeof openLazily> {
  try {
    return await within(signal, limits.punchNegotiationMs, 'opened no stream', limit =>
      openLazily(relayed, DCUTR_PROTOCOL, limit)
    )
  } catch (cause) {
    if (signal.aborted || cause instanceof DcutrError) throw cause
    if ((cause as Error).name === 'UnsupportedProtocolError') throw new DcutrUnsupportedError({ cause })
    throw new PeerGoneError('before a stream was open', { cause })
  }
}
