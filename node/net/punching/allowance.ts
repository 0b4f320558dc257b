/** How often and how many at once: token buckets for what peers ask, slots for what is under way. No I/O. */
import { CODE_IP6, type Multiaddr } from '@multiformats/multiaddr'
import { DcutrBusyError, DcutrRateLimitedError } from './dcutr-errors.ts'

/** Peers whose use is remembered; whoever is forgotten has a full bucket, and the bucket of all still holds. */
const MAX_PEERS = 1024
/** Hosts whose use is remembered: with the default limits more than all peers together can name in a minute. */
const MAX_HOSTS = 4096
const MINUTE_MS = 60_000

interface Bucket {
  tokens: number
  atMs: number
}

/** Full buckets by name, filled again within a minute; beyond `max` the one that was longest unused is forgotten. */
function createBuckets(perMinute: number, max: number, nowMs: () => number): { of: (name: string) => Bucket } {
  const buckets = new Map<string, Bucket>()
  return {
    of(name) {
      const now = nowMs()
      const bucket = buckets.get(name) ?? { tokens: perMinute, atMs: now }
      buckets.delete(name)
      buckets.set(name, bucket)
      for (const oldest of buckets.keys()) {
        if (buckets.size <= max) break
        buckets.delete(oldest)
      }
      bucket.tokens = Math.min(perMinute, bucket.tokens + ((now - bucket.atMs) / MINUTE_MS) * perMinute)
      bucket.atMs = now
      return bucket
    }
  }
}

const steadyMs = () => performance.now()

export interface Allowance {
  /** @throws DcutrRateLimitedError */
  take: (peerId: string) => void
}

/** So many a minute for each peer and for all together, spread: an empty bucket is full again after a minute. */
export function createAllowance(init: {
  perPeerPerMinute: number
  perMinute: number
  nowMs?: () => number
}): Allowance {
  const nowMs = init.nowMs ?? steadyMs
  const peers = createBuckets(init.perPeerPerMinute, MAX_PEERS, nowMs)
  const everybody = createBuckets(init.perMinute, 1, nowMs)
  return {
    take(peerId) {
      const [own, all] = [peers.of(peerId), everybody.of('all')]
      // A peer over its own limit costs the others nothing.
      if (own.tokens < 1) throw new DcutrRateLimitedError(peerId, 'peer')
      if (all.tokens < 1) throw new DcutrRateLimitedError(peerId, 'all')
      own.tokens--
      all.tokens--
    }
  }
}

export interface HostAllowance {
  /** Which of these addresses one attempt may punch at: it costs each host once, however many addresses it has. */
  take: <T extends { address: Multiaddr }>(targets: readonly T[]) => T[]
}

/** So many attempts a minute for each host that is punched at, whoever named it. */
export function createHostAllowance(init: { perHostPerMinute: number; nowMs?: () => number }): HostAllowance {
  const hosts = createBuckets(init.perHostPerMinute, MAX_HOSTS, init.nowMs ?? steadyMs)
  return {
    take(targets) {
      const isAllowed = new Map<string, boolean>()
      return targets.filter(({ address }) => {
        const host = hostOf(address)
        let allowed = isAllowed.get(host)
        if (allowed === undefined) {
          const bucket = hosts.of(host)
          allowed = bucket.tokens >= 1
          if (allowed) bucket.tokens--
          isAllowed.set(host, allowed)
        }
        return allowed
      })
    }
  }
}

/** What is one host: an IPv4 address, an IPv6 /64. Of an address that begins with either, as all candidates do. */
export function hostOf(address: Multiaddr): string {
  const isIp6 = address.getComponents()[0]?.code === CODE_IP6
  // One byte of protocol code, then the IP address.
  return Buffer.from(address.bytes.subarray(0, isIp6 ? 1 + 8 : 1 + 4)).toString('hex')
}

export interface Slots {
  /** Slots in use. */
  used: () => number
  /**
   * A slot at once. Gives the function that frees it.
   * @throws DcutrBusyError
   */
  take: () => () => void
  /**
   * A slot, waited for in turn.
   * @throws DcutrBusyError when too many wait already, or the signal's reason
   */
  wait: (signal: AbortSignal) => Promise<() => void>
}

/** How many may wait for each slot there is. */
const WAITING_PER_SLOT = 8

export function createSlots(max: number): Slots {
  let used = 0
  const waiting = new Set<() => void>()
  const free = () => {
    let isFreed = false
    return () => {
      if (isFreed) return
      isFreed = true
      used--
      const [next] = waiting
      next?.()
    }
  }
  return {
    used: () => used,
    take() {
      if (used >= max) throw new DcutrBusyError()
      used++
      return free()
    },
    async wait(signal) {
      signal.throwIfAborted()
      if (used < max) {
        used++
        return free()
      }
      if (waiting.size >= max * WAITING_PER_SLOT) throw new DcutrBusyError()
      await new Promise<void>((resolve, reject) => {
        const onAbort = () => {
          waiting.delete(onFree)
          reject(signal.reason)
        }
        const onFree = () => {
          waiting.delete(onFree)
          signal.removeEventListener('abort', onAbort)
          used++
          resolve()
        }
        waiting.add(onFree)
        signal.addEventListener('abort', onAbort, { once: true })
      })
      return free()
    }
  }
}
