/**
 * A client for HTTP that costs little, so that the server is what is measured: kept connections, one request at a time on
 * each, bodies counted and not kept. Every answer has to be a 2xx of exactly the expected length.
 */
import { randomFillSync } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { type ChunkedCount, createChunkedCount } from './chunked.ts'
import { firstFile, numbered } from './files.ts'

const READ_BYTES = 256 * 1024
const END_OF_HEAD = '\r\n\r\n'
const NOTHING = Buffer.alloc(0)
/** How much of an answer that is an error is told. */
const TOLD_BYTES = 300
/** Changed in every body, so that no two blobs are alike. */
const STAMP_BYTES = 16
/** Of a form with one file (RFC 7578). */
const BOUNDARY = 'one-file-of-a-benchmark'
const FORM_HEAD = `--${BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="file"\r\ncontent-type: application/octet-stream\r\n\r\n`
const FORM_END = Buffer.from(`\r\n--${BOUNDARY}--\r\n`)

export interface PutRequest {
  do: 'put'
  path: string
  bytes: number
  /** Gives the files of `files.ts`, from 0 on. Default: random ones. */
  seed?: string
  /** Sends each as the file of a form instead of as the body. */
  isForm?: boolean
}

export interface GetRequest {
  do: 'get'
  paths: string[]
  bytes: number
  /** Default: GET. */
  method?: 'GET' | 'POST'
}

export interface LoadOrder {
  port: number
  /** Requests in all, and how many at once. */
  count: number
  atOnce: number
  request: PutRequest | GetRequest
}

export interface Answered {
  status: number
  bodyBytes: number
  /** The beginning of the body. */
  told: string
}

export interface LoadConnection {
  /** Sends a request, and its body, which must not change before the answer. */
  ask: (head: string, ...body: Uint8Array[]) => Promise<Answered>
  end: () => void
}

/** A connection to 127.0.0.1. */
export async function openConnection(port: number): Promise<LoadConnection> {
  let pending: PromiseWithResolvers<Answered> | null = null
  let head: Buffer = NOTHING
  let answer: Answered | null = null
  let missing = 0
  let chunks: ChunkedCount | null = null

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
      chunks = /\r\ntransfer-encoding: *chunked/i.test(text) ? createChunkedCount() : null
      if (length === undefined && chunks === null) return fail(new Error(`an answer without a length: ${text}`))
      answer = { status: Number(text.split(' ', 2)[1]), bodyBytes: Number(length), told: '' }
      missing = answer.bodyBytes
      body = joined.subarray(at + END_OF_HEAD.length)
      head = NOTHING
    }
    if (answer.told.length < TOLD_BYTES) answer.told += body.toString('latin1', 0, TOLD_BYTES)
    if (chunks === null) missing -= body.length
    else {
      if (!chunks.take(body)) return fail(new Error('chunks that are none, or more than the answer has'))
      missing = chunks.isWhole() ? 0 : 1
      answer.bodyBytes = chunks.bodyBytes()
    }
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
    ask(requestHead, ...body) {
      pending = Promise.withResolvers()
      socket.cork()
      socket.write(requestHead, 'latin1')
      for (const piece of body) socket.write(piece)
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
  const bodies = request.do === 'put' ? bodiesOf(request, atOnce) : []
  let next = 0
  const begun = performance.now()
  try {
    await Promise.all(
      connections.map(async (connection, worker) => {
        if (request.do === 'get') {
          const { method = 'GET', paths, bytes } = request
          const length = method === 'POST' ? 'content-length: 0\r\n' : ''
          for (let at = next++; at < count; at = next++) {
            const path = paths[at % paths.length]!
            requireWhole(await connection.ask(`${method} ${path} HTTP/1.1\r\n${host}${length}\r\n`), bytes)
          }
          return
        }
        const { path, bytes, seed, isForm = false } = request
        const body = bodies[worker]!
        const head = `POST ${path} HTTP/1.1\r\n${host}${isForm ? formHeaders(bytes) : bodyHeaders(bytes)}`
        for (let at = next++; at < count; at = next++) {
          if (seed === undefined) randomFillSync(body, 0, STAMP_BYTES)
          else numbered(body, at)
          requireWhole(await (isForm ? connection.ask(head, body, FORM_END) : connection.ask(head, body)))
        }
      })
    )
    return performance.now() - begun
  } finally {
    for (const connection of connections) connection.end()
  }
}

/** One for each connection, made before the clock runs. */
function bodiesOf({ bytes, seed }: PutRequest, atOnce: number): Buffer[] {
  const one = seed === undefined ? null : firstFile(seed, bytes)
  return Array.from({ length: atOnce }, () =>
    one === null ? randomFillSync(Buffer.allocUnsafe(bytes)) : Buffer.from(one)
  )
}

const bodyHeaders = (bytes: number): string =>
  `content-type: application/octet-stream\r\ncontent-length: ${bytes}\r\n\r\n`

const formHeaders = (bytes: number): string => {
  const length = FORM_HEAD.length + bytes + FORM_END.length
  return `content-type: multipart/form-data; boundary=${BOUNDARY}\r\ncontent-length: ${length}\r\n\r\n${FORM_HEAD}`
}

function requireWhole({ status, bodyBytes, told }: Answered, bytes?: number): void {
  if (status < 200 || status > 299) throw new Error(`the server answered ${status}: ${told}`)
  if (bytes !== undefined && bodyBytes !== bytes)
    throw new Error(`an answer of ${bodyBytes} bytes where ${bytes} are due`)
}
