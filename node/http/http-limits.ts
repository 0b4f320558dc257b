/**
 * Every limit of the HTTP server that an operator may set: its environment name, the seed's value as the default where
 * it names one, and the generous value testnets use. The READMEs' table is held to this one by a test.
 */
import type { LimitSpec } from '../net/limits.ts'

const GENEROUS_RATE = 1_000_000

export const HTTP_LIMITS = {
  rateGeneral: {
    env: 'HTTP_RATE_GENERAL',
    default: 200,
    generous: GENEROUS_RATE,
    what: 'requests a minute from one address, of routes without a limit of their own'
  },
  rateMonitoring: {
    env: 'HTTP_RATE_MONITORING',
    default: 1000,
    generous: GENEROUS_RATE,
    what: 'the same of /health, /info, /status, /ready, /metrics, /peers, /shards and the statistics'
  },
  rateStore: { env: 'HTTP_RATE_STORE', default: 60, generous: GENEROUS_RATE, what: 'the same of /store' },
  rateProofs: { env: 'HTTP_RATE_PROOFS', default: 100, generous: GENEROUS_RATE, what: 'the same of /proofs' },
  rateReplicate: { env: 'HTTP_RATE_REPLICATE', default: 120, generous: GENEROUS_RATE, what: 'the same of /replicate' },
  rateAdmin: {
    env: 'HTTP_RATE_ADMIN',
    default: 10,
    generous: GENEROUS_RATE,
    what: 'the same of /admin, /pin and /peers/connect'
  },
  rateRead: {
    env: 'HTTP_RATE_READ',
    default: 300,
    generous: GENEROUS_RATE,
    what: 'the same of /retrieve, /blob and /blobs'
  },
  rateVerify: {
    env: 'HTTP_RATE_VERIFY',
    default: 30,
    generous: GENEROUS_RATE,
    what: 'the same of /retrieve with verify=1, which reads and hashes the whole blob whatever range is asked'
  },
  rateAddresses: {
    env: 'HTTP_RATE_ADDRESSES',
    default: 10_000,
    generous: 10_000,
    what: 'addresses counted at once; of more, the one counted longest is forgotten'
  },
  maxConnections: {
    env: 'HTTP_MAX_CONNECTIONS',
    default: 1024,
    generous: 4096,
    what: 'open connections; more are closed at once'
  },
  maxUploads: { env: 'HTTP_MAX_UPLOADS', default: 64, generous: 256, what: 'uploads at once; more are answered 503' },
  maxUploadsPerAddress: {
    env: 'HTTP_MAX_UPLOADS_PER_ADDRESS',
    default: 16,
    generous: 256,
    what: 'uploads at once from one address (IPv6: its /64); more are answered 429'
  },
  maxDownloadsPerAddress: {
    env: 'HTTP_MAX_DOWNLOADS_PER_ADDRESS',
    default: 32,
    generous: 4096,
    what: 'blobs on their way to one address at once; more are answered 429'
  },
  maxVerifies: {
    env: 'HTTP_MAX_VERIFIES',
    default: 4,
    generous: 64,
    what: 'reads with verify=1 at once, half of them from one address; more are answered 503, or 429'
  },
  requestTimeoutMs: {
    env: 'HTTP_REQUEST_TIMEOUT_MS',
    default: 30_000,
    generous: 30_000,
    what: 'ms without a byte of a body, and for the headers; then 408'
  },
  stallTimeoutMs: {
    env: 'HTTP_STALL_TIMEOUT_MS',
    default: 30_000,
    generous: 60_000,
    what: 'ms a client may take nothing of a blob it asked for, besides the time for what waits; then it is cut'
  },
  bodyMsPerMib: {
    env: 'HTTP_BODY_MS_PER_MIB',
    default: 60_000,
    generous: 600_000,
    what: 'ms a client may take for every MiB of a body, besides the time without a byte; then 408'
  }
} as const satisfies Record<string, LimitSpec>

/** A value for every limit of HTTP. */
export type HttpLimits = { readonly [K in keyof typeof HTTP_LIMITS]: number }

/** The generous values as environment, for testnet plans. */
export function generousHttpEnvironment(): Record<string, string> {
  return Object.fromEntries(Object.values(HTTP_LIMITS).map(({ env, generous }) => [env, String(generous)]))
}
