/**
 * The side that is asked, A of the specification: it answers CONNECT with its own, and at SYNC punches as client of
 * the handshakes.
 */
import type { Connection, Stream } from '@libp2p/interface'
import {
  type Attempt,
  type DcutrContext,
  directTo,
  endStream,
  ownAddresses,
  peerCandidates,
  punchAll,
  report,
  within
} from './dcutr-context.ts'
import { NoPunchAddressesError, PeerGoneError } from './dcutr-errors.ts'
import { type MessageReader, sendMessage } from './dcutr-wire.ts'
import { announcesBareHost } from './unilateral.ts'

/** How long the first observation of ourselves is waited for: the peer takes the time of our answer. */
const OBSERVED_WAIT_MS = 500

/**
 * One attempt that the peer asked for.
 * @param reader attached since the stream was got
 * @throws DcutrError or PunchFailedError; nothing of the attempt stays open
 */
export async function answer(
  context: DcutrContext,
  attempt: Attempt,
  stream: Stream,
  reader: MessageReader
): Promise<Connection> {
  const { components, limits } = context
  const { relayed, signal } = attempt
  const own = await ownAddresses(context, 'initiator', OBSERVED_WAIT_MS, signal)
  const { addresses } = await within(signal, limits.punchTimeoutMs, 'said no CONNECT', limit =>
    reader.next('CONNECT', { signal: limit })
  )
  // 3. A answers with the addresses that others observed of it.
  const isPrivate = !announcesBareHost(context)
  sendMessage(stream, { type: 'CONNECT', addresses: own.map(({ bytes }) => bytes), isPrivate })
  const targets = await peerCandidates(context, attempt, addresses, own)
  if (targets.length === 0) throw new NoPunchAddressesError(own.length === 0 ? 'own' : 'peer')
  try {
    // B may try to dial us first.
    const patienceMs = limits.punchNegotiationMs + limits.punchUnilateralMs
    await within(signal, patienceMs, 'said no SYNC', limit => reader.next('SYNC', { signal: limit }))
  } catch (error) {
    // B needs no punch when it could dial us.
    const dialled =
      error instanceof PeerGoneError
        ? directTo(components, relayed.remotePeer).find(({ id }) => !attempt.known.has(id))
        : undefined
    if (dialled === undefined) throw error
    report(context, attempt, 'other', 'unilateral')
    endStream(stream)
    return dialled
  }
  // 5. Upon SYNC, A begins at once.
  const connection = await punchAll(context, attempt, targets, reader)
  endStream(stream)
  return connection
}
