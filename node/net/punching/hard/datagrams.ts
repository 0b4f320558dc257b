/**
 * The reflector's datagrams: "as whom do you see me?" and its answer. Pure.
 *
 * Every datagram has 40 bytes, so that an answer is never longer than what asked for it. The seen address is masked
 * with the transaction, because some NATs rewrite addresses that they find in payloads (RFC 5389 section 15.2).
 *
 *     0  magic (3), version (1)      4  type      5  flags or family      6  seen port, masked
 *     8  transaction (8)            16  token (16), or seen address masked (4 or 16)      32  zeros
 */

export const DATAGRAM_BYTES = 40
export const TRANSACTION_BYTES = 8
export const TOKEN_BYTES = 16

const MAGIC = Uint8Array.of(0x57, 0x52, 0x66, 1)
const ASK = 1
const ANSWER = 2
const FROM_OTHER_PORT = 1
const FROM_OTHER_ADDRESS = 2
const AT = { type: 4, flags: 5, port: 6, transaction: 8, body: 16 } as const
const IPV4_BYTES = 4
const IPV6_BYTES = 16

/** Where a datagram came from, as its receiver sees it. */
export interface Endpoint {
  /** An IP address in the form of node:net. */
  host: string
  port: number
}

export interface ReflectorAsk {
  transaction: Uint8Array
  token: Uint8Array
  /** Answer from the reflector's other port, or address, like CHANGE-REQUEST of RFC 5780. */
  from: 'here' | 'other-port' | 'other-address'
}

export interface ReflectorAnswer {
  transaction: Uint8Array
  seen: Endpoint
}

export function encodeAsk({ transaction, token, from }: ReflectorAsk): Uint8Array {
  const bytes = begin(ASK, transaction)
  bytes[AT.flags] = from === 'other-port' ? FROM_OTHER_PORT : from === 'other-address' ? FROM_OTHER_ADDRESS : 0
  bytes.set(token.subarray(0, TOKEN_BYTES), AT.body)
  return bytes
}

/** null: not a question. */
export function decodeAsk(bytes: Uint8Array): ReflectorAsk | null {
  if (!isOf(bytes, ASK)) return null
  const flags = bytes[AT.flags]!
  if (flags > FROM_OTHER_ADDRESS) return null
  return {
    transaction: transactionOf(bytes),
    token: bytes.slice(AT.body, AT.body + TOKEN_BYTES),
    from: flags === FROM_OTHER_PORT ? 'other-port' : flags === FROM_OTHER_ADDRESS ? 'other-address' : 'here'
  }
}

/** null: the address is none. */
export function encodeAnswer({ transaction, seen }: ReflectorAnswer): Uint8Array | null {
  const address = addressBytes(seen.host)
  if (address === null) return null
  const bytes = begin(ANSWER, transaction)
  bytes[AT.flags] = address.length
  bytes.set(masked(Uint8Array.of(seen.port >> 8, seen.port & 0xff), transaction), AT.port)
  bytes.set(masked(address, transaction), AT.body)
  return bytes
}

/** null: not an answer. */
export function decodeAnswer(bytes: Uint8Array): ReflectorAnswer | null {
  if (!isOf(bytes, ANSWER)) return null
  const length = bytes[AT.flags]!
  if (length !== IPV4_BYTES && length !== IPV6_BYTES) return null
  const transaction = transactionOf(bytes)
  const [high, low] = masked(bytes.subarray(AT.port, AT.port + 2), transaction) as unknown as [number, number]
  const address = masked(bytes.subarray(AT.body, AT.body + length), transaction)
  return { transaction, seen: { host: addressText(address), port: high * 256 + low } }
}

function begin(type: number, transaction: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(DATAGRAM_BYTES)
  bytes.set(MAGIC)
  bytes[AT.type] = type
  bytes.set(transaction.subarray(0, TRANSACTION_BYTES), AT.transaction)
  return bytes
}

function isOf(bytes: Uint8Array, type: number): boolean {
  return (
    bytes.byteLength === DATAGRAM_BYTES &&
    MAGIC.every((byte, index) => bytes[index] === byte) &&
    bytes[AT.type] === type
  )
}

function transactionOf(bytes: Uint8Array): Uint8Array {
  return bytes.slice(AT.transaction, AT.transaction + TRANSACTION_BYTES)
}

function masked(bytes: Uint8Array, mask: Uint8Array): Uint8Array {
  return bytes.map((byte, index) => byte ^ mask[index % TRANSACTION_BYTES]!)
}

function addressBytes(host: string): Uint8Array | null {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(host)?.[1] ?? host
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(mapped)) {
    const octets = mapped.split('.').map(Number)
    return octets.every(octet => octet <= 255) ? Uint8Array.from(octets) : null
  }
  return ipv6Bytes(host)
}

function ipv6Bytes(host: string): Uint8Array | null {
  const [text = ''] = host.split('%', 1)
  if (!/^[\da-f:]+$/i.test(text)) return null
  const halves = text.split('::')
  if (halves.length > 2) return null
  const groups = (half: string | undefined): string[] => (half ? half.split(':') : [])
  const [head, tail] = [groups(halves[0]), groups(halves[1])]
  const missing = IPV6_BYTES / 2 - head.length - tail.length
  if (halves.length === 1 ? missing !== 0 : missing < 1) return null
  const all = [...head, ...Array<string>(halves.length === 1 ? 0 : missing).fill('0'), ...tail]
  const values = all.map(group => (/^[\da-f]{1,4}$/i.test(group) ? Number.parseInt(group, 16) : Number.NaN))
  if (values.some(Number.isNaN)) return null
  return Uint8Array.from(values.flatMap(value => [value >> 8, value & 0xff]))
}

function addressText(bytes: Uint8Array): string {
  if (bytes.length === IPV4_BYTES) return bytes.join('.')
  const groups: string[] = []
  for (let at = 0; at < IPV6_BYTES; at += 2) groups.push((bytes[at]! * 256 + bytes[at + 1]!).toString(16))
  return groups.join(':')
}
