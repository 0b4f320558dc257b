/** Load on a key-value store over HTTP: the client of `load.ts`, with headers, many paths in turn, and an open loop. */
import { randomFillSync } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type Answered, type LoadConnection, openConnection } from './load.ts'

export interface KvLoadOrder {
  port: number
  /** Requests in all, and how many at once. */
  count: number
  atOnce: number
  request: KvRequest
  /** Of every request. */
  headers?: Record<string, string>
  /** Begin so many a second, evenly, whatever became of those before; without, each when the one before is answered. */
  perSecond?: number
}

export interface KvRequest {
  do: 'get' | 'put'
  /** One after the other. */
  paths: string[]
  /** Of every value. */
  bytes: number
  /** Of puts: JSON that holds the value in base64, in place of the value itself. */
  json?: [before: string, after: string]
}

export interface KvLoaded {
  ms: number
  /** From when each was due to its whole answer, ms, sorted; of a load with `perSecond` only. */
  latenciesMs: number[]
}

type Asker = (at: number) => Promise<void>

/** Does the whole order; connecting is not counted. Every answer has to be a 2xx, of a get with exactly the bytes. */
export async function kvLoad(order: KvLoadOrder): Promise<KvLoaded> {
  const { port, count, atOnce, request, headers = {}, perSecond } = order
  const connections = await Promise.all(Array.from({ length: atOnce }, () => openConnection(port)))
  const all = Object.entries({ host: `127.0.0.1:${port}`, ...headers })
  const lines = all.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  const askerOf = request.do === 'get' ? getter(request, lines) : putter(request, lines)
  const latenciesMs: number[] = []
  let next = 0
  const begun = performance.now()
  try {
    await Promise.all(
      connections.map(async connection => {
        const ask = askerOf(connection)
        for (let at = next++; at < count; at = next++) {
          if (perSecond === undefined) {
            await ask(at)
            continue
          }
          const dueMs = begun + (at * 1000) / perSecond
          const earlyMs = dueMs - performance.now()
          if (earlyMs > 0) await delay(earlyMs)
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

function getter({ paths, bytes }: KvRequest, lines: string): (connection: LoadConnection) => Asker {
  const heads = paths.map(path => `GET ${path} HTTP/1.1\r\n${lines}\r\n`)
  return connection => async at => {
    const answered = await connection.ask(heads[at % heads.length] as string)
    requireGood(answered)
    if (answered.bodyBytes !== bytes) throw new Error(`an answer of ${answered.bodyBytes} bytes where ${bytes} are due`)
  }
}

function putter({ paths, bytes, json }: KvRequest, lines: string): (connection: LoadConnection) => Asker {
  const type = `content-type: application/${json === undefined ? 'octet-stream' : 'json'}\r\n`
  return connection => {
    const value = Buffer.allocUnsafe(bytes)
    return async at => {
      randomFillSync(value)
      const body = json === undefined ? value : Buffer.from(json[0] + value.toString('base64') + json[1])
      const length = `content-length: ${body.length}\r\n`
      requireGood(
        await connection.ask(`POST ${paths[at % paths.length]} HTTP/1.1\r\n${lines}${type}${length}\r\n`, body)
      )
    }
  }
}

function requireGood({ status, told }: Answered): void {
  if (status < 200 || status > 299) throw new Error(`the server answered ${status}: ${told}`)
}
