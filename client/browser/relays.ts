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
/** The highest seclusion. */
const OWN_MACHINE = 2

/** A relay and its WebSocket addresses, with its peer id. */
export interface RelayPlace {
  peerId: string
  addresses: Multiaddr[]
  /** How far from the internet it is, as `seclusion` tells. Left out: as its least secluded address. */
  seclusion?: number
}

/** Addresses of relays, and how secluded the host is that told them. */
interface Found {
  texts: readonly string[]
  seclusion?: number
}

/**
 * Relays by their multiaddrs, or by the URL of one's HTTP port.
 * @throws RelayInvalidError naming the first that cannot be used
 * @throws RelayUnreachableError when the URL does not answer as a relay
 */
export async function findRelays(given: readonly string[] | URL, signal?: AbortSignal): Promise<RelayPlace[]> {
  signal?.throwIfAborted()
  const places = new Map<string, RelayPlace>()
  const found: Found = given instanceof URL ? await addressesAt(given, signal) : { texts: given }
  for (const text of found.texts) {
    const { peerId, address } = relayAddress(text)
    const own = found.seclusion === undefined ? {} : { seclusion: found.seclusion }
    const place = places.get(peerId) ?? { peerId, addresses: [], ...own }
    places.set(peerId, place)
    place.addresses.push(address)
  }
  if (places.size === 0) throw new RelayInvalidError('', 'is missing')
  return [...places.values()]
    .slice(0, MAX_RELAYS)
    .map(place => ({ ...place, addresses: place.addresses.slice(0, MAX_ADDRESSES) }))
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

/**
 * The WebSocket addresses that a relay tells at its HTTP port, and how secluded that is: where a name says nothing, as
 * the least secluded that it tells. Those that are more secluded lead elsewhere than to this relay, and are left out.
 */
async function addressesAt(url: URL, given?: AbortSignal): Promise<Required<Found>> {
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
  const host = plainHost(url.hostname)
  const isKnown = isAddress(host) || isLocalName(host)
  const own = isKnown ? seclusionOf(host) : Math.min(...usable.map(text => seclusion(multiaddr(text))))
  const texts = usable.filter(text => {
    const address = multiaddr(text)
    if (seclusion(address) > own) return false
    return own === OWN_MACHINE || !isPlainName(address) || hostOf(address) === host
  })
  if (texts.length === 0) throw new RelayInvalidError(url.href, 'tells no WebSocket address in the network of its URL')
  return { texts, seclusion: own }
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

/** The host of an address as a browser reads it: of several ways to write an IP address, the usual one. */
function hostOf(address: Multiaddr): string {
  const [host] = address.getComponents()
  const value = host?.value ?? ''
  const text = host?.code === CODE_IP6 ? `[${value}]` : value
  return plainHost(URL.parse(`http://${text}/`)?.hostname ?? value)
}

/** A URL's host without what surrounds an IPv6 address and what may end a name; an IPv4 address in IPv6 is that. */
function plainHost(hostname: string): string {
  const host = hostname.toLowerCase().replace(/^\[|\]$|\.$/g, '')
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(host)
  if (mapped === null) return host
  const [high, low] = [mapped[1], mapped[2]].map(text => Number.parseInt(text ?? '', 16)) as [number, number]
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

function isAddress(host: string): boolean {
  return host.includes(':') || /^\d+\.\d+\.\d+\.\d+$/.test(host)
}

function isLocalName(host: string): boolean {
  return host === LOCALHOST || host.endsWith(`.${LOCALHOST}`)
}

/** How far a host is from the internet: 0 is public, 1 a private network, 2 this machine. */
function seclusion(address: Multiaddr): number {
  return seclusionOf(hostOf(address))
}

/** Of a name nobody knows where it leads: it counts as public. */
function seclusionOf(host: string): number {
  if (isLocalName(host)) return OWN_MACHINE
  if (!isAddress(host)) return 0
  // The unspecified address leads to the own machine too.
  if (/^127\.|^0\.|^::1?$/.test(host)) return OWN_MACHINE
  return isPrivateIp(host) === true ? 1 : 0
}

/** Whether it is a name whose host need not prove that the name is its own, as it must with TLS. */
function isPlainName(address: Multiaddr): boolean {
  return !isAddress(hostOf(address)) && !WebSocketsSecure.exactMatch(address)
}

/**
 * Whether a page is not to dial an address that somebody told: others' words must not lead it into the network it is in,
 * so a host is dialled only where a relay is as secluded, and a name, which may lead anywhere, only over TLS. Circuits are dialled through our own relays alone.
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
  const most = Math.max(...relays.map(relay => relay.seclusion ?? Math.min(...relay.addresses.map(seclusion))))
  return address => {
    const parts = address.getComponents()
    const circuit = parts.findIndex(({ code }) => code === CODE_P2P_CIRCUIT)
    if (circuit >= 0) {
      const relay = parts.slice(0, circuit).findLast(({ code }) => code === CODE_P2P)?.value
      return relay === undefined || !known.has(relay)
    }
    if (!isWebSocket(address) || !HOSTS.has(parts[0]?.code ?? -1)) return true
    if (isSecurePage && !WebSocketsSecure.exactMatch(address) && seclusion(address) < OWN_MACHINE) {
      return true
    }
    if (configured.has(address.toString())) return false
    return isPlainName(address) || seclusion(address) > most
  }
}

/** Names that stand for further addresses are not looked up. */
const HOSTS: ReadonlySet<number> = new Set([CODE_IP4, CODE_IP6, CODE_DNS, CODE_DNS4, CODE_DNS6])
