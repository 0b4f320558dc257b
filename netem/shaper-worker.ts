/**
 * The NFQUEUE shaper: a process of its own that holds packets and lets them go. libuv refuses netlink sockets, and
 * a packet must not wait for a garbage-laden event loop, so this process has a loop of its own and nothing else.
 *
 * Standard input: one JSON line `ShaperSetup`, then `ShaperChange` lines; when it closes, the parent is gone and
 * the shaper ends. Standard output: one `{"ready":true}`, then a `ShaperBeat` a second. It never lets packets
 * bypass it: when it dies, the kernel drops what it held and everything that comes after.
 */
import { readSync, writeSync } from 'node:fs'
import { setPriority } from 'node:os'
import { Poller, QueueSocket } from './libc.ts'
import { readPacket, VERDICT_BYTES, writeVerdict } from './nfqueue.ts'
import type { ShaperBeat, ShaperChange, ShaperSetup } from './shaper.types.ts'
import { LinkShaper, PacketHeap } from './shaper-queue.ts'

const STDIN = 0
const STDOUT = 1
const BEAT_EVERY_MS = 1000
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
  socket: QueueSocket
  queue: number
  shaper: LinkShaper
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

function bindAll(setup: ShaperSetup): { sockets: QueueSocket[]; links: Bound[] } {
  const sockets = new Map<string, QueueSocket>()
  const links = setup.queues.map(({ namespace, queue, impairment }) => {
    const key = namespace ?? ''
    const socket = sockets.get(key) ?? new QueueSocket(namespace)
    sockets.set(key, socket)
    socket.bindQueue(queue)
    return { socket, queue, shaper: new LinkShaper(impairment) }
  })
  return { sockets: [...sockets.values()], links }
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
  const { sockets, links } = bindAll(JSON.parse(first[0]!) as ShaperSetup)
  const indexes = sockets.map(
    socket => new Map(links.flatMap((link, index) => (link.socket === socket ? [[link.queue, index] as const] : [])))
  )
  const heap = new PacketHeap()
  const poller = new Poller([STDIN, ...sockets.map(({ descriptor }) => descriptor)])
  const verdicts = Buffer.alloc(VERDICTS_PER_SEND * VERDICT_BYTES)
  const verdictBytes = new DataView(verdicts.buffer, verdicts.byteOffset, verdicts.length)
  let nextBeatMs = 0
  say({ ready: true })
  for (;;) {
    const nowMs = performance.now()
    if (nowMs >= nextBeatMs) {
      say({ beat: links.map(({ shaper }) => shaper.stats) } satisfies ShaperBeat)
      nextBeatMs = nowMs + BEAT_EVERY_MS
    }
    poller.wait(Math.min(LONGEST_WAIT_MS, Math.max(0, (heap.nextMs ?? Number.POSITIVE_INFINITY) - performance.now())))
    if (poller.isReady(0)) {
      const lines = readLines()
      if (lines === null) return
      for (const line of lines) {
        const { link, impairment } = JSON.parse(line) as ShaperChange
        links[link]?.shaper.set(impairment)
      }
    }
    sockets.forEach((socket, index) => {
      if (poller.isReady(index + 1)) take(socket, indexes[index]!)
    })
    letGo()
  }

  function take(socket: QueueSocket, byQueue: Map<number, number>): void {
    const nowMs = performance.now()
    socket.read((bytes, start, end) => {
      const packet = readPacket(bytes, start, end)
      const link = packet === null ? undefined : byQueue.get(packet.queue)
      if (packet === null || link === undefined) return
      const leavesMs = links[link]!.shaper.admit(nowMs, packet.sizeBytes, Math.random)
      heap.push(leavesMs ?? 0, link, packet.packetId, leavesMs !== null)
    })
  }

  /** Sends the verdicts that are due, as many as follow one another on one socket in one call. */
  function letGo(): void {
    const limitMs = performance.now() + EARLY_MS
    let socket: QueueSocket | null = null
    let length = 0
    for (let next = heap.nextMs; next !== null && next <= limitMs; next = heap.nextMs) {
      const { link, packetId, pass } = heap.pop()!
      const bound = links[link]!
      if (pass) bound.shaper.release()
      if (socket !== null && (bound.socket !== socket || length === verdicts.length)) {
        socket.write(verdicts, length)
        length = 0
      }
      socket = bound.socket
      writeVerdict(verdictBytes, length, bound.queue, packetId, pass)
      length += VERDICT_BYTES
    }
    if (length > 0) socket?.write(verdicts, length)
  }
}

main()
