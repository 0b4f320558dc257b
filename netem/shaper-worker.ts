/**
 * The NFQUEUE shaper: a process of its own that holds packets and lets them go. libuv refuses netlink sockets, and
 * a packet must not wait for a garbage-laden event loop, so this process has a loop of its own and nothing else.
 *
 * Standard input: one JSON line `ShaperSetup`, then `ShaperChange` and `ShaperGrowth` lines; when it closes, the
 * parent is gone and the shaper ends. Standard output: a `ShaperReady` for the set-up and each growth, `ShaperBeat`s. It never lets packets
 * bypass it: when it dies, the kernel drops what it held and everything that comes after.
 */
import { readSync, writeSync } from 'node:fs'
import { setPriority } from 'node:os'
import { Poller, QueueSocket } from './libc.ts'
import { readPacket, replacingVerdict, VERDICT_BYTES, writeVerdict } from './nfqueue.ts'
import type { ShaperBeat, ShaperChange, ShaperGrowth, ShaperQueue, ShaperReady, ShaperSetup } from './shaper.types.ts'
import { corrupted, LinkShaper, PacketHeap } from './shaper-queue.ts'

const STDIN = 0
const STDOUT = 1
const BEAT_EVERY_MS = 500
const LONGEST_WAIT_MS = 250
/** A packet that leaves within this time leaves now: less than what a wake-up costs. */
const EARLY_MS = 0.03
/** It does little, but what it does is late when it has to wait for a core. */
const NICENESS = -15
const VERDICTS_PER_SEND = 512
const READ_BYTES = 64 * 1024
/** Longest line of the parent's: a set-up names every queue. */
const LINE_LIMIT_BYTES = 16 * 1024 * 1024

interface Bound {
  socket: Socket
  queue: number
  shaper: LinkShaper
  /** Whether we are shown its packets whole. */
  isWhole: boolean
}

/** A socket serves every queue of its namespace. */
interface Socket {
  queues: QueueSocket
  /** Queue number → index of the link. */
  links: Map<number, number>
}

/** Lines from standard input, or null when it is closed. Blocks when nothing is there. */
function lineReader(): () => string[] | null {
  let rest = Buffer.alloc(0)
  const chunk = Buffer.alloc(READ_BYTES)
  return () => {
    const length = readSync(STDIN, chunk, 0, chunk.length, null)
    if (length === 0) return null
    rest = Buffer.concat([rest, chunk.subarray(0, length)])
    if (rest.length > LINE_LIMIT_BYTES) throw new Error('a line of the parent is too long')
    const end = rest.lastIndexOf('\n')
    if (end < 0) return []
    const lines = rest.subarray(0, end).toString('utf8').split('\n')
    rest = Buffer.from(rest.subarray(end + 1))
    return lines
  }
}

function say(message: object): void {
  writeSync(STDOUT, `${JSON.stringify(message)}\n`)
}

/** Only root proper may; without it a busy machine's delays are longer than asked. */
function askForPriority(): void {
  try {
    setPriority(NICENESS)
  } catch {
    // Not allowed here: ordinary user, user namespace or container.
  }
}

function main(): void {
  askForPriority()
  const readLines = lineReader()
  let first = readLines()
  while (first !== null && first.length === 0) first = readLines()
  if (first === null) return
  const sockets = new Map<string, Socket>()
  const links: Bound[] = []
  const heap = new PacketHeap()
  const verdicts = Buffer.alloc(VERDICTS_PER_SEND * VERDICT_BYTES)
  const verdictBytes = new DataView(verdicts.buffer, verdicts.byteOffset, verdicts.length)
  let poller = new Poller([STDIN])
  let nextBeatMs = 0
  let served = -1
  add((JSON.parse(first[0]!) as ShaperSetup).queues)
  for (;;) {
    if (served !== links.length && [...sockets.values()].every(({ queues }) => queues.isSettled)) {
      served = links.length
      say({ ready: served } satisfies ShaperReady)
    }
    const nowMs = performance.now()
    if (nowMs >= nextBeatMs) {
      say({ beat: links.map(({ shaper }) => shaper.stats) } satisfies ShaperBeat)
      nextBeatMs = nowMs + BEAT_EVERY_MS
    }
    poller.wait(Math.min(LONGEST_WAIT_MS, Math.max(0, (heap.nextMs ?? Number.POSITIVE_INFINITY) - performance.now())))
    const all = [...sockets.values()]
    const ready = all.filter((_, index) => poller.isReady(index + 1))
    if (poller.isReady(0)) {
      const lines = readLines()
      if (lines === null) return
      for (const line of lines) obey(JSON.parse(line) as ShaperChange | ShaperGrowth)
    }
    for (const socket of ready) take(socket)
    letGo()
  }

  function obey(order: ShaperChange | ShaperGrowth): void {
    if ('add' in order) {
      add(order.add)
      return
    }
    const bound = links[order.link]
    if (bound === undefined) return
    bound.shaper.set(order.impairment)
    showWhole(bound)
  }

  function add(queues: ShaperQueue[]): void {
    for (const { namespace, queue, impairment } of queues) {
      const key = namespace ?? ''
      const socket = sockets.get(key) ?? { queues: new QueueSocket(namespace), links: new Map() }
      sockets.set(key, socket)
      socket.queues.bindQueue(queue)
      const bound = { socket, queue, shaper: new LinkShaper(impairment), isWhole: false }
      socket.links.set(queue, links.push(bound) - 1)
      showWhole(bound)
    }
    poller = new Poller([STDIN, ...[...sockets.values()].map(socket => socket.queues.descriptor)])
  }

  function showWhole(bound: Bound): void {
    if (bound.isWhole === bound.shaper.corrupts) return
    bound.isWhole = bound.shaper.corrupts
    bound.socket.queues.showWhole(bound.queue, bound.isWhole)
  }

  function take(socket: Socket): void {
    const nowMs = performance.now()
    socket.queues.read((bytes, start, end) => {
      const packet = readPacket(bytes, start, end)
      const link = packet === null ? undefined : socket.links.get(packet.queue)
      if (packet === null || link === undefined) return
      const { shaper } = links[link]!
      const leavesMs = shaper.admit(nowMs, packet.sizeBytes, Math.random)
      if (leavesMs === null) heap.push(0, link, packet.packetId, false)
      else if (!shaper.corruptsNow(Math.random)) heap.push(leavesMs, link, packet.packetId, true)
      else {
        const { payloadAt, payloadBytes, sizeBytes } = packet
        const shown = new Uint8Array(bytes.buffer, bytes.byteOffset + payloadAt, payloadBytes)
        // One of which we have not all would be dropped by its receiver for its checksum.
        const changed = payloadBytes < sizeBytes ? null : corrupted(shown, Math.floor(Math.random() * payloadBytes * 8))
        heap.push(leavesMs, link, packet.packetId, changed !== null, changed)
        if (changed === null) shaper.release()
      }
    })
  }

  /** Sends the verdicts that are due, as many as follow one another on one socket in one call. */
  function letGo(): void {
    const limitMs = performance.now() + EARLY_MS
    let socket: Socket | null = null
    let length = 0
    const send = (): void => {
      if (length > 0) socket?.queues.write(verdicts, length)
      length = 0
    }
    for (let next = heap.nextMs; next !== null && next <= limitMs; next = heap.nextMs) {
      const { link, packetId, pass, payload } = heap.pop()!
      const bound = links[link]!
      if (pass) bound.shaper.release()
      if (bound.socket !== socket || length === verdicts.length || payload !== null) send()
      socket = bound.socket
      if (payload !== null) {
        const verdict = replacingVerdict(bound.queue, packetId, payload)
        socket.queues.write(verdict, verdict.length)
        continue
      }
      writeVerdict(verdictBytes, length, bound.queue, packetId, pass)
      length += VERDICT_BYTES
    }
    send()
  }
}

main()
