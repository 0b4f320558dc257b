/** One row of `request_logs`, one log line and one observation of the metrics for each request, after its answer (D9). */
import { isIP } from 'node:net'
import type { Context } from 'koa'
import { customerOf, type Log, type Metrics } from '../../node/index.ts'
import { REQUEST_LOG_PATH_MAX_CHARS } from '../constants.ts'
import type { GatewayMiddleware } from '../http.ts'
import type { RequestLog } from '../store/request-log.ts'

export interface RequestLogOptions {
  requests: RequestLog
  metrics: Metrics
  log: Log
  trustProxy: 'loopback' | 'always' | 'never'
}

const DURATION_BUCKETS_S = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30]

export function createRequestLogging({ requests, metrics, log, trustProxy }: RequestLogOptions): GatewayMiddleware {
  const durations = metrics.histogram(
    'warren_gateway_request_seconds',
    'Time from the request head to the end of the answer',
    ['method', 'route', 'status'],
    DURATION_BUCKETS_S
  )
  metrics.gauge('warren_gateway_request_rows_dropped', 'Rows of the request log that were not written', [], () => {
    return requests.dropped
  })
  return async (context, next) => {
    const startedMs = performance.now()
    const written = context.socket.bytesWritten
    const ip = clientIp(context, trustProxy)
    context.res.once('close', () => {
      const durationMs = performance.now() - startedMs
      const { method, path } = context
      const statusCode = context.res.statusCode
      const bytesOut = Math.max(0, context.socket.bytesWritten - written)
      const { route = 'none', identity, failure } = context.state
      // Methods and paths are the caller's; labels are only what the table of routes has.
      durations.observe(
        { method: route === 'none' ? 'none' : method, route, status: String(statusCode) },
        durationMs / 1000
      )
      requests.add({
        method: method.slice(0, 16),
        path: path.slice(0, REQUEST_LOG_PATH_MAX_CHARS),
        statusCode,
        bytesOut,
        durationMs: Math.round(durationMs),
        ip,
        apiKeyId: identity?.apiKeyId ?? null
      })
      log.debug({ method, path, status: statusCode, durationMs, bytesOut, ip, code: failure?.code }, 'request')
    })
    await next()
  }
}

/** Which addresses are believed what they say of others. */
function believes(context: Context, trustProxy: RequestLogOptions['trustProxy']): boolean {
  return trustProxy === 'always' || (trustProxy === 'loopback' && isLoopback(context.socket.remoteAddress ?? ''))
}

/**
 * What rates and limits count an address as: the last X-Forwarded-For entry, which the trusted proxy itself wrote (those
 * before it are the caller's to invent), else the socket's. Of IPv6 it is the /64; IPv4 that comes mapped is IPv4.
 */
export function countedAddress(context: Context, trustProxy: RequestLogOptions['trustProxy']): string {
  const said = believes(context, trustProxy) ? (context.get('x-forwarded-for').split(',').at(-1) as string).trim() : ''
  const address = isIP(said) === 0 ? (context.socket.remoteAddress ?? '') : said
  return customerOf(address)
}

/** First X-Forwarded-For entry, else X-Real-IP, when the sender may say so; else the socket's. */
function clientIp(context: Context, trustProxy: RequestLogOptions['trustProxy']): string {
  const socket = context.socket.remoteAddress ?? ''
  if (believes(context, trustProxy)) {
    const said = context.get('x-forwarded-for').split(',')[0]?.trim() || context.get('x-real-ip').trim()
    if (isIP(said) !== 0) return said
  }
  return socket
}

function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address)
}
