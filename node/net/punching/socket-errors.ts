/** What the errors of TCP sockets mean for a punch. */
import type { PunchCause } from './errors.ts'

/**
 * SYNs of one punch that may be refused: the port may be one of a third party, whom the peer named. The two sides begin
 * within a round trip of each other, and this is more than a second of tries.
 */
export const MAX_REFUSED = 25
/** Between a refused SYN and the next: by chance, so that two sides do not go on missing each other. */
const RETRY_MS = { least: 20, spread: 60 } as const

/** The pair of ports is held by an older connection: no use to ask often. */
const HELD_RETRY_MS = 250

const codeOf = (error: unknown) => (error as { code?: unknown } | undefined)?.code

/** The port is bound by one that listens, or connected to the same address already. */
export function isPortConflict(error: unknown): boolean {
  return codeOf(error) === 'EADDRINUSE' || codeOf(error) === 'EADDRNOTAVAIL'
}

/** The cause a system's error stands for; whatever has no code came from a handshake. */
export function causeOf(error: unknown): PunchCause {
  switch (codeOf(error)) {
    case 'ECONNREFUSED':
    case 'ECONNRESET':
      return 'refused'
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EACCES':
    case 'EPERM':
      return 'unreachable'
    case 'EADDRINUSE':
    case 'EADDRNOTAVAIL':
      return 'port-in-use'
    case 'ETIMEDOUT':
      return 'timeout'
    default:
      return 'handshake-failed'
  }
}

/** A SYN was sent, and somebody on the way or at the far end said no. */
export function isRefusal(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'ECONNREFUSED' || code === 'ECONNRESET' || code === 'EHOSTUNREACH'
}

/** How long to wait before the same connect is worth another try, ms; undefined: never. */
export function retryMs(error: unknown): number | undefined {
  if (isRefusal(error)) return RETRY_MS.least + Math.random() * RETRY_MS.spread
  switch (codeOf(error)) {
    case 'EADDRNOTAVAIL':
    case 'EADDRINUSE':
      return HELD_RETRY_MS
    default:
      return undefined
  }
}
