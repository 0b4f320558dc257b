/** A TCP connection through a SOCKS5 proxy (RFC 1928, RFC 1929): `CONNECT` only. Names are resolved by the proxy. */
import { once } from 'node:events'
import { connect, isIPv4, isIPv6, type Socket } from 'node:net'
import { ProxyRefusedError } from '../../errors.ts'

const VERSION = 5
const AUTH_VERSION = 1
const NO_AUTH = 0
const PASSWORD = 2
const CONNECT = 1
const IPV4 = 1
const NAME = 3
const IPV6 = 4
const TEXT_MAX_BYTES = 255

/** RFC 1928 section 6, in words. */
const REPLIES: Readonly<Record<number, string>> = {
  1: 'it failed',
  2: 'its rules forbid it',
  3: 'the network cannot be reached',
  4: 'the host cannot be reached',
  5: 'the connection was refused',
  6: 'it took too long',
  7: 'it does not know CONNECT',
  8: 'it does not know this kind of address'
}

export interface SocksProxy {
  host: string
  port: number
  /** Both or neither. */
  username?: string
  password?: string
}

/** Read `socks5://[user:password@]host:port`. Null: it is none. */
export function parseSocksProxy(text: string): SocksProxy | null {
  const url = URL.parse(text)
  if (url === null || !/^socks5h?:$/.test(url.protocol) || url.hostname === '' || url.port === '') return null
  if (!['', '/'].includes(url.pathname) || url.search !== '' || url.hash !== '') return null
  const [username, password] = [decoded(url.username), decoded(url.password)]
  if (username === null || password === null) return null
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return { host, port: Number(url.port), ...(username ? { username, password } : {}) }
}

/** What RFC 1929 can carry of it; null for a stray percent sign, too. */
function decoded(text: string): string | null {
  try {
    const value = decodeURIComponent(text)
    return Buffer.byteLength(value) <= TEXT_MAX_BYTES ? value : null
  } catch {
    return null
  }
}

/**
 * A socket to `target` through the proxy. Bytes of the far end that came at once are still in it.
 * @throws ProxyRefusedError, or the system's error about the proxy itself
 */
export async function connectBySocks(
  proxy: SocksProxy,
  target: { host: string; port: number },
  signal: AbortSignal
): Promise<Socket> {
  signal.throwIfAborted()
  const socket = connect({ host: proxy.host, port: proxy.port, noDelay: true, keepAlive: true })
  // An error between two reads is met by the next one.
  socket.on('error', () => undefined)
  const onAbort = () => socket.destroy(signal.reason as Error)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await once(socket, 'connect')
    await greet(socket, proxy)
    await ask(socket, target)
    return socket
  } catch (error) {
    socket.destroy()
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

async function greet(socket: Socket, { username, password = '' }: SocksProxy): Promise<void> {
  const methods = username === undefined ? [NO_AUTH] : [NO_AUTH, PASSWORD]
  socket.write(Buffer.from([VERSION, methods.length, ...methods]))
  const [version, method] = await read(socket, 2)
  if (version !== VERSION) throw new ProxyRefusedError('it does not speak SOCKS5')
  if (method === NO_AUTH) return
  if (method !== PASSWORD || username === undefined) throw new ProxyRefusedError('it wants another way to log in')
  socket.write(Buffer.concat([Buffer.from([AUTH_VERSION]), text(username), text(password)]))
  const [, status] = await read(socket, 2)
  if (status !== 0) throw new ProxyRefusedError('it does not take this user and password')
}

async function ask(socket: Socket, { host, port }: { host: string; port: number }): Promise<void> {
  const portBytes = Buffer.alloc(2)
  portBytes.writeUInt16BE(port)
  socket.write(Buffer.concat([Buffer.from([VERSION, CONNECT, 0]), addressBytes(host), portBytes]))
  const [version, reply, , kind] = await read(socket, 4)
  if (version !== VERSION) throw new ProxyRefusedError('its answer is none of SOCKS5')
  if (reply !== 0) throw new ProxyRefusedError(REPLIES[reply!] ?? `it answered ${reply}`)
  // The address it is bound to says nothing to us, but is in the way of what follows.
  const boundBytes = kind === IPV4 ? 4 : kind === IPV6 ? 16 : (await read(socket, 1))[0]!
  await read(socket, boundBytes + portBytes.length)
}

function addressBytes(host: string): Buffer {
  if (isIPv4(host)) return Buffer.from([IPV4, ...host.split('.').map(Number)])
  if (isIPv6(host)) return Buffer.concat([Buffer.from([IPV6]), ipv6Bytes(host)])
  if (Buffer.byteLength(host) > TEXT_MAX_BYTES) throw new ProxyRefusedError('the name of the host is too long')
  return Buffer.concat([Buffer.from([NAME]), text(host)])
}

function ipv6Bytes(host: string): Buffer {
  // The URL parser writes an embedded IPv4 address as groups.
  const canonical = new URL(`http://[${host}]/`).hostname.slice(1, -1)
  const [head = '', tail] = canonical.split('::')
  const groups = (part: string | undefined) => (part === undefined || part === '' ? [] : part.split(':'))
  const [first, last] = [groups(head), groups(tail)]
  const zeros = Array.from({ length: 8 - first.length - last.length }, () => '0')
  return Buffer.from(
    [...first, ...zeros, ...last].flatMap(group => {
      const value = Number.parseInt(group, 16)
      return [value >> 8, value & 0xff]
    })
  )
}

const text = (value: string): Buffer => {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([bytes.length]), bytes])
}

/** Exactly so many bytes; what follows stays in the socket. */
async function read(socket: Socket, length: number): Promise<Buffer> {
  let bytes: Buffer = Buffer.alloc(0)
  for (;;) {
    // All there is: a socket that keeps a part of it says `readable` again and again, before anything else happens.
    const more = socket.read() as Buffer | null
    if (more !== null) bytes = Buffer.concat([bytes, more])
    if (bytes.length >= length) break
    if (more === null && (socket.readableEnded || socket.destroyed)) throw new ProxyRefusedError('it hung up')
    if (more === null) await change(socket)
  }
  if (bytes.length > length) socket.unshift(bytes.subarray(length))
  return bytes.subarray(0, length)
}

/** Resolves when there may be more to read, or never will be. */
async function change(socket: Socket): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onEvent = () => resolve()
  const events = ['readable', 'end', 'close']
  for (const event of events) socket.on(event, onEvent)
  socket.on('error', reject)
  try {
    await promise
  } finally {
    for (const event of events) socket.off(event, onEvent)
    socket.off('error', reject)
  }
}
