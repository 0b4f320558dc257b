/** NAT-PMP (RFC 6886): map a port, ask for the outer address. */
import { exchange } from './datagram-exchange.ts'
import { type MappingClient, MappingRefusedError, MappingSilentError } from './mapping.types.ts'
import { ROUTER_PORT } from './pcp.ts'

const OPCODES = { address: 0, udp: 1, tcp: 2 } as const
const RESPONSE = 128
const LENGTHS = { address: 12, mapping: 16 } as const
const SUCCESS = 0

export const natPmp: MappingClient = {
  protocol: 'nat-pmp',
  async map(router, { transport, innerHost, innerPort, outerPort, lifetimeS }, signal) {
    const ask = (message: Uint8Array, opcode: number, isWhole: (data: Buffer) => boolean) =>
      exchange({
        to: { host: router, port: ROUTER_PORT },
        from: innerHost,
        message,
        isAnswer: data =>
          data.byteLength >= 4 && data[0] === 0 && data[1] === RESPONSE + opcode && (isFailure(data) || isWhole(data)),
        signal
      })
    const request = Buffer.alloc(12)
    request.writeUInt8(OPCODES[transport], 1)
    request.writeUInt16BE(innerPort, 4)
    // RFC 6886 section 3.4: with lifetime 0 the outer port is 0 too.
    request.writeUInt16BE(lifetimeS === 0 ? 0 : outerPort, 6)
    request.writeUInt32BE(lifetimeS, 8)
    const mapped = await ask(
      request,
      OPCODES[transport],
      data => data.byteLength >= LENGTHS.mapping && data.readUInt16BE(8) === innerPort
    )
    if (mapped === null) throw new MappingSilentError('nat-pmp')
    refuse(mapped)
    const outer = await ask(Buffer.alloc(2), OPCODES.address, data => data.byteLength >= LENGTHS.address)
    if (outer === null) throw new MappingSilentError('nat-pmp')
    refuse(outer)
    return {
      outerHost: [...outer.subarray(8, LENGTHS.address)].join('.'),
      outerPort: mapped.readUInt16BE(10),
      lifetimeS: mapped.readUInt32BE(12)
    }
  }
}

const isFailure = (data: Buffer): boolean => data.readUInt16BE(2) !== SUCCESS

function refuse(answer: Buffer): void {
  if (isFailure(answer)) throw new MappingRefusedError('nat-pmp', `result ${answer.readUInt16BE(2)}`)
}
