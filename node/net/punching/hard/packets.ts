/**
 * Datagrams of a hard punch: one byte of kind and the 16 bytes of the attempt's token, which both ends have from the
 * relayed connection. The first byte is below 0x40, as no QUIC packet of a new flow is. Pure.
 */

export const PUNCH_BYTES = 17
export const PUNCH_TOKEN_BYTES = 16

/**
 * `open`: symmetric side to cone side, makes a mapping. `probe`: cone side to a port that may be such a mapping.
 * `choose`: the symmetric side took this pair of ports. `confirm`: the cone side follows.
 */
export const PUNCH_KINDS = { open: 1, probe: 2, choose: 3, confirm: 4 } as const
export type PunchKind = keyof typeof PUNCH_KINDS

const NAMES = Object.fromEntries(Object.entries(PUNCH_KINDS).map(([name, byte]) => [byte, name])) as Record<
  number,
  PunchKind
>

export function encodePunch(kind: PunchKind, token: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(PUNCH_BYTES)
  bytes[0] = PUNCH_KINDS[kind]
  bytes.set(token.subarray(0, PUNCH_TOKEN_BYTES), 1)
  return bytes
}

/** null: not a datagram of this attempt. */
export function decodePunch(bytes: Uint8Array, token: Uint8Array): PunchKind | null {
  if (bytes.byteLength !== PUNCH_BYTES) return null
  const kind = NAMES[bytes[0]!]
  if (kind === undefined) return null
  return Buffer.compare(bytes.subarray(1), token.subarray(0, PUNCH_TOKEN_BYTES)) === 0 ? kind : null
}
