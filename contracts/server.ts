import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Chain } from './chain.ts'
import { BodyTooLargeError, ListenError } from './errors.ts'
import type { ChainMetrics } from './metrics.ts'
import { createRpcHandler } from './rpc.ts'

/** A batch of MAX_BATCH_CALLS reads fits; one raw transaction is at most 128 KiB. */
export const MAX_BODY_BYTES = 512 * 1024
const MAX_CONNECTIONS = 1_024
const HEADERS_TIMEOUT_MS = 5_000
const REQUEST_TIMEOUT_MS = 15_000
const KEEP_ALIVE_TIMEOUT_MS = 60_000
/** How long requests that still run may take to end at shutdown. */
const DRAIN_TIMEOUT_MS = 2_000
const MILLISECONDS_PER_SECOND = 1_000

export interface HandlerOptions {
  /** The chain, or null while it starts: everything but /metrics then answers 503. */
  chain(): Chain | null
  metrics: ChainMetrics
  allowDevRpc: boolean
}

/** Serves GET /health, /ready, /metrics and POST / (JSON-RPC). Both of the role's ports use this handler. */
export function createHandler(options: HandlerOptions): (req: IncomingMessage, res: ServerResponse) => void {
  const startedAtMs = performance.now()
  const rpc = createRpcHandler({
    request: (method, params) => {
      const chain = options.chain()
      return chain === null
        ? Promise.reject(new Error('The chain is starting; try again'))
        : chain.request(method, params)
    },
    allowDevRpc: options.allowDevRpc,
    onCall: options.metrics.countCall
  })

  const health = async (res: ServerResponse) => {
    const chain = options.chain()
    const uptime = Math.round((performance.now() - startedAtMs) / MILLISECONDS_PER_SECOND)
    if (chain === null) return sendJson(res, 503, { status: 'starting', uptime })
    const { chainId, registry } = chain
    try {
      sendJson(res, 200, { status: 'healthy', chainId, block: await chain.blockNumber(), registry, uptime })
    } catch (error) {
      sendJson(res, 503, { status: 'unhealthy', chainId, registry, uptime, reason: (error as Error).message })
    }
  }

  const route = async (req: IncomingMessage, res: ServerResponse) => {
    const path = (req.url ?? '/').split('?', 1)[0]
    if (path === '/' && req.method === 'POST') {
      return sendJson(res, options.chain() === null ? 503 : 200, await rpc(await readBody(req)))
    }
    if (path !== '/' && req.method !== 'GET') return refuse(res, 405, 'METHOD_NOT_ALLOWED', 'Use GET here')
    if (path === '/health') return health(res)
    if (path === '/ready') {
      const waiting = options.chain() === null ? ['the chain starts'] : []
      return sendJson(
        res,
        waiting.length === 0 ? 200 : 503,
        waiting.length === 0 ? { ready: true } : { ready: false, waiting }
      )
    }
    if (path === '/metrics') {
      const body = await options.metrics.render()
      res.writeHead(200, { 'content-type': options.metrics.contentType }).end(body)
      return
    }
    if (path === '/') return refuse(res, 405, 'METHOD_NOT_ALLOWED', 'Send JSON-RPC by POST')
    refuse(res, 404, 'NOT_FOUND', 'There is /health, /ready, /metrics, and JSON-RPC by POST /')
  }

  return (req, res) => {
    route(req, res).catch((error: Error) => {
      if (res.headersSent || res.destroyed) return res.destroy()
      // The rest of a body that is too large is not read, so this connection cannot be used again.
      res.setHeader('connection', 'close')
      if (error instanceof BodyTooLargeError) return refuse(res, 413, error.code, error.message)
      refuse(res, 500, 'INTERNAL_ERROR', error.message)
    })
  }
}

/**
 * Listens on a port (of all interfaces with IPv4 unless a host is named), or on an inherited socket.
 * @throws ListenError
 */
export async function listen(
  handler: (req: IncomingMessage, res: ServerResponse) => void,
  where: { port: number; host?: string } | { fd: number }
): Promise<Server> {
  const server = createServer(
    { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS, keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS },
    handler
  )
  server.maxConnections = MAX_CONNECTIONS
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject).listen('fd' in where ? where : { host: '0.0.0.0', ...where }, resolve)
  await promise.catch((cause: Error) => {
    const hint = 'port' in where ? 'end what uses the port or set PORT and CHAIN_RPC_PORT' : 'check LISTEN_FDS'
    throw new ListenError(`The chain cannot listen (${cause.message}); ${hint}`, { cause })
  })
  server.off('error', reject)
  return server
}

/** Stops listening, lets running requests end for a moment, then cuts what is left. */
export async function close(server: Server): Promise<void> {
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  server.closeIdleConnections()
  const timer = setTimeout(() => server.closeAllConnections(), DRAIN_TIMEOUT_MS)
  await closed
  clearTimeout(timer)
}

/** `http://address:port` of a listening server. */
export function urlOf(server: Server): string {
  const { address, port } = server.address() as AddressInfo
  return `http://${address.includes(':') ? `[${address}]` : address}:${port}`
}

async function readBody(req: IncomingMessage): Promise<string> {
  if (Number(req.headers['content-length'] ?? 0) > MAX_BODY_BYTES) throw tooLarge()
  return text(capped(req))
}

async function* capped(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let sizeBytes = 0
  for await (const chunk of source) {
    sizeBytes += chunk.length
    if (sizeBytes > MAX_BODY_BYTES) throw tooLarge()
    yield chunk
  }
}

function tooLarge(): BodyTooLargeError {
  return new BodyTooLargeError(`A request may have ${MAX_BODY_BYTES} bytes; send a smaller batch`)
}

function refuse(res: ServerResponse, status: number, code: string, message: string): void {
  sendJson(res, status, { error: { code, message } })
}

function sendJson(res: ServerResponse, status: number, body: unknown): void {
  res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
