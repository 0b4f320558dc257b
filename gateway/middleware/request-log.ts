/** One row of `request_logs`, one log line and one observation of the metrics for each request, after its answer (D9). */
import { isIP } from 'node:net'
import type { Context } from 'koa'
import type { Log, Metrics } from '../../node/index.ts'
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

/** First X-Forwarded-For entry, else X-Real-IP, when the sender may say so; else the socket's. */
export function clientIp(context: Context, trustProxy: RequestLogOptions['trustProxy']): string {
  const socket = context.socket.remoteAddress ?? ''
  const trusted = trustProxy === 'always' || (trustProxy === 'loopback' && isLoopback(socket))
  if (trusted) {
    const said = context.get('x-forwarded-for').split(',')[0]?.trim() || context.get('x-real-ip').trim()
    if (isIP(said) !== 0) return said
  }
  return socket
}

function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address)
}
