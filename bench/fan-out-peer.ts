/**
 * Both ends of `fan-out.ts` that are not the gateway, each in a process of its own: the limit, a loop that writes a
 * message to every TCP connection, and the client, bare sockets whose bytes are counted and not kept.
 */
import { randomBytes } from 'node:crypto'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { obeyOrders } from './peers.ts'

export type FanOutOrder =
  /** The limit listens: what one connection sends, in messages of so many bytes, goes to all. */
  | { do: 'serve'; messageBytes: number }
  /** Opens connections in place of those that are there; with an upgrade, WebSockets. The last few read nothing. */
  | { do: 'open'; port: number; count: number; silent?: number; upgrade: { path: string; key: string } | null }
  /** Sends the burst on the first connection, waits for all of it on all, and so on; nothing else is under way. */
  | { do: 'publish'; bursts: number; burst: Burst }

/** Messages that are sent in one write. */
export interface Burst {
  messages: number
  /** Of one message as it is received. */
  messageBytes: number
  /** Of a WebSocket's message; null: it is sent as it is received. */
  payloadBytes: number | null
}

export interface FanOutAnswer {
  port?: number
  ms?: number
}

const READ_BYTES = 64 * 1024
/** Sockets say that they are alive without being asked, so that nobody has to find pings among messages. */
const PONG_MS = 10_000
const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0])
/** Connections that are being made at once. */
const OPEN_AT_ONCE = 100
/** A burst that takes longer has lost something. */
const ARRIVE_LIMIT_MS = 30_000
const END_OF_HEAD = '\r\n\r\n'

let sockets: Socket[] = []
/** Those of them that read. */
let readers = 0
let missing = 0
let arrived: (() => void) | null = null
let ponging: NodeJS.Timeout | undefined

function count(bytes: number): void {
  missing -= bytes
  if (missing > 0 || arrived === null) return
  const done = arrived
  arrived = null
  done()
}

async function serve(messageBytes: number): Promise<FanOutAnswer> {
  const all = new Set<Socket>()
  const message = Buffer.alloc(messageBytes)
  const server = createServer({ noDelay: true }, socket => {
    all.add(socket)
    let bytes = 0
    socket.on('close', () => all.delete(socket))
    socket.on('error', () => socket.destroy())
    socket.on('data', chunk => {
      for (bytes += chunk.byteLength; bytes >= messageBytes; bytes -= messageBytes) {
        for (const other of all) other.write(message)
      }
    })
  })
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1024 })
  await new Promise(resolve => server.once('listening', resolve))
  return { port: (server.address() as AddressInfo).port }
}

async function open({ port, count: many, silent = 0, upgrade }: FanOutOrder & { do: 'open' }): Promise<FanOutAnswer> {
  for (const socket of sockets) socket.destroy()
  sockets = []
  const buffer = Buffer.allocUnsafe(READ_BYTES)
  for (let at = 0; at < many; at += OPEN_AT_ONCE) {
    const some = Array.from({ length: Math.min(OPEN_AT_ONCE, many - at) }, () => openOne(port, upgrade, buffer))
    sockets.push(...(await Promise.all(some)))
  }
  clearInterval(ponging)
  if (upgrade !== null) {
    ponging = setInterval(() => {
      for (const socket of sockets) socket.write(PONG)
    }, PONG_MS)
  }
  readers = many - silent
  for (const socket of sockets.slice(readers)) socket.pause()
  return {}
}

function openOne(port: number, upgrade: { path: string; key: string } | null, buffer: Buffer): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>()
  let head: string | null = upgrade === null ? null : ''
  const socket = connect({
    host: '127.0.0.1',
    port,
    noDelay: true,
    onread: {
      buffer,
      callback(bytes, chunk) {
        if (head === null) {
          count(bytes)
          return true
        }
        head += Buffer.from(chunk.buffer, chunk.byteOffset, bytes).toString('latin1')
        if (!head.includes(END_OF_HEAD)) return true
        if (head.startsWith('HTTP/1.1 101 ')) resolve(socket)
        else reject(new Error(`not a WebSocket: ${head}`))
        head = null
        return true
      }
    }
  })
  // Later ones as well: a socket that the gateway closes is missed by its bytes.
  socket.on('error', reject)
  socket.once('connect', () => {
    if (upgrade === null) resolve(socket)
    else {
      socket.write(
        `GET ${upgrade.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
          `X-API-Key: ${upgrade.key}\r\nSec-WebSocket-Version: 13\r\n` +
          `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`
      )
    }
  })
  return promise
}

async function publish({ bursts, burst }: FanOutOrder & { do: 'publish' }): Promise<FanOutAnswer> {
  const { messages, messageBytes, payloadBytes } = burst
  const one = payloadBytes === null ? Buffer.alloc(messageBytes) : clientFrame(payloadBytes)
  const bytes = Buffer.concat(Array.from({ length: messages }, () => one))
  const begun = performance.now()
  for (let at = 0; at < bursts; at += 1) {
    missing = messages * messageBytes * readers
    const all = new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${missing} bytes did not come`)), ARRIVE_LIMIT_MS)
      arrived = () => {
        clearTimeout(late)
        resolve()
      }
    })
    sockets[0]?.write(bytes)
    await all
  }
  return { ms: performance.now() - begun }
}

/** A binary frame of up to 65,535 bytes, its mask of zeros. */
function clientFrame(payloadBytes: number): Buffer {
  const isShort = payloadBytes < 126
  const length = isShort ? [0x80 | payloadBytes] : [0x80 | 126, payloadBytes >> 8, payloadBytes & 0xff]
  return Buffer.concat([Buffer.from([0x82, ...length, 0, 0, 0, 0]), Buffer.alloc(payloadBytes)])
}

obeyOrders<FanOutOrder>(order => {
  if (order.do === 'serve') return serve(order.messageBytes)
  return order.do === 'open' ? open(order) : publish(order)
})
