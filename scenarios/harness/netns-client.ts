/** The harness's end of a keeper's Unix socket. */
import { readFile } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KeeperError } from './errors.ts'
import { type Answer, type Call, type KeeperRecord, LINE_BYTES_MAX } from './netns-protocol.ts'

/** sockaddr_un.sun_path holds 108 bytes with its zero. */
const SOCKET_PATH_BYTES_MAX = 107
/** Longest any call may take: a restart of a host on a crowded machine. */
const CALL_TIMEOUT_MS = 240_000

/** Where the keeper of a run listens: in the run's folder, or under the temporary folder when that path is too long. */
export function keeperSocketPath(folder: string, run: string): string {
  const path = join(folder, 'keeper.sock')
  return Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX
    ? path
    : join(tmpdir(), `warren-${process.geteuid?.()}-${run}.sock`)
}

export async function readKeeperRecord(folder: string): Promise<KeeperRecord | null> {
  try {
    return JSON.parse(await readFile(join(folder, 'keeper.json'), 'utf8')) as KeeperRecord
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/**
 * Ask the keeper one thing.
 * @throws KeeperError when it is gone; an error with the far side's `code` when it refuses
 */
export async function callKeeper(
  socketPath: string,
  call: Call,
  options: { signal?: AbortSignal } = {}
): Promise<unknown> {
  const timeout = AbortSignal.timeout(CALL_TIMEOUT_MS)
  const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout])
  const line = await exchange(socketPath, `${JSON.stringify(call)}\n`, signal)
  const answer = JSON.parse(line) as Answer
  if (answer.ok) return answer.value
  throw Object.assign(new KeeperError(answer.error.message), { code: answer.error.code })
}

async function exchange(path: string, request: string, signal: AbortSignal): Promise<string> {
  signal.throwIfAborted()
  const socket = net.connect(path)
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const aborted = (): void => reject(signal.reason)
  signal.addEventListener('abort', aborted, { once: true })
  let text = ''
  socket.setEncoding('utf8')
  socket.on('connect', () => socket.write(request))
  socket.on('data', (chunk: string) => {
    text += chunk
    if (text.length > LINE_BYTES_MAX) reject(new KeeperError('the keeper answers more than it may'))
    else if (text.endsWith('\n')) resolve(text)
  })
  socket.on('error', cause =>
    reject(
      new KeeperError(
        `the keeper of this testnet does not answer (${cause.message}); \`make testnet-down\` removes what is left`,
        { cause }
      )
    )
  )
  socket.on('close', () =>
    reject(new KeeperError('the keeper of this testnet ended in mid-answer; `make testnet-down` removes what is left'))
  )
  try {
    return await promise
  } finally {
    signal.removeEventListener('abort', aborted)
    socket.destroy()
  }
}
