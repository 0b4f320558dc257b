/** How long a router keeps what is silent, read in its conntrack table while somebody inside keeps flows going. */
import type { MappingTimeouts } from '../../netem/index.ts'

/** Remaining seconds of one router's entries, by what they are for; null: there was no such entry. */
export type SeenTimeouts = Record<keyof MappingTimeouts, number | null>

export interface HolderConfig {
  /** Where somebody reflects. */
  address: string
  port: number
  forMs: number
}

/**
 * Keep three flows to one port going: UDP that nobody answers, UDP that is answered, and TCP. Each sends four times a second,
 * so their entries are never far from what they started with.
 */
export function holdFlows({ address, port, forMs }: HolderConfig): void {
  const everyMs = 250
  const retryMs = 100
  const dgram = process.getBuiltinModule('node:dgram')
  const net = process.getBuiltinModule('node:net')
  const [mute, stream] = [dgram.createSocket('udp4'), dgram.createSocket('udp4')]
  for (const socket of [mute, stream]) socket.on('error', () => undefined)
  const connect = (): void => {
    const socket = net.connect({ host: address, port })
    const timer = setInterval(
      () => socket.write(`${JSON.stringify({ id: 0, send: 'nothing', by: 'self' })}\n`),
      everyMs
    )
    socket.on('data', () => undefined)
    socket.on('error', () => undefined)
    socket.on('close', () => {
      clearInterval(timer)
      setTimeout(connect, retryMs)
    })
  }
  connect()
  const send = (): void => {
    mute.send(JSON.stringify({ id: 0, mute: true }), port, address)
    stream.send(JSON.stringify({ id: 0 }), port, address)
  }
  send()
  setInterval(send, everyMs)
  setTimeout(() => process.exit(0), forMs)
}

/** The command that prints the entries of flows to a port. */
export function conntrackArgv(port: number): string[] {
  return ['grep', `dport=${port} `, '/proc/net/nf_conntrack']
}

/** The shortest-lived entry of each sort in lines of `/proc/net/nf_conntrack`, of flows to a port. Pure. */
export function seenTimeouts(text: string, port: number): SeenTimeouts {
  const seen: SeenTimeouts = { udpS: null, udpStreamS: null, tcpEstablishedS: null }
  for (const line of text.split('\n')) {
    // family, its number, protocol, its number, seconds left, then TCP's state, then the original direction.
    const match = line.match(
      /^\S+\s+\d+\s+(udp|tcp)\s+\d+\s+(\d+)\s+(?:([A-Z_]+)\s+)?src=\S+ dst=\S+ sport=\d+ dport=(\d+)/
    )
    if (match === null || Number(match[4]) !== port) continue
    const [, protocol, left, state] = match
    if (protocol === 'tcp' && state !== 'ESTABLISHED') continue
    const word = protocol === 'tcp' ? 'tcpEstablishedS' : line.includes('[UNREPLIED]') ? 'udpS' : 'udpStreamS'
    seen[word] = Math.min(Number(left), seen[word] ?? Number.POSITIVE_INFINITY)
  }
  return seen
}
