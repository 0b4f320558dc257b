/** PCP (RFC 6887): MAP requests, IPv4. */
import { exchange } from './datagram-exchange.ts'
import { type MappingClient, MappingRefusedError, MappingSilentError } from './mapping.types.ts'

/** UDP port of routers for PCP and NAT-PMP. */
export const ROUTER_PORT = 5351
const VERSION = 2
const MAP = 1
const RESPONSE = 0x80
const PROTOCOL_NUMBERS = { tcp: 6, udp: 17 } as const
/** Header 24 bytes, MAP 36. */
const MAP_BYTES = 60
const OFFSETS = { result: 3, lifetime: 4, nonce: 24, outerPort: 42, outerHost: 44 } as const
const NONCE_BYTES = 12
const V4_MAPPED = Buffer.from('00000000000000000000ffff', 'hex')
const SUCCESS = 0

export const pcp: MappingClient = {
  protocol: 'pcp',
  async map(router, { transport, innerHost, innerPort, outerPort, lifetimeS, nonce }, signal) {
    const header = Buffer.alloc(8)
    header.writeUInt8(VERSION, 0)
    header.writeUInt8(MAP, 1)
    header.writeUInt32BE(lifetimeS, 4)
    const what = Buffer.alloc(8)
    what.writeUInt8(PROTOCOL_NUMBERS[transport], 0)
    what.writeUInt16BE(innerPort, 4)
    what.writeUInt16BE(outerPort, 6)
    const inner = Buffer.concat([V4_MAPPED, Buffer.from(innerHost.split('.').map(Number))])
    const anyOuter = Buffer.concat([V4_MAPPED, Buffer.alloc(4)])
    const answer = await exchange({
      to: { host: router, port: ROUTER_PORT },
      from: innerHost,
      message: Buffer.concat([header, inner, nonce, what, anyOuter]),
      isAnswer: data => isPcpAnswer(data, nonce) || isOlderProtocol(data),
      signal
    })
    if (answer === null || isOlderProtocol(answer)) throw new MappingSilentError('pcp')
    const result = answer.readUInt8(OFFSETS.result)
    if (result !== SUCCESS) throw new MappingRefusedError('pcp', `result ${result}`)
    return {
      outerHost: [...answer.subarray(OFFSETS.outerHost + V4_MAPPED.byteLength, MAP_BYTES)].join('.'),
      outerPort: answer.readUInt16BE(OFFSETS.outerPort),
      lifetimeS: answer.readUInt32BE(OFFSETS.lifetime)
    }
  }
}

function isPcpAnswer(data: Buffer, nonce: Uint8Array): boolean {
  return (
    data.byteLength >= MAP_BYTES &&
    data[0] === VERSION &&
    data[1] === (MAP | RESPONSE) &&
    Buffer.compare(data.subarray(OFFSETS.nonce, OFFSETS.nonce + NONCE_BYTES), nonce) === 0
  )
}

/** RFC 6887 appendix A: a router that speaks NAT-PMP only answers in its own version, 0. */
function isOlderProtocol(data: Buffer): boolean {
  return data.byteLength >= 4 && data[0] === 0
}
