/** How a gateway is spoken to, wherever it is: over TCP, or over libp2p through whatever NATs are in between. */
import type { WebSocket } from 'ws'

export interface GatewayDoor {
  /** For messages and as the name that credentials are kept under; no slash at its end. */
  readonly url: string
  /** As the global one, for paths of the gateway (`/v1/…`). Rejects as it does, also when the signal aborts. */
  readonly fetch: (path: string, init?: RequestInit & { duplex?: 'half' }) => Promise<Response>
  /** A socket that is being opened; it tells of failures by `unexpected-response` and `error`. */
  readonly connect: (path: string, options: { protocols: string[]; headers: Record<string, string> }) => WebSocket
  readonly close: () => Promise<void>
}
