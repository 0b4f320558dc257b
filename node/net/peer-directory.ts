/**
 * The peer directory of relays: who opens the stream is sent, without a question, a length (4 bytes, big-endian) and as
 * much JSON, `{ peers, timestamp }`. It is the relay's word: what peers sign of themselves comes by announcements.
 */
import type { Connection, Stream } from '@libp2p/interface'
import * as z from 'zod'
import { ProtocolViolationError } from '../errors.ts'
import { concat, textOf } from './bytes.ts'
import { frameReader, sendBytes } from './frames.ts'

/** Of the ByteCave relay. */
export const PEER_DIRECTORY_PROTOCOL = '/bytecave/relay/peers/1.0.0'
/** Longest answer, bytes of JSON. */
export const MAX_DIRECTORY_BYTES = 1024 * 1024
const TIMEOUT_MS = 5000
const LENGTH_BYTES = 4

const peerSchema = z.object({
  peerId: z.string().max(128),
  multiaddrs: z.array(z.string().max(512)).max(64),
  /** ms since the epoch. */
  lastSeen: z.number(),
  isRegistered: z.boolean(),
  /** Its id in the chain's registry; null where the relay reads none. */
  onChainNodeId: z.string().max(128).nullable(),
  /** What it calls itself. */
  nodeId: z.string().max(256)
})
const answerSchema = z.object({ peers: z.array(peerSchema).max(10_000), timestamp: z.number() })

export type DirectoryPeer = z.infer<typeof peerSchema>
export type DirectoryAnswer = z.infer<typeof answerSchema>

/**
 * What a relay's directory has.
 * @throws ProtocolViolationError when the answer is not as above or longer than MAX_DIRECTORY_BYTES
 * @throws TransferCutError, PeerTimeoutError
 */
export async function askPeerDirectory(
  connection: Connection,
  options: { signal?: AbortSignal } = {}
): Promise<DirectoryAnswer> {
  const limit = AbortSignal.timeout(2 * TIMEOUT_MS)
  const signal = options.signal === undefined ? limit : AbortSignal.any([options.signal, limit])
  const stream = await connection.newStream(PEER_DIRECTORY_PROTOCOL, { signal })
  const reader = frameReader(stream)
  const read = async (sizeBytes: number) => {
    const chunks: Uint8Array[] = []
    for await (const chunk of reader.bytes(sizeBytes, { idleTimeoutMs: TIMEOUT_MS, signal })) chunks.push(chunk)
    return concat(chunks)
  }
  try {
    await stream.close({ signal })
    const length = await read(LENGTH_BYTES)
    const sizeBytes = new DataView(length.buffer, length.byteOffset).getUint32(0)
    if (sizeBytes > MAX_DIRECTORY_BYTES) throw new ProtocolViolationError(`a directory of ${sizeBytes} bytes`)
    return parse(await read(sizeBytes))
  } catch (error) {
    stream.abort(error as Error)
    throw error
  } finally {
    reader.release()
  }
}

/** Sends the whole answer, `json`, and ends the stream. */
export async function tellPeerDirectory(stream: Stream, json: Uint8Array): Promise<void> {
  const length = new Uint8Array(LENGTH_BYTES)
  new DataView(length.buffer).setUint32(0, json.byteLength)
  const signal = AbortSignal.timeout(2 * TIMEOUT_MS)
  try {
    await sendBytes(stream, [length, json], { idleTimeoutMs: TIMEOUT_MS, signal })
    await stream.close({ signal })
  } catch (error) {
    stream.abort(error as Error)
  }
}

function parse(bytes: Uint8Array): DirectoryAnswer {
  let value: unknown
  try {
    value = JSON.parse(textOf(bytes))
  } catch {
    throw new ProtocolViolationError('a directory that is not JSON')
  }
  const result = answerSchema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new ProtocolViolationError(`directory field ${issue?.path.join('.') || '(all)'}: ${issue?.message}`)
}
