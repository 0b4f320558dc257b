/**
 * Ports that the own router opens for us: asked of the default gateway and nobody else, by PCP, NAT-PMP or UPnP,
 * whichever it speaks first; renewed at half of what it promises; given back at the end.
 *
 * What a router says of its outer address counts only when a peer sees us at that address: routers behind another NAT
 * name addresses that nobody reaches. Private ones are refused before anybody is asked.
 */
import { randomBytes } from 'node:crypto'
import { isPrivateIp } from '@libp2p/utils'
import type { Log } from '../../../log.ts'
import { pause } from '../../timings.ts'
import { defaultGateway, type Gateway } from './gateway.ts'
import { type MappingClient, type MappingProtocol, MappingSilentError } from './mapping.types.ts'
import { natPmp } from './nat-pmp.ts'
import { pcp } from './pcp.ts'
import { upnp } from './upnp.ts'

/** The newest protocol first, as RFC 6887 has it; UPnP's search goes to a group and takes longest. */
const CLIENTS: readonly MappingClient[] = [pcp, natPmp, upnp]
/** Asked of the router: short, so that what we leave behind after a crash is gone soon. */
const LIFETIME_S = 3600
/** Renewals, at half of the lease: not oftener and not seldomer than this. Some routers forget early. */
const RENEW_MIN_MS = 1000
const RENEW_MAX_MS = 10 * 60_000
/** A router that has nothing for us is asked again: it may have been busy, or its owner changes its mind. Doubles. */
const FIRST_RETRY_MS = 5000
const LONGEST_RETRY_MS = 10 * 60_000
/** For one round of all protocols and ports. */
const ROUND_TIMEOUT_MS = 20_000
/** For giving the mappings back at the end. */
const GOODBYE_MS = 1000
/** Ports that are mapped at once. */
const MAX_PORTS = 8
const NONCE_BYTES = 12

/** A port we listen on. */
export interface InnerPort {
  transport: 'tcp' | 'udp'
  port: number
}

export interface MappedPort extends InnerPort {
  /** Own address in the router's network. */
  innerHost: string
  outerHost: string
  outerPort: number
  protocol: MappingProtocol
  /** Whether a peer sees us at the outer address. Only then others are told. */
  confirmed: boolean
}

/** What a mapping is told to: libp2p's address manager. */
export interface MappingSink {
  add: (mapped: MappedPort, ttlMs: number) => void
  remove: (mapped: MappedPort) => void
}

export interface PortMapper {
  mapped: () => readonly MappedPort[]
  /** Why there is no usable mapping; null when there is one or nobody was asked yet. */
  problem: () => string | null
  /** The own addresses or the gateway changed, or what we listen on: ask again now. */
  renew: () => void
  /** Somebody told how it sees us: mappings may be confirmed by it. */
  check: () => void
  start: () => void
  stop: () => Promise<void>
}

interface Held extends MappedPort {
  nonce: Uint8Array
  client: MappingClient
  router: string
  /** Monotonic. */
  endsAtMs: number
}

/**
 * @param options.listening ports to be mapped, asked before each round
 * @param options.seenHosts own public addresses as peers see them now
 * @param options.onChange called after the mappings or their confirmation changed
 */
export function createPortMapper(options: {
  listening: () => readonly InnerPort[]
  seenHosts: () => readonly string[]
  sink: MappingSink
  onChange?: () => void
  gateway?: () => Gateway | null
  clients?: readonly MappingClient[]
  log: Log
}): PortMapper {
  const { listening, seenHosts, sink, onChange, gateway = defaultGateway, clients = CLIENTS, log } = options
  const stopping = new AbortController()
  let waking = new AbortController()
  let held: Held[] = []
  let problem: string | null = null
  let running: Promise<void> = Promise.resolve()

  async function run(): Promise<void> {
    let retryMs = FIRST_RETRY_MS
    while (!stopping.signal.aborted) {
      const limit = AbortSignal.any([stopping.signal, AbortSignal.timeout(ROUND_TIMEOUT_MS)])
      const woken = waking.signal
      const nextMs = await round(limit).catch((error: Error) => {
        problem = error.message
        return null
      })
      if (stopping.signal.aborted) return
      onChange?.()
      await pause(nextMs ?? retryMs, AbortSignal.any([stopping.signal, woken]))
      retryMs = nextMs !== null || woken.aborted ? FIRST_RETRY_MS : Math.min(2 * retryMs, LONGEST_RETRY_MS)
    }
  }

  /** Maps or renews every port. Resolves with the ms until the next round; null when nothing is mapped. */
  async function round(signal: AbortSignal): Promise<number | null> {
    const at = gateway()
    const wanted = at === null || isPrivateIp(at.own) !== true ? [] : listening().slice(0, MAX_PORTS)
    for (const old of held.filter(each => !wanted.some(port => isSame(each, port)) || each.innerHost !== at?.own))
      drop(old)
    if (at === null || wanted.length === 0) {
      problem = at === null ? 'there is no default gateway' : 'there is no private address to map to'
      return null
    }
    for (const port of wanted) await mapOne(at, port, signal)
    check()
    if (held.length === 0) return null
    const leastMs = Math.min(...held.map(({ endsAtMs }) => (endsAtMs - performance.now()) / 2))
    return Math.min(RENEW_MAX_MS, Math.max(RENEW_MIN_MS, leastMs))
  }

  async function mapOne(at: Gateway, port: InnerPort, signal: AbortSignal): Promise<void> {
    const before = held.find(each => isSame(each, port))
    const nonce = before?.nonce ?? new Uint8Array(randomBytes(NONCE_BYTES))
    // What answered once is asked first; a protocol that was silent for one port is for the next.
    const known = (before ?? held[0])?.client
    const inOrder = known === undefined ? clients : [known, ...clients.filter(client => client !== known)]
    for (const client of inOrder) {
      try {
        const { outerHost, outerPort, lifetimeS } = await client.map(
          at.router,
          {
            transport: port.transport,
            innerHost: at.own,
            innerPort: port.port,
            outerPort: before?.outerPort ?? port.port,
            lifetimeS: LIFETIME_S,
            nonce
          },
          signal
        )
        const endsAtMs = performance.now() + (lifetimeS || LIFETIME_S) * SECOND_MS
        const isUnchanged = before?.outerHost === outerHost && before.outerPort === outerPort
        if (before !== undefined && !isUnchanged) drop(before)
        if (isPrivateIp(outerHost) !== false) {
          problem = `the router says that its own outer address is ${outerHost}, which nobody outside can reach`
          log.info({ outerHost, by: client.protocol }, 'mapped port is behind another NAT')
          await client
            .map(at.router, goodbye({ ...port, innerHost: at.own, outerPort, nonce }), signal)
            .catch(() => undefined)
          return
        }
        const now: Held = {
          ...port,
          innerHost: at.own,
          outerHost,
          outerPort,
          protocol: client.protocol,
          confirmed: isUnchanged && before.confirmed,
          nonce,
          client,
          router: at.router,
          endsAtMs
        }
        held = [...held.filter(each => !isSame(each, port)), now]
        if (now.confirmed) sink.add(now, endsAtMs - performance.now())
        else log.debug({ port: port.port, outerHost, outerPort, by: client.protocol }, 'port mapped')
        return
      } catch (error) {
        signal.throwIfAborted()
        problem = (error as Error).message
        if (!(error instanceof MappingSilentError)) log.debug({ why: problem, by: client.protocol }, 'port not mapped')
      }
    }
    // A renewal that failed: what the router promised holds until its end.
    if (before !== undefined && before.endsAtMs - performance.now() < 2 * RENEW_MIN_MS) drop(before)
  }

  function check(): void {
    const seen = seenHosts()
    let changed = false
    for (const mapped of held) {
      const confirmed = seen.includes(mapped.outerHost)
      if (confirmed === mapped.confirmed || (!confirmed && seen.length === 0)) continue
      changed = true
      mapped.confirmed = confirmed
      if (confirmed) sink.add(mapped, mapped.endsAtMs - performance.now())
      else sink.remove(mapped)
      const { port, outerHost, outerPort, protocol } = mapped
      log.info({ port, outerHost, outerPort, by: protocol, confirmed }, 'mapped port')
    }
    if (held.length > 0) {
      const lie = held.find(({ confirmed }) => !confirmed)
      problem = lie === undefined ? null : `no peer sees us at ${lie.outerHost}, which the router says is its own`
    }
    if (changed) onChange?.()
  }

  function drop(old: Held): void {
    held = held.filter(each => each !== old)
    if (old.confirmed) sink.remove(old)
  }

  return {
    mapped: () => held,
    problem: () => problem,
    renew() {
      waking.abort()
      waking = new AbortController()
    },
    check,
    start() {
      running = run()
    },
    async stop() {
      stopping.abort()
      await running
      const signal = AbortSignal.timeout(GOODBYE_MS)
      await Promise.allSettled(held.map(each => each.client.map(each.router, goodbye(each), signal)))
      for (const each of held) drop(each)
    }
  }
}

const SECOND_MS = 1000

const isSame = (held: InnerPort, port: InnerPort): boolean =>
  held.transport === port.transport && held.port === port.port

/** A lifetime of 0 ends a mapping in all three protocols. */
function goodbye(mapped: InnerPort & { innerHost: string; outerPort: number; nonce: Uint8Array }) {
  const { transport, innerHost, port, outerPort, nonce } = mapped
  return { transport, innerHost, innerPort: port, outerPort, lifetimeS: 0, nonce }
}
