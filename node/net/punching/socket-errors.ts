/** What the errors of TCP sockets mean for a punch. */
import { randomInt } from 'node:crypto'
import type { PunchCause } from './errors.ts'

/** Between a refused SYN and the next: long enough that the far end may have sent its own. */
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

/** How long to wait before the same connect is worth another try, ms; undefined: never. */
export function retryMs(error: unknown): number | undefined {
  switch (codeOf(error)) {
    case 'ECONNREFUSED':
    case 'ECONNRESET':
    case 'EHOSTUNREACH':
      return RETRY_MS.least + randomInt(RETRY_MS.spread)
    case 'EADDRNOTAVAIL':
    case 'EADDRINUSE':
      return HELD_RETRY_MS
    default:
      return undefined
  }
}
