/** What can be told of a UDP datagram in front of QUIC without its keys (RFC 8999, RFC 9000 section 17). */
import { randomFillSync, randomInt } from 'node:crypto'

const LONG_HEADER = 0x80
const FIXED_BIT = 0x40
const PACKET_TYPE = 0x30
const QUIC_V1 = 1
/** A client pads its first datagram to this (RFC 9000, 14.1): whoever makes us work sends as much. Bytes. */
const MIN_INITIAL_BYTES = 1200
const PUNCH_BYTES = 64
const DCID_AT = 6

export const isLongHeader = (datagram: Uint8Array): boolean => (datagram[0]! & LONG_HEADER) !== 0

/** Whether it may begin a connection: an Initial of QUIC version 1, full size. Only for flows that are not known yet. */
export function isFirstInitial(datagram: Uint8Array): boolean {
  return (
    datagram.length >= MIN_INITIAL_BYTES &&
    (datagram[0]! & (LONG_HEADER | FIXED_BIT | PACKET_TYPE)) === (LONG_HEADER | FIXED_BIT) &&
    versionOf(datagram) === QUIC_V1
  )
}

const versionOf = (datagram: Uint8Array): number =>
  ((datagram[1]! << 24) | (datagram[2]! << 16) | (datagram[3]! << 8) | datagram[4]!) >>> 0

/** Empty where the datagram ends before: whoever sends it chooses its length and its bytes. */
function textOf(datagram: Uint8Array, from: number, length: number): string {
  const within = Math.min(length, datagram.length - from)
  return within > 0 ? Buffer.from(datagram.buffer, datagram.byteOffset + from, within).toString('latin1') : ''
}

/** Connection id that the sender of a long header chose for itself; empty when there is none. */
export function sourceId(datagram: Uint8Array): string {
  const at = DCID_AT + (datagram[DCID_AT - 1] ?? 0)
  return at < datagram.length ? textOf(datagram, at + 1, datagram[at]!) : ''
}

/** Connection id of the receiver; `shortLength` is the length it uses, which short headers do not tell. */
export const destinationId = (datagram: Uint8Array, shortLength: number): string =>
  isLongHeader(datagram) ? textOf(datagram, DCID_AT, datagram[DCID_AT - 1] ?? 0) : textOf(datagram, 1, shortLength)

/** Random bytes that open a NAT and that nobody takes for QUIC: header form and fixed bit are clear. */
export function punchDatagram(): Buffer {
  const datagram = randomFillSync(Buffer.allocUnsafe(PUNCH_BYTES))
  datagram[0]! &= ~(LONG_HEADER | FIXED_BIT) & 0xff
  return datagram
}

const PUNCH_EVERY_MS = { min: 10, max: 200 }

/** Time to the next datagram of a punch, random as DCUtR asks. */
export const untilNextPunchMs = (): number => randomInt(PUNCH_EVERY_MS.min, PUNCH_EVERY_MS.max + 1)
