/**
 * A client for HTTP that costs little, so that the server is what is measured: kept connections, one request at a time on
 * each, bodies counted and not kept. Every answer has to be a 2xx of exactly the expected length.
 */
import { randomFillSync } from 'node:crypto'
import { connect, type Socket } from 'node:net'

const READ_BYTES = 256 * 1024
const END_OF_HEAD = '\r\n\r\n'
const NOTHING = Buffer.alloc(0)
/** How much of an answer that is an error is told. */
const TOLD_BYTES = 300
/** Changed in every body, so that no two blobs are alike. */
const STAMP_BYTES = 16

export interface LoadOrder {
  port: number
  /** Requests in all, and how many at once. */
  count: number
  atOnce: number
  request: { do: 'put'; path: string; bytes: number } | { do: 'get'; paths: string[]; bytes: number }
}

export interface Answered {
  status: number
  bodyBytes: number
  /** The beginning of the body. */
  told: string
}

export interface LoadConnection {
  /** Sends a request, and its body, which must not change before the answer. */
  ask: (head: string, body?: Uint8Array) => Promise<Answered>
  end: () => void
}

/** A connection to 127.0.0.1. */
export async function openConnection(port: number): Promise<LoadConnection> {
  let pending: PromiseWithResolvers<Answered> | null = null
  let head: Buffer = NOTHING
  let answer: Answered | null = null
  let missing = 0

  const fail = (error: Error): boolean => {
    pending?.reject(error)
    socket.destroy()
    return false
  }
  function take(piece: Buffer): boolean {
    let body = piece
    if (answer === null) {
      const joined = Buffer.concat([head, piece])
      const at = joined.indexOf(END_OF_HEAD)
      head = joined
      if (at < 0) return true
      const text = joined.toString('latin1', 0, at)
      const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1]
      if (length === undefined) return fail(new Error(`an answer without a length: ${text}`))
      answer = { status: Number(text.split(' ', 2)[1]), bodyBytes: Number(length), told: '' }
      missing = answer.bodyBytes
      body = joined.subarray(at + END_OF_HEAD.length)
      head = NOTHING
    }
    if (answer.told.length < TOLD_BYTES) answer.told += body.toString('latin1', 0, TOLD_BYTES)
    missing -= body.length
    if (missing < 0 || pending === null) return fail(new Error('more bytes than the answer has'))
    if (missing > 0) return true
    const done = pending
    const whole = answer
    pending = null
    answer = null
    done.resolve(whole)
    return true
  }

  const socket: Socket = connect({
    host: '127.0.0.1',
    port,
    noDelay: true,
    onread: {
      buffer: Buffer.allocUnsafe(READ_BYTES),
      callback: (count, buffer) => take(Buffer.from(buffer.buffer, buffer.byteOffset, count))
    }
  })
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  socket.on('error', fail)
  socket.on('close', () => pending?.reject(new Error('the server closed the connection')))
  return {
    ask(requestHead, body) {
      pending = Promise.withResolvers()
      socket.cork()
      socket.write(requestHead, 'latin1')
      if (body !== undefined) socket.write(body)
      socket.uncork()
      return pending.promise
    },
    end: () => socket.destroy()
  }
}

/** Does the whole order and answers how long it took, ms; connecting is not counted. */
export async function load({ port, count, atOnce, request }: LoadOrder): Promise<number> {
  const connections = await Promise.all(Array.from({ length: atOnce }, () => openConnection(port)))
  const host = `host: 127.0.0.1:${port}\r\n`
  let next = 0
  const begun = performance.now()
  try {
    await Promise.all(
      connections.map(async connection => {
        if (request.do === 'get') {
          for (let at = next++; at < count; at = next++) {
            const path = request.paths[at % request.paths.length]!
            requireWhole(await connection.ask(`GET ${path} HTTP/1.1\r\n${host}\r\n`), request.bytes)
          }
          return
        }
        const { path, bytes } = request
        const body = randomFillSync(Buffer.allocUnsafe(bytes))
        const type = 'content-type: application/octet-stream\r\n'
        for (; next++ < count; ) {
          randomFillSync(body, 0, STAMP_BYTES)
          requireWhole(
            await connection.ask(`POST ${path} HTTP/1.1\r\n${host}${type}content-length: ${bytes}\r\n\r\n`, body)
          )
        }
      })
    )
    return performance.now() - begun
  } finally {
    for (const connection of connections) connection.end()
  }
}

function requireWhole({ status, bodyBytes, told }: Answered, bytes?: number): void {
  if (status < 200 || status > 299) throw new Error(`the server answered ${status}: ${told}`)
  if (bytes !== undefined && bodyBytes !== bytes)
    throw new Error(`an answer of ${bodyBytes} bytes where ${bytes} are due`)
}
