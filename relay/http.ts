/** The relay's HTTP face: health, peers, readiness and metrics; read-only, small, on node:http alone. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** The first inherited socket, by systemd's convention. */
const LISTEN_FDS_START = 3
const MAX_CONNECTIONS = 256
const REQUEST_TIMEOUT_MS = 10_000

const JSON_TYPE = 'application/json; charset=utf-8'

/** What a route answers: JSON, or text of a type, as it is or as its bytes. */
export type Answer =
  | { status: number; json: unknown }
  | { status: number; text: string | Uint8Array; contentType: string }

export type Routes = Record<string, () => Answer | Promise<Answer>>

/**
 * The route, whose JSON is built once for all who ask within `ms`: for answers that are long and that anybody may ask for.
 * @param nowMs for tests
 */
export function shared(
  route: () => { status: number; json: unknown },
  ms: number,
  nowMs: () => number = () => performance.now()
): () => Answer {
  let last: { answer: Answer; untilMs: number } | undefined
  return () => {
    if (last !== undefined && nowMs() < last.untilMs) return last.answer
    const { status, json } = route()
    const answer = { status, text: Buffer.from(JSON.stringify(json)), contentType: JSON_TYPE }
    last = { answer, untilMs: nowMs() + ms }
    return answer
  }
}

/** Serves `GET` of `routes`, all else 404 or 405 in the seed's error shape. */
export function createHttpServer(routes: Routes): Server {
  const server = createServer(
    { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS },
    (req, res) => {
      answer(req, routes).then(
        given => write(req, res, given),
        (error: Error) => write(req, res, failure(500, 'INTERNAL_ERROR', error.message))
      )
    }
  )
  server.maxConnections = MAX_CONNECTIONS
  return server
}

async function answer(req: IncomingMessage, routes: Routes): Promise<Answer> {
  if (req.method !== 'GET' && req.method !== 'HEAD') return failure(405, 'METHOD_NOT_ALLOWED', 'Use GET.')
  const path = (req.url ?? '/').split('?', 1)[0] ?? '/'
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined
  return route === undefined ? { status: 404, json: { error: 'Not found' } } : await route()
}

function failure(status: number, error: string, message: string): Answer {
  return { status, json: { error, message, timestamp: Date.now() } }
}

function write(req: IncomingMessage, res: ServerResponse, given: Answer): void {
  const body = 'json' in given ? JSON.stringify(given.json) : given.text
  res.writeHead(given.status, {
    'content-type': 'json' in given ? JSON_TYPE : given.contentType,
    'content-length': Buffer.byteLength(body),
    'access-control-allow-origin': '*',
    'cache-control': 'no-store'
  })
  res.end(req.method === 'HEAD' ? undefined : body)
}

/** Listens on the inherited socket when systemd's convention gives one, else on the port. Resolves with its port. */
export async function listen(
  server: Server,
  port: number,
  env: Readonly<Record<string, string | undefined>>
): Promise<number> {
  const ours = env.LISTEN_PID === undefined || env.LISTEN_PID === '' || Number(env.LISTEN_PID) === process.pid
  if (ours && Number(env.LISTEN_FDS ?? 0) >= 1) server.listen({ fd: LISTEN_FDS_START })
  else server.listen(port, '0.0.0.0')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}
