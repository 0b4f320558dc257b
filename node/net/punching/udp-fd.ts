/**
 * Datagrams of a connected UDP socket by read(2) and write(2), which Node offers as `fs.readSync` and `fs.writeSync` on
 * a file descriptor. `node:dgram` allocates 64 KiB and an address for each datagram it receives and an object for each
 * it sends; this costs half as much. It still tells when there is something to read.
 *
 * Linux only, by proc(5): elsewhere `fdOf` knows nothing and `node:dgram` does all. A descriptor is a number that the
 * system gives to the next file once its socket is closed: whoever closes the socket forgets it in the same breath.
 */
import type { Socket } from 'node:dgram'
import { readdirSync, readFileSync, readlinkSync, readSync, writeSync } from 'node:fs'
import { endianness } from 'node:os'

/** Columns of /proc/net/udp. */
const COLUMN = { local: 1, remote: 2, inode: 9 } as const

/** Descriptor of a connected socket; undefined where it cannot be told for sure. */
export function fdOf(socket: Socket): number | undefined {
  try {
    const [local, remote] = [socket.address(), socket.remoteAddress()]
    const table = readFileSync(local.family === 'IPv6' ? '/proc/self/net/udp6' : '/proc/self/net/udp', 'utf8')
    const ends = [local.port, remote.port].map(port => `:${port.toString(16).toUpperCase().padStart(4, '0')}`)
    const inodes = table
      .split('\n')
      .map(line => line.trim().split(/\s+/))
      .filter(row => row[COLUMN.local]?.endsWith(ends[0]!) && row[COLUMN.remote] === hexOf(remote.address) + ends[1])
      .map(row => row[COLUMN.inode])
    if (inodes.length !== 1) return undefined
    const wanted = `socket:[${inodes[0]}]`
    const fd = readdirSync('/proc/self/fd').find(entry => linkOf(entry) === wanted)
    return fd === undefined ? undefined : Number(fd)
  } catch {
    return undefined
  }
}

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    // Closed meanwhile: the folder lists itself.
    return ''
  }
}

/** As the kernel prints it: 32-bit words in the machine's order. */
function hexOf(address: string): string {
  const words = address.includes(':') ? wordsOf(address) : Buffer.from(address.split('.').map(Number))
  if (endianness() === 'LE') words.swap32()
  return words.toString('hex').toUpperCase()
}

function wordsOf(address: string): Buffer {
  const [head = '', tail] = address.split('%')[0]!.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = [...before, ...new Array<string>(8 - before.length - after.length).fill('0'), ...after]
  return Buffer.from(groups.map(group => group.padStart(4, '0')).join(''), 'hex')
}

const MAX_DATAGRAM_BYTES = 65_536
/** Read at once before others have their turn. */
const MAX_BURST = 64
const scratch = Buffer.allocUnsafeSlow(MAX_DATAGRAM_BYTES)

/**
 * Hands over what waits in a socket; the bytes are good until the callback returns.
 * @param take answers whether the socket is still open: false ends it
 */
export function drain(fd: number, take: (datagram: Buffer) => boolean): void {
  const { stackTraceLimit } = Error
  // The end is told by an error (EAGAIN); nobody looks at its stack.
  Error.stackTraceLimit = 0
  try {
    for (let i = 0; i < MAX_BURST; i++) {
      const length = readOne(fd)
      if (length < 0 || !take(scratch.subarray(0, length))) return
    }
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

function readOne(fd: number): number {
  try {
    return readSync(fd, scratch, 0, MAX_DATAGRAM_BYTES, null)
  } catch {
    // Nothing more waits, or the far end refused an earlier datagram: QUIC has its own time-outs.
    return -1
  }
}

/** What a connected socket says for ever once its own address, or the way from there, is gone. */
const STRANDED = new Set(['EINVAL', 'EADDRNOTAVAIL', 'ENETUNREACH', 'EHOSTUNREACH', 'ENETDOWN', 'ENODEV'])

/** Whether another socket is needed to get through; a full queue or a refusal of the far end passes. */
export function isStranded(error: unknown): boolean {
  return STRANDED.has((error as NodeJS.ErrnoException | null)?.code ?? '')
}

/**
 * @param onError told why it failed
 * @returns false when the kernel did not take it; UDP may lose
 */
export function write(fd: number, datagram: Uint8Array, onError?: (error: unknown) => void): boolean {
  try {
    writeSync(fd, datagram, 0, datagram.length, null)
    return true
  } catch (error) {
    onError?.(error)
    return false
  }
}
