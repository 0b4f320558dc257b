/** What both peers say, one JSON line an event, and how it is read. `go/main.go` writes the same. */

/** What a peer is told; `go/main.go` has each as a flag. */
export interface PeerTask {
  /** Base64 of the libp2p protobuf of its private key. */
  key: string
  listen: string[]
  /** Peers to be connected to before ready. */
  connect: string[]
  /** Relays to reserve on before ready. */
  reserve: string[]
  /** Whom to dial, until it answers. */
  dial?: string
  /** Transports a punch may use; `none` leaves relayed connections relayed. */
  punch: 'tcp' | 'quic' | 'any' | 'none'
  pings: number
  /** `connected` to `dial` by any path, `direct` to `dial` or to whoever came through a relay. */
  until: 'connected' | 'direct' | 'never'
  withinMs: number
  /** Stay after `until`, for the other side to see it too. */
  lingersMs: number
}

interface ConnectionFacts {
  peer: string
  address: string
  direct: boolean
  direction: string
}

export type PeerEvent = { atMs: number } & (
  | { event: 'ready'; ready: true; peerId: string; addresses: string[] }
  | ({ event: 'connected' | 'disconnected' | 'direct' } & ConnectionFacts)
  | { event: 'ping'; ok: boolean; rttMs?: number; error?: string }
  | { event: 'punch'; step: string; what: unknown }
  | { event: 'end'; reached: boolean; error?: string }
  | { event: 'reserved' | 'dial-failed' | 'failed'; error?: string }
)

/** Events of a peer's output; lines that are none are left out. */
export function parseEvents(stdout: string): PeerEvent[] {
  return stdout.split('\n').flatMap(line => {
    try {
      return line.startsWith('{') ? [JSON.parse(line) as PeerEvent] : []
    } catch {
      return []
    }
  })
}

/** The task as flags of the Go peer. */
export function goFlags(task: PeerTask): string[] {
  const repeated = (name: string, values: string[]) => values.flatMap(value => [`-${name}`, value])
  return [
    ...['-key', task.key, '-punch', task.punch, '-until', task.until, '-pings', String(task.pings)],
    ...['-within', `${task.withinMs}ms`, '-lingers', `${task.lingersMs}ms`],
    ...repeated('listen', task.listen),
    ...repeated('connect', task.connect),
    ...repeated('reserve', task.reserve),
    ...(task.dial === undefined ? [] : ['-dial', task.dial])
  ]
}
