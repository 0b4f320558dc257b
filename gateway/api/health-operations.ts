/** Is it there, which one is it, can it work. */
import { z } from 'zod'
import { networkStatus } from './network-operations.ts'
import { isoTime, type Operation, uptime } from './operation.ts'

const TAG = 'Health'

const check = z.string().describe('ok, disabled, or what is wrong')
const health = z.object({
  status: z.literal('ok').describe('of the process that answers'),
  server: z.object({ status: z.literal('ok'), started_at: isoTime, uptime }),
  client: z
    .object({
      status: z.enum(['healthy', 'unhealthy']),
      checks: z.object({ connection: check, database: check, storage: check, pubsub: check }),
      last_updated: isoTime,
      response_time: z.string().describe('of the checks: 1.2ms'),
      reachability: z
        .unknown()
        .describe('how the gateway is reached from outside; null where it runs without a network')
    })
    .nullable()
})

export const healthOperations: Operation[] = [
  {
    at: ['GET /health', 'GET /v1/health'],
    tag: TAG,
    summary: 'How the gateway and its parts are',
    access: 'public',
    answers: { 200: { description: 'also where a part is not well', body: health } }
  },
  {
    at: ['GET /status', 'GET /v1/status'],
    tag: TAG,
    summary: 'Uptime and the network in short',
    access: 'public',
    answers: {
      200: {
        description: 'now',
        body: z.object({ server: z.object({ started_at: isoTime, uptime }), network: networkStatus })
      }
    }
  },
  {
    at: ['GET /v1/version'],
    tag: TAG,
    summary: 'Which build answers',
    access: 'public',
    answers: {
      200: {
        description: 'the build',
        body: z.object({
          version: z.string(),
          commit: z.string(),
          build_time: z.string(),
          started_at: isoTime,
          uptime
        })
      }
    }
  },
  {
    at: ['GET /ready'],
    tag: TAG,
    summary: 'Whether it can serve',
    access: 'public',
    answers: {
      200: { description: 'yes', body: z.object({ ready: z.literal(true) }) },
      503: { description: 'not now', body: z.object({ ready: z.literal(false), waiting: z.array(z.string()) }) }
    }
  },
  {
    at: ['GET /metrics'],
    tag: TAG,
    summary: 'Metrics for Prometheus',
    access: 'public',
    answers: { 200: { description: 'Prometheus text', body: 'text' } }
  }
]
