/**
 * Streams whose protocol is chosen in the same breath as it is first used, as multistream-select allows where there is
 * one to choose from: it saves a round trip, which through a relay is a long one. js-libp2p's interface has an option
 * for it (`negotiateFully: false`); its connections do not look at it (libp2p 3.3).
 * @see https://github.com/multiformats/multistream-select
 */
import type { Connection, Stream } from '@libp2p/interface'
import { concat, encodeVarint } from '../bytes.ts'

export const MULTISTREAM_LINES = { header: '/multistream/1.0.0\n', refusal: 'na\n' } as const

/** The connection's class has it, its interface does not. */
interface Muxed {
  muxer?: { createStream?: (options: { signal: AbortSignal }) => Promise<Stream> | Stream }
}

/** What begins such a stream: the choice, each line with its length. The peer repeats both when it agrees. */
export function selection(protocol: string): Uint8Array {
  const lines = [MULTISTREAM_LINES.header, `${protocol}\n`].map(line => new TextEncoder().encode(line))
  return concat(lines.flatMap(line => [encodeVarint(line.byteLength), line]))
}

/**
 * A stream on which nothing was sent, and that is not chosen for yet; `isLazy` false: libp2p had to choose.
 * @throws what `newStream` does
 */
export async function openLazily(
  connection: Connection,
  protocol: string,
  signal: AbortSignal
): Promise<{ stream: Stream; isLazy: boolean }> {
  const { muxer } = connection as unknown as Muxed
  if (muxer?.createStream === undefined) {
    const stream = await connection.newStream(protocol, { signal, runOnLimitedConnection: true })
    return { stream, isLazy: false }
  }
  const stream = await muxer.createStream({ signal })
  // As the connection does: its streams are counted and shown by what they speak.
  stream.protocol = protocol
  return { stream, isLazy: true }
}
