import type { Connection } from '@libp2p/interface'

/**
 * Ends a connection at once and for certain. Its multiplexer says goodbye first, which a connection that is half gone
 * refuses with an error; js-libp2p then leaves the rest of it open.
 */
export function endConnection(connection: Connection, why: Error): void {
  try {
    connection.abort(why)
  } catch {
    const { maConn } = connection as unknown as { maConn?: { abort: (why: Error) => void } }
    maConn?.abort(why)
  }
}
