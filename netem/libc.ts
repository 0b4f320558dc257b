/**
 * The few system calls that Node has no words for. The only file that uses koffi. Linux, 64 bit, little-endian.
 * Buffers that the kernel knows only by address are kept in fields: the collector would free them otherwise, and
 * the link would go dead without a word.
 */
import { closeSync, openSync } from 'node:fs'
import koffi from 'koffi'
import { bindRequests, copyRequest, readReply } from './nfqueue.ts'

const AF_NETLINK = 16
const SOCK_RAW = 3
const SOCK_CLOEXEC = 0o2000000
const NETLINK_NETFILTER = 12
const SOL_SOCKET = 1
const SO_RCVBUF = 8
const SO_RCVBUFFORCE = 33
const SOL_NETLINK = 270
const NETLINK_NO_ENOBUFS = 5
const CLONE_NEWNET = 0x40000000
const MSG_DONTWAIT = 0x40
const POLLIN = 1
const SOCKADDR_NL_BYTES = 12
/** Room for a burst of packet messages; only root outside a user namespace gets all of it. */
const RECEIVE_BUFFER_BYTES = 32 * 1024 * 1024
/** A packet message: its attributes and the copied packet, whole where links corrupt; longer ones are cut. */
const SLOT_BYTES = 2048
const SLOTS_PER_CALL = 64
const IOVEC_BYTES = 16
const MMSGHDR_BYTES = 64
const MMSGHDR_LENGTH_OFFSET = 56
const POLLFD_BYTES = 8
const NANOSECONDS_PER_MS = 1e6
const MS_PER_S = 1000

const libc = koffi.load(null)
const socket = libc.func('int socket(int, int, int)')
const bind = libc.func('int bind(int, const void *, int)')
const setsockopt = libc.func('int setsockopt(int, int, int, const void *, int)')
const setns = libc.func('int setns(int, int)')
const send = libc.func('long send(int, const void *, size_t, int)')
const recvmmsg = libc.func('int recvmmsg(int, void *, unsigned int, int, void *)')
const ppoll = libc.func('int ppoll(void *, unsigned long, const void *, const void *)')

/** Thrown when a system call failed. */
export class SystemCallError extends Error {
  override readonly name = 'SystemCallError'
  readonly code = 'SYSTEM_CALL_FAILED'

  constructor(call: string, errno: number) {
    const hint = errno === 1 ? ' (needs NET_ADMIN, and SYS_ADMIN to enter other namespaces)' : ''
    super(`${call} failed with errno ${errno}${hint}`)
  }
}

function check(call: string, result: number): number {
  if (result < 0) throw new SystemCallError(call, koffi.errno())
  return result
}

/** A netlink socket in one network namespace that serves any number of queues there. */
export class QueueSocket {
  readonly descriptor: number
  readonly #slots = Buffer.alloc(SLOTS_PER_CALL * SLOT_BYTES)
  readonly #vectors = Buffer.alloc(SLOTS_PER_CALL * IOVEC_BYTES)
  readonly #headers = Buffer.alloc(SLOTS_PER_CALL * MMSGHDR_BYTES)
  readonly #bytes = new DataView(this.#slots.buffer, this.#slots.byteOffset, this.#slots.length)
  #unanswered = 0

  /** @param namespace file of the network namespace, or null for this process's own */
  constructor(namespace: string | null) {
    this.descriptor = inNamespace(namespace, () =>
      check('socket', socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER))
    )
    const address = Buffer.alloc(SOCKADDR_NL_BYTES)
    address.writeUInt16LE(AF_NETLINK, 0)
    check('bind', bind(this.descriptor, address, SOCKADDR_NL_BYTES))
    const size = int(RECEIVE_BUFFER_BYTES)
    if (setsockopt(this.descriptor, SOL_SOCKET, SO_RCVBUFFORCE, size, size.length) < 0) {
      check('setsockopt SO_RCVBUF', setsockopt(this.descriptor, SOL_SOCKET, SO_RCVBUF, size, size.length))
    }
    const on = int(1)
    check('setsockopt NO_ENOBUFS', setsockopt(this.descriptor, SOL_NETLINK, NETLINK_NO_ENOBUFS, on, on.length))
    const slots = koffi.address(this.#slots)
    const vectors = koffi.address(this.#vectors)
    for (let n = 0; n < SLOTS_PER_CALL; n++) {
      this.#vectors.writeBigUInt64LE(BigInt(slots) + BigInt(n * SLOT_BYTES), n * IOVEC_BYTES)
      this.#vectors.writeBigUInt64LE(BigInt(SLOT_BYTES), n * IOVEC_BYTES + 8)
      this.#headers.writeBigUInt64LE(BigInt(vectors) + BigInt(n * IOVEC_BYTES), n * MMSGHDR_BYTES + 16)
      this.#headers.writeBigUInt64LE(1n, n * MMSGHDR_BYTES + 24)
    }
  }

  /** Take a queue; once `isSettled` its packets wait for our verdicts. */
  bindQueue(queue: number): void {
    for (const request of bindRequests(queue)) this.#request(request)
  }

  /** Be shown the packets of a queue whole, or only their beginnings. */
  showWhole(queue: number, whole: boolean): void {
    this.#request(copyRequest(queue, whole))
  }

  #request(request: Buffer): void {
    check('send', send(this.descriptor, request, request.length, 0))
    this.#unanswered++
  }

  /** Whether the kernel has answered everything that was asked of it. */
  get isSettled(): boolean {
    return this.#unanswered === 0
  }

  /** Reads what has come, without waiting: `each` gets the bytes and the bounds of one message. Answers how many. @throws SystemCallError when the kernel refused a request */
  read(each: (bytes: DataView, start: number, end: number) => void): number {
    const count = recvmmsg(this.descriptor, this.#headers, SLOTS_PER_CALL, MSG_DONTWAIT, null)
    for (let n = 0; n < count; n++) {
      const length = this.#headers.readUInt32LE(n * MMSGHDR_BYTES + MMSGHDR_LENGTH_OFFSET)
      const start = n * SLOT_BYTES
      const reply = readReply(this.#bytes, start, start + length)
      if (reply === null) each(this.#bytes, start, start + length)
      else if (reply === 'done') this.#unanswered--
      else if (reply !== 'gone') throw new SystemCallError('a request to NFQUEUE', reply.errno)
    }
    return Math.max(0, count)
  }

  write(bytes: Buffer, length: number): void {
    check('send', send(this.descriptor, bytes, length, 0))
  }
}

/** Waits until one of some descriptors can be read. */
export class Poller {
  readonly #entries: Buffer
  readonly #timeout = Buffer.alloc(16)
  readonly #count: number

  constructor(descriptors: number[]) {
    this.#count = descriptors.length
    this.#entries = Buffer.alloc(descriptors.length * POLLFD_BYTES)
    descriptors.forEach((descriptor, index) => {
      this.#entries.writeInt32LE(descriptor, index * POLLFD_BYTES)
      this.#entries.writeInt16LE(POLLIN, index * POLLFD_BYTES + 4)
    })
  }

  /** Resolution is the kernel's timer slack, 50 microseconds. */
  wait(timeoutMs: number): void {
    const seconds = Math.floor(timeoutMs / MS_PER_S)
    this.#timeout.writeBigInt64LE(BigInt(seconds), 0)
    this.#timeout.writeBigInt64LE(BigInt(Math.floor((timeoutMs - seconds * MS_PER_S) * NANOSECONDS_PER_MS)), 8)
    if (ppoll(this.#entries, this.#count, this.#timeout, null) < 0) this.#clear()
  }

  /** Whether the n-th descriptor has something, or its other end is gone. */
  isReady(n: number): boolean {
    return this.#entries.readInt16LE(n * POLLFD_BYTES + 6) !== 0
  }

  /** An interrupted call leaves the old answers behind. */
  #clear(): void {
    for (let n = 0; n < this.#count; n++) this.#entries.writeInt16LE(0, n * POLLFD_BYTES + 6)
  }
}

/** A socket belongs to the namespace its thread was in when it was made; the thread comes back at once. */
function inNamespace<T>(namespace: string | null, make: () => T): T {
  if (namespace === null) return make()
  const own = openSync('/proc/thread-self/ns/net', 'r')
  const other = openSync(namespace, 'r')
  try {
    check(`setns ${namespace}`, setns(other, CLONE_NEWNET))
    try {
      return make()
    } finally {
      check('setns back', setns(own, CLONE_NEWNET))
    }
  } finally {
    closeSync(own)
    closeSync(other)
  }
}

function int(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}
