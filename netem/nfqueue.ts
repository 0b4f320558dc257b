/**
 * Messages of NFQUEUE, the kernel's queue of packets that await a verdict (linux/netfilter/nfnetlink_queue.h).
 * Pure: bytes in, bytes out. Netlink headers are in the machine's byte order (little-endian on all we run on),
 * netfilter's own fields in network byte order.
 */

const NLMSG_ERROR = 2
const NLM_F_REQUEST = 1
const NLM_F_ACK = 4
const ENOENT = 2
const SUBSYSTEM_QUEUE = 3
const MESSAGE_PACKET = SUBSYSTEM_QUEUE * 256
const MESSAGE_VERDICT = MESSAGE_PACKET + 1
const MESSAGE_CONFIG = MESSAGE_PACKET + 2
/** nlmsghdr (16) and nfgenmsg (4). */
const HEADER_BYTES = 20
const ATTRIBUTE_HEADER_BYTES = 4
const ATTRIBUTE_TYPE_MASK = 0x3fff

const CONFIG_COMMAND = 1
const CONFIG_PARAMETERS = 2
const CONFIG_MAX_LENGTH = 3
const COMMAND_BIND = 1
const COPY_PACKET = 2

const PACKET_HEADER = 1
const PACKET_PAYLOAD = 10
/** Length of the whole packet where only its beginning was copied. */
const PACKET_LENGTH = 13

const VERDICT_HEADER = 2
const VERDICT_DROP = 0
const VERDICT_ACCEPT = 1
/** A verdict message: header, attribute header, verdict and packet id. */
export const VERDICT_BYTES = HEADER_BYTES + ATTRIBUTE_HEADER_BYTES + 8

/** Enough of each packet for its headers; the kernel tells the true length beside it. */
const COPIED_BYTES = 64
const COPIED_WHOLE_BYTES = 0xffff
/** The kernel's default of 1024 is less than a fast link holds. */
const MAX_HELD_IN_KERNEL = 100_000

/** The requests that take a queue, in order; each is answered (see `readReply`). */
export function bindRequests(queue: number): Buffer[] {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(MAX_HELD_IN_KERNEL, 0)
  return [
    configRequest(queue, CONFIG_COMMAND, Buffer.from([COMMAND_BIND, 0, 0, 0])),
    copyRequest(queue, false),
    configRequest(queue, CONFIG_MAX_LENGTH, length)
  ]
}

/** The request that says how much of each packet we are shown. */
export function copyRequest(queue: number, whole: boolean): Buffer {
  const parameters = Buffer.alloc(5)
  parameters.writeUInt32BE(whole ? COPIED_WHOLE_BYTES : COPIED_BYTES, 0)
  parameters[4] = COPY_PACKET
  return configRequest(queue, CONFIG_PARAMETERS, parameters)
}

function configRequest(queue: number, attribute: number, data: Buffer): Buffer {
  const padded = (data.length + 3) & ~3
  const message = Buffer.alloc(HEADER_BYTES + ATTRIBUTE_HEADER_BYTES + padded)
  message.writeUInt32LE(message.length, 0)
  message.writeUInt16LE(MESSAGE_CONFIG, 4)
  message.writeUInt16LE(NLM_F_REQUEST | NLM_F_ACK, 6)
  message.writeUInt16BE(queue, HEADER_BYTES - 2)
  message.writeUInt16LE(ATTRIBUTE_HEADER_BYTES + data.length, HEADER_BYTES)
  message.writeUInt16LE(attribute, HEADER_BYTES + 2)
  data.copy(message, HEADER_BYTES + ATTRIBUTE_HEADER_BYTES)
  return message
}

/** What the kernel answers to a message of ours. */
export type Reply =
  | 'done'
  /**
   * A verdict came for a packet that is not held any more: the kernel drops everything it holds for a namespace when a
   * base chain there is deleted, and what came by an interface when that goes down.
   */
  | 'gone'
  | { errno: number }

/** Reads the reply in `bytes` from `start` to `end`, or null when it is another message. */
export function readReply(bytes: DataView, start: number, end: number): Reply | null {
  if (end - start < HEADER_BYTES || bytes.getUint16(start + 4, true) !== NLMSG_ERROR) return null
  const errno = -bytes.getInt32(start + 16, true)
  if (errno === 0) return 'done'
  const isOfVerdict =
    end - start >= HEADER_BYTES + 6 && bytes.getUint16(start + HEADER_BYTES + 4, true) === MESSAGE_VERDICT
  return isOfVerdict && errno === ENOENT ? 'gone' : { errno }
}

/** A packet that awaits its verdict. */
export interface QueuedPacket {
  queue: number
  packetId: number
  /** Length of the IP packet. */
  sizeBytes: number
  /** Where its copied beginning stands in the bytes, and how long that is. */
  payloadAt: number
  payloadBytes: number
}

/** Reads the packet message in `bytes` from `start` to `end`, or null when it is none. */
export function readPacket(bytes: DataView, start: number, end: number): QueuedPacket | null {
  if (end - start < HEADER_BYTES || bytes.getUint16(start + 4, true) !== MESSAGE_PACKET) return null
  let packetId: number | null = null
  let payloadAt = end
  let payloadBytes = 0
  let lengthBytes = 0
  for (let at = start + HEADER_BYTES; at + ATTRIBUTE_HEADER_BYTES <= end; ) {
    const attributeBytes = bytes.getUint16(at, true)
    const type = bytes.getUint16(at + 2, true) & ATTRIBUTE_TYPE_MASK
    if (attributeBytes < ATTRIBUTE_HEADER_BYTES) break
    if (type === PACKET_HEADER) packetId = bytes.getUint32(at + ATTRIBUTE_HEADER_BYTES)
    else if (type === PACKET_LENGTH) lengthBytes = bytes.getUint32(at + ATTRIBUTE_HEADER_BYTES)
    else if (type === PACKET_PAYLOAD) {
      payloadAt = at + ATTRIBUTE_HEADER_BYTES
      // A packet longer than our buffer ends where the buffer does.
      payloadBytes = Math.min(attributeBytes - ATTRIBUTE_HEADER_BYTES, end - payloadAt)
    }
    at += (attributeBytes + 3) & ~3
  }
  if (packetId === null) return null
  const queue = bytes.getUint16(start + HEADER_BYTES - 2)
  return { queue, packetId, sizeBytes: lengthBytes || payloadBytes, payloadAt, payloadBytes }
}

/** Writes a verdict at `at`; many fit behind one another into one send. */
export function writeVerdict(bytes: DataView, at: number, queue: number, packetId: number, pass: boolean): void {
  bytes.setUint32(at, VERDICT_BYTES, true)
  bytes.setUint16(at + 4, MESSAGE_VERDICT, true)
  bytes.setUint16(at + 6, NLM_F_REQUEST, true)
  bytes.setUint32(at + 8, 0)
  bytes.setUint32(at + 12, 0)
  bytes.setUint16(at + 16, 0)
  bytes.setUint16(at + 18, queue)
  bytes.setUint16(at + HEADER_BYTES, VERDICT_BYTES - HEADER_BYTES, true)
  bytes.setUint16(at + HEADER_BYTES + 2, VERDICT_HEADER, true)
  bytes.setUint32(at + HEADER_BYTES + 4, pass ? VERDICT_ACCEPT : VERDICT_DROP)
  bytes.setUint32(at + HEADER_BYTES + 8, packetId)
}

/** A verdict that lets other bytes pass in a packet's place. */
export function replacingVerdict(queue: number, packetId: number, payload: Uint8Array): Buffer {
  const padded = (payload.length + 3) & ~3
  const message = Buffer.alloc(VERDICT_BYTES + ATTRIBUTE_HEADER_BYTES + padded)
  writeVerdict(new DataView(message.buffer, message.byteOffset, message.length), 0, queue, packetId, true)
  message.writeUInt32LE(message.length, 0)
  message.writeUInt16LE(ATTRIBUTE_HEADER_BYTES + payload.length, VERDICT_BYTES)
  message.writeUInt16LE(PACKET_PAYLOAD, VERDICT_BYTES + 2)
  message.set(payload, VERDICT_BYTES + ATTRIBUTE_HEADER_BYTES)
  return message
}
