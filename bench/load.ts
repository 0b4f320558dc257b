/**
 * A client for HTTP that costs little, so that the server is what is measured: kept connections, one request at a time on
 * each, bodies counted and not kept. Every answer has to be a 2xx of exactly the expected length.
 */
import { randomFillSync } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

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
  request: PutRequest | { do: 'get'; paths: string[]; bytes: number }
  /** Of every request. */
  headers?: Record<string, string>
  /** Begin so many a second, evenly, whatever became of those before; without, each when the one before is answered. */
  perSecond?: number
}

/** Bodies of random bytes; to one path, or to each of many in turn. */
export interface PutRequest {
  do: 'put'
  path: string | string[]
  bytes: number
  /** JSON that holds the body in base64, in place of the body itself. */
  json?: [before: string, after: string]
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

/** Does the whole order and answers how long it took; connecting is not counted. */
export async function load(order: LoadOrder): Promise<Loaded> {
  const { port, count, atOnce, request, headers = {}, perSecond } = order
  const connections = await Promise.all(Array.from({ length: atOnce }, () => openConnection(port)))
  const lines = Object.entries({ host: `127.0.0.1:${port}`, ...headers }).map(
    ([name, value]) => `${name}: ${value}\r\n`
  )
  const askOf = request.do === 'get' ? getter(request, lines.join('')) : putter(request, lines.join(''))
  const latenciesMs: number[] = []
  let next = 0
  const begun = performance.now()
  try {
    await Promise.all(
      connections.map(async connection => {
        const ask = askOf(connection)
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

type Asker = (connection: LoadConnection) => (at: number) => Promise<void>

function getter({ paths, bytes }: { paths: string[]; bytes: number }, lines: string): Asker {
  const heads = paths.map(path => `GET ${path} HTTP/1.1\r\n${lines}\r\n`)
  return connection => async at => requireWhole(await connection.ask(heads[at % heads.length]!), bytes)
}

function putter({ path, bytes, json }: PutRequest, lines: string): Asker {
  const paths = typeof path === 'string' ? [path] : path
  return connection => {
    const random = randomFillSync(Buffer.allocUnsafe(bytes))
    return async at => {
      randomFillSync(random, 0, Math.min(STAMP_BYTES, bytes))
      const body = json === undefined ? random : Buffer.from(json[0] + random.toString('base64') + json[1])
      const type = `content-type: application/${json === undefined ? 'octet-stream' : 'json'}\r\n`
      const head = `POST ${paths[at % paths.length]} HTTP/1.1\r\n${lines}${type}content-length: ${body.length}\r\n\r\n`
      requireWhole(await connection.ask(head, body))
    }
  }
}

function requireWhole({ status, bodyBytes, told }: Answered, bytes?: number): void {
  if (status < 200 || status > 299) throw new Error(`the server answered ${status}: ${told}`)
  if (bytes !== undefined && bodyBytes !== bytes)
    throw new Error(`an answer of ${bodyBytes} bytes where ${bytes} are due`)
}
