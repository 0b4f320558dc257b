/**
 * A client for HTTP that costs little, so that the server is what is measured: kept connections, one request at a time on
 * each, bodies counted and not kept. Every answer has to be a 2xx of exactly the expected length.
 */
import { randomFillSync } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
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

/** Bodies of random bytes, or of a seed; to one path, or to each of many in turn. */
export interface PutRequest {
  do: 'put'
  path: string | string[]
  bytes: number
  /** Gives the files of `files.ts`, from 0 on. Default: random ones. */
  seed?: string
  /** Sends each as the file of a form instead of as the body. */
  isForm?: boolean
  /** JSON that holds the body in base64, in place of the body itself. */
  json?: [before: string, after: string]
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
  /** Of every request. */
  headers?: Record<string, string>
  /** Begin so many a second, evenly, whatever became of those before; without, each when the one before is answered. */
  perSecond?: number
}

export interface Loaded {
  ms: number
  /** Of each request from when it was due to its whole answer, ms, sorted; of a load with `perSecond` only. */
  latenciesMs: number[]
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

/** Does the whole order and answers how long it took; connecting is not counted. */
export async function load(order: LoadOrder): Promise<Loaded> {
  const { port, count, atOnce, request, headers = {}, perSecond } = order
  const connections = await Promise.all(Array.from({ length: atOnce }, () => openConnection(port)))
  const lines = Object.entries({ host: `127.0.0.1:${port}`, ...headers })
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')
  const asks = connections.map(request.do === 'get' ? getter(request, lines) : putter(request, lines))
  const latenciesMs: number[] = []
  let next = 0
  const begun = performance.now()
  try {
    await Promise.all(
      asks.map(async ask => {
        for (let at = next++; at < count; at = next++) {
          if (perSecond === undefined) {
            await ask(at)
            continue
          }
          const dueMs = begun + (at * 1000) / perSecond
          const early = dueMs - performance.now()
          if (early > 0) await delay(early)
          await ask(at)
          latenciesMs.push(performance.now() - dueMs)
        }
      })
    )
    return { ms: performance.now() - begun, latenciesMs: latenciesMs.sort((a, b) => a - b) }
  } finally {
    for (const connection of connections) connection.end()
  }
}

/** What sends over a connection; all that can be made before the clock runs is. */
type Asker = (connection: LoadConnection) => (at: number) => Promise<void>

function getter({ method = 'GET', paths, bytes }: GetRequest, lines: string): Asker {
  const length = method === 'POST' ? 'content-length: 0\r\n' : ''
  const heads = paths.map(path => `${method} ${path} HTTP/1.1\r\n${lines}${length}\r\n`)
  return connection => async at => requireWhole(await connection.ask(heads[at % heads.length]!), bytes)
}

function putter({ path, bytes, seed, isForm = false, json }: PutRequest, lines: string): Asker {
  const paths = typeof path === 'string' ? [path] : path
  const one = seed === undefined ? null : firstFile(seed, bytes)
  return connection => {
    const file = one === null ? randomFillSync(Buffer.allocUnsafe(bytes)) : Buffer.from(one)
    return async at => {
      if (one === null) randomFillSync(file, 0, Math.min(STAMP_BYTES, bytes))
      else numbered(file, at)
      const body = json === undefined ? file : Buffer.from(json[0] + file.toString('base64') + json[1])
      const more = isForm ? formHeaders(bytes) : bodyHeaders(body.length, json === undefined ? 'octet-stream' : 'json')
      const head = `POST ${paths[at % paths.length]} HTTP/1.1\r\n${lines}${more}`
      requireWhole(await (isForm ? connection.ask(head, body, FORM_END) : connection.ask(head, body)))
    }
  }
}

const bodyHeaders = (bytes: number, type: 'octet-stream' | 'json'): string =>
  `content-type: application/${type}\r\ncontent-length: ${bytes}\r\n\r\n`

const formHeaders = (bytes: number): string => {
  const length = FORM_HEAD.length + bytes + FORM_END.length
  return `content-type: multipart/form-data; boundary=${BOUNDARY}\r\ncontent-length: ${length}\r\n\r\n${FORM_HEAD}`
}

function requireWhole({ status, bodyBytes, told }: Answered, bytes?: number): void {
  if (status < 200 || status > 299) throw new Error(`the server answered ${status}: ${told}`)
  if (bytes !== undefined && bodyBytes !== bytes)
    throw new Error(`an answer of ${bodyBytes} bytes where ${bytes} are due`)
}
