/**
 * Requests a minute from one address, by class of route. Windows of a minute begin with an address's first request;
 * how it stands is told in every answer, as draft-ietf-httpapi-ratelimit-headers has it (`RateLimit`,
 * `RateLimit-Policy`) and as its early versions had it, which is what most clients read.
 */
import type { Context, Next } from 'koa'
import { RateLimitedError } from '../errors.ts'
import { countedAddress } from './client-address.ts'
import type { HttpLimits } from './http-limits.ts'

/** Length of a window. */
export const RATE_WINDOW_S = 60

export type RateClass = 'general' | 'monitoring' | 'store' | 'proofs' | 'replicate' | 'admin' | 'read' | 'verify'

/** First match wins, so what is asked most comes first. The class is that of the path, so that a route added later has one. */
const CLASSES: ReadonlyArray<[RegExp, RateClass]> = [
  [/^\/(retrieve|blob|blobs)(\/|$)/, 'read'],
  [/^\/(health|info|node\/info|status|ready|metrics|peers|shards|network\/stats|replication-stats)$/, 'monitoring'],
  [/^\/store$/, 'store'],
  [/^\/proofs(\/|$)/, 'proofs'],
  [/^\/replicate$/, 'replicate'],
  [/^\/(admin|pin)(\/|$)|^\/peers\/connect$/, 'admin']
]

/** Whether a read is to work out the CID first, which costs the whole blob for one byte of it. */
export function wantsVerify(ctx: Context): boolean {
  return ctx.query.verify === '1'
}

/** The class a path is counted in. The router looks neither at case nor at a slash at the end, so this does not either. */
export function rateClassOf(path: string): RateClass {
  const plain = path.toLowerCase().replace(/\/$/, '')
  return CLASSES.find(([pattern]) => pattern.test(plain))?.[1] ?? 'general'
}

/** How an address stands after a request. */
export interface RateState {
  allowed: boolean
  limit: number
  remaining: number
  /** Seconds until the window ends. */
  resetS: number
}

export interface RateCounter {
  count: (address: string, rateClass: RateClass) => RateState
  /** Addresses known. */
  readonly size: number
}

const limitOf = (limits: HttpLimits, rateClass: RateClass): number =>
  ({
    general: limits.rateGeneral,
    monitoring: limits.rateMonitoring,
    store: limits.rateStore,
    proofs: limits.rateProofs,
    replicate: limits.rateReplicate,
    admin: limits.rateAdmin,
    read: limits.rateRead,
    verify: limits.rateVerify
  })[rateClass]

interface Window {
  endsAtMs: number
  counts: Partial<Record<RateClass, number>>
}

/** @param now milliseconds of a clock that never goes back */
export function createRateCounter(limits: HttpLimits, now: () => number = () => performance.now()): RateCounter {
  /** In the order of their beginnings, so the first is the one to forget. */
  const windows = new Map<string, Window>()

  function windowOf(address: string): Window {
    const known = windows.get(address)
    if (known !== undefined && known.endsAtMs > now()) return known
    windows.delete(address)
    if (windows.size >= limits.rateAddresses) windows.delete(windows.keys().next().value!)
    const window: Window = { endsAtMs: now() + RATE_WINDOW_S * 1000, counts: {} }
    windows.set(address, window)
    return window
  }

  return {
    count(address, rateClass) {
      const window = windowOf(address)
      const limit = limitOf(limits, rateClass)
      const count = (window.counts[rateClass] ?? 0) + 1
      window.counts[rateClass] = count
      const resetS = Math.max(1, Math.ceil((window.endsAtMs - now()) / 1000))
      return { allowed: count <= limit, limit, remaining: Math.max(0, limit - count), resetS }
    },
    get size() {
      return windows.size
    }
  }
}

/** Middleware: count, tell, refuse. @throws RateLimitedError */
export function limitRates(options: { limits: HttpLimits; trustedProxies: number }) {
  const counter = createRateCounter(options.limits)
  return async (ctx: Context, next: Next): Promise<void> => {
    const byPath = rateClassOf(ctx.path)
    const rateClass = byPath === 'read' && wantsVerify(ctx) ? 'verify' : byPath
    const state = counter.count(countedAddress(ctx.req, options.trustedProxies), rateClass)
    // Not by way of koa, which looks at each once more: this is five headers of every answer.
    const { res } = ctx
    res.setHeader('ratelimit-policy', `"${rateClass}";q=${state.limit};w=${RATE_WINDOW_S}`)
    res.setHeader('ratelimit', `"${rateClass}";r=${state.remaining};t=${state.resetS}`)
    res.setHeader('ratelimit-limit', String(state.limit))
    res.setHeader('ratelimit-remaining', String(state.remaining))
    res.setHeader('ratelimit-reset', String(state.resetS))
    if (!state.allowed) throw new RateLimitedError(rateClass, state.limit, RATE_WINDOW_S)
    await next()
  }
}
