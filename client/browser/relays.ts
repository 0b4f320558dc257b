/** Where relays are, from what a page was told, and which addresses a page may dial. */
import { isPrivateIp } from '@libp2p/utils'
import {
  CODE_DNS,
  CODE_DNS4,
  CODE_DNS6,
  CODE_IP4,
  CODE_IP6,
  CODE_P2P,
  CODE_P2P_CIRCUIT,
  type Multiaddr,
  multiaddr
} from '@multiformats/multiaddr'
import { WebSockets, WebSocketsSecure } from '@multiformats/multiaddr-matcher'
import { RelayInvalidError, RelayUnreachableError } from '../errors.ts'

/** Most relays, and addresses of one, that are used. */
const MAX_RELAYS = 16
const MAX_ADDRESSES = 16
const HTTP_TIMEOUT_MS = 10_000
/** Longest answer of a relay's HTTP port, bytes. */
const MAX_ANSWER_BYTES = 64 * 1024
const LOCALHOST = 'localhost'

/** A relay and its WebSocket addresses, with its peer id. */
export interface RelayPlace {
  peerId: string
  addresses: Multiaddr[]
}

/**
 * Relays by their multiaddrs, or by the URL of one's HTTP port.
 * @throws RelayInvalidError naming the first that cannot be used
 * @throws RelayUnreachableError when the URL does not answer as a relay
 */
export async function findRelays(given: readonly string[] | URL, signal?: AbortSignal): Promise<RelayPlace[]> {
  signal?.throwIfAborted()
  const places = new Map<string, RelayPlace>()
  const texts = given instanceof URL ? await addressesAt(given, signal) : given
  for (const text of texts) {
    const { peerId, address } = relayAddress(text)
    const place = places.get(peerId) ?? { peerId, addresses: [] }
    places.set(peerId, place)
    place.addresses.push(address)
  }
  if (places.size === 0) throw new RelayInvalidError('', 'is missing')
  return [...places.values()]
    .slice(0, MAX_RELAYS)
    .map(({ peerId, addresses }) => ({ peerId, addresses: addresses.slice(0, MAX_ADDRESSES) }))
}

function relayAddress(text: string): { peerId: string; address: Multiaddr } {
  let address: Multiaddr
  try {
    address = multiaddr(text)
  } catch (cause) {
    throw new RelayInvalidError(text, 'is not a multiaddr', { cause })
  }
  const last = address.getComponents().at(-1)
  if (last?.code !== CODE_P2P || last.value === undefined) throw new RelayInvalidError(text, 'ends in no peer id')
  if (!isWebSocket(address)) throw new RelayInvalidError(text, 'is no WebSocket address')
  return { peerId: last.value, address }
}

/** The WebSocket addresses that a relay tells at its HTTP port. */
async function addressesAt(url: URL, given?: AbortSignal): Promise<string[]> {
  const limit = AbortSignal.timeout(HTTP_TIMEOUT_MS)
  let answer: { multiaddrs?: unknown }
  try {
    const signal = given === undefined ? limit : AbortSignal.any([limit, given])
    const response = await fetch(new URL('/health', url), { signal })
    if (!response.ok) throw new Error(`it answers ${response.status}`)
    const text = await beginningOf(response)
    answer = JSON.parse(text) as typeof answer
  } catch (cause) {
    given?.throwIfAborted()
    throw new RelayUnreachableError(`${url.href}: ${(cause as Error).message}`, { cause })
  }
  const told = Array.isArray(answer?.multiaddrs) ? answer.multiaddrs : []
  const usable = told.filter((text): text is string => typeof text === 'string' && isUsable(text))
  if (usable.length === 0) throw new RelayInvalidError(url.href, 'tells no WebSocket address')
  return usable
}

async function beginningOf(response: Response): Promise<string> {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (let sizeBytes = 0; ; ) {
    const { done, value } = await reader.read()
    if (done) return text
    sizeBytes += value.byteLength
    if (sizeBytes > MAX_ANSWER_BYTES) {
      await reader.cancel()
      throw new Error(`its answer is over ${MAX_ANSWER_BYTES} bytes`)
    }
    text += decoder.decode(value, { stream: true })
  }
}

function isUsable(text: string): boolean {
  try {
    return relayAddress(text).peerId !== ''
  } catch {
    return false
  }
}

function isWebSocket(address: Multiaddr): boolean {
  return WebSockets.exactMatch(address) || WebSocketsSecure.exactMatch(address)
}

/** How far a host is from the internet: 0 is public, 1 a private network, 2 this machine. */
function seclusion(address: Multiaddr): number {
  const [host] = address.getComponents()
  const value = host?.value ?? ''
  if (host?.code === CODE_IP4 || host?.code === CODE_IP6) {
    if (/^127\.|^::1$/.test(value)) return 2
    return isPrivateIp(value) === true ? 1 : 0
  }
  return value === LOCALHOST || value.endsWith(`.${LOCALHOST}`) ? 2 : 0
}

/**
 * Whether a page is not to dial an address that somebody told: others' words must not lead it into the network it is in,
 * so a host is dialled only where a relay is as secluded. Circuits are dialled through our own relays alone.
 * @param options.isSecurePage of https: browsers refuse plain WebSockets there, but to the own machine
 */
export function dialRule(options: {
  relays: readonly RelayPlace[]
  isSecurePage: boolean
}): (address: Multiaddr) => boolean {
  const { relays, isSecurePage } = options
  const known = new Set(relays.map(({ peerId }) => peerId))
  const addresses = relays.flatMap(relay => relay.addresses)
  const configured = new Set(addresses.map(String))
  const most = Math.max(...addresses.map(seclusion))
  return address => {
    const parts = address.getComponents()
    const circuit = parts.findIndex(({ code }) => code === CODE_P2P_CIRCUIT)
    if (circuit >= 0) {
      const relay = parts.slice(0, circuit).findLast(({ code }) => code === CODE_P2P)?.value
      return relay === undefined || !known.has(relay)
    }
    if (!isWebSocket(address) || !HOSTS.has(parts[0]?.code ?? -1)) return true
    if (isSecurePage && !WebSocketsSecure.exactMatch(address) && seclusion(address) < 2) return true
    return !configured.has(address.toString()) && seclusion(address) > most
  }
}

/** Names that stand for further addresses are not looked up. */
const HOSTS: ReadonlySet<number> = new Set([CODE_IP4, CODE_IP6, CODE_DNS, CODE_DNS4, CODE_DNS6])
