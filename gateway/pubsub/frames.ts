/** WebSocket frames of a server (RFC 6455 section 5.2): made once for a message and written to every socket as they are. */

export const OPCODE = { text: 1, binary: 2 } as const

const FIN = 0x80
const LENGTH_16 = 126
const LENGTH_64 = 127

/** One whole, unmasked frame. */
export function frameOf(opcode: number, payload: Uint8Array): Buffer {
  const { byteLength } = payload
  const headBytes = byteLength < LENGTH_16 ? 2 : byteLength <= 0xffff ? 4 : 10
  // Not from Node's pool: a frame may outlive its neighbours there by a minute.
  const frame = Buffer.allocUnsafeSlow(headBytes + byteLength)
  frame[0] = FIN | opcode
  if (headBytes === 2) {
    frame[1] = byteLength
  } else if (headBytes === 4) {
    frame[1] = LENGTH_16
    frame.writeUInt16BE(byteLength, 2)
  } else {
    frame[1] = LENGTH_64
    frame.writeBigUInt64BE(BigInt(byteLength), 2)
  }
  frame.set(payload, headBytes)
  return frame
}

/** A frame of JSON text. */
export function jsonFrame(value: unknown): Buffer {
  return frameOf(OPCODE.text, Buffer.from(JSON.stringify(value)))
}
