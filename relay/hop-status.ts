/** The relay's answer to a CONNECT, as protobuf: `HopMessage { type: STATUS, limit, status }` of circuit relay v2. */

/** https://github.com/libp2p/specs/blob/master/relay/circuit-v2.md#protobuf */
const STATUS = {
  OK: 100,
  RESOURCE_LIMIT_EXCEEDED: 201,
  PERMISSION_DENIED: 202,
  CONNECTION_FAILED: 203,
  NO_RESERVATION: 204,
  MALFORMED_MESSAGE: 400
} as const
export type HopStatus = keyof typeof STATUS

const TYPE_STATUS = 2
/** Field numbers with their wire types: (field << 3) | type; 0 a varint, 2 bytes. */
const TAG = { type: 0x08, limit: 0x22, status: 0x28, duration: 0x08, data: 0x10 } as const

/** @param limit of the circuit: seconds, and bytes */
export function encodeStatus(status: HopStatus, limit?: { duration: number; data: bigint }): Uint8Array {
  const limits =
    limit === undefined ? [] : [TAG.duration, ...varint(BigInt(limit.duration)), TAG.data, ...varint(limit.data)]
  return Uint8Array.from([
    TAG.type,
    TYPE_STATUS,
    ...(limits.length === 0 ? [] : [TAG.limit, limits.length, ...limits]),
    TAG.status,
    ...varint(BigInt(STATUS[status]))
  ])
}

function varint(value: bigint): number[] {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80)
  return [...bytes, Number(rest)]
}
