/**
 * The arithmetic of a shaped link: which packet is lost, and when each of the others leaves. Pure, with time and
 * chance passed in. The meaning of every word is `tc netem`'s (`man tc-netem`, sch_netem.c).
 */
import { bufferPackets, burstChances } from './buffer.ts'
import { jitterQuantile } from './jitter.ts'
import type { Impairment } from './topology.ts'

/** Ethernet header: netem's rate counts whole frames, NFQUEUE tells the length of the IP packet. */
const ETHERNET_HEADER_BYTES = 14

/** Counters of one link since the shaper started. */
export interface LinkStats {
  /** Packets that arrived. */
  packets: number
  /** Lost by chance, as asked. */
  lost: number
  /** Lost because the link's buffer was full. */
  overflowed: number
  /** Let go with a bit flipped, or lost where that bit would have lost them. */
  corrupted: number
  /** Held at this moment. */
  held: number
}

/** One direction of one link. */
export class LinkShaper {
  readonly stats: LinkStats = { packets: 0, lost: 0, overflowed: 0, corrupted: 0, held: 0 }
  #impairment: Impairment = {}
  #bufferPackets = 0
  #burst: { fail: number; recover: number } | null = null
  /** Gilbert-Elliott's state: whether the link has failed. */
  #hasFailed = false
  #lastLeavesMs = 0

  constructor(impairment: Impairment) {
    this.set(impairment)
  }

  /** Takes effect with the next packet; what is held keeps its time. */
  set(impairment: Impairment): void {
    this.#impairment = impairment
    this.#bufferPackets = bufferPackets(impairment)
    this.#burst = burstChances(impairment)
    if (this.#burst === null) this.#hasFailed = false
  }

  /** Whether packets are needed whole. */
  get corrupts(): boolean {
    return (this.#impairment.corruptPct ?? 0) > 0
  }

  /** Whether a bit of the packet just admitted is to be flipped. */
  corruptsNow(random: () => number): boolean {
    const { corruptPct = 0 } = this.#impairment
    if (corruptPct === 0 || random() * 100 >= corruptPct) return false
    this.stats.corrupted++
    return true
  }

  /**
   * When a packet that arrives now leaves, or null when it is lost.
   * @param random a number from 0 to 1, 1 excluded, new at each call
   */
  admit(nowMs: number, sizeBytes: number, random: () => number): number | null {
    const { delayMs = 0, jitterMs = 0, distribution = 'uniform', rateKbit = 0, reorderPct = 0 } = this.#impairment
    this.stats.packets++
    if (this.#loses(random)) {
      this.stats.lost++
      return null
    }
    if (this.stats.held >= this.#bufferPackets) {
      this.stats.overflowed++
      return null
    }
    this.stats.held++
    if (reorderPct > 0 && random() * 100 < reorderPct) return nowMs
    const spreadMs = jitterMs > 0 ? jitterMs * jitterQuantile(distribution, random()) : 0
    const arrivesMs = nowMs + Math.max(0, delayMs + spreadMs)
    if (rateKbit === 0) return arrivesMs
    // kbit/s is bit/ms.
    const sendingMs = ((sizeBytes + ETHERNET_HEADER_BYTES) * 8) / rateKbit
    this.#lastLeavesMs = Math.max(arrivesMs, this.#lastLeavesMs) + sendingMs
    return this.#lastLeavesMs
  }

  #loses(random: () => number): boolean {
    const { lossPct = 0 } = this.#impairment
    if (this.#burst === null) return lossPct > 0 && random() * 100 < lossPct
    const { fail, recover } = this.#burst
    // The state that a packet meets decides its fate; it changes behind it.
    const isLost = this.#hasFailed
    if (random() < (isLost ? recover : fail)) this.#hasFailed = !isLost
    return isLost
  }

  /** A packet left. */
  release(): void {
    this.stats.held--
  }
}

/** A packet that waits in the kernel for our verdict. */
export interface Held {
  leavesMs: number
  /** Index of its link. */
  link: number
  /** The kernel's id of the packet, unique within its queue. */
  packetId: number
  /** Whether it may pass; a lost packet's verdict goes out with the next batch. */
  pass: boolean
  /** What passes instead of it; null: itself. */
  payload: Uint8Array | null
}

/** Packets by the time they leave; of the same time, by the order they came. A binary heap. */
export class PacketHeap {
  readonly #items: Array<Held & { order: number }> = []
  #order = 0

  get size(): number {
    return this.#items.length
  }

  /** When the next packet leaves, or null when none is held. */
  get nextMs(): number | null {
    return this.#items[0]?.leavesMs ?? null
  }

  push(leavesMs: number, link: number, packetId: number, pass: boolean, payload: Uint8Array | null = null): void {
    const items = this.#items
    const item = { leavesMs, link, packetId, pass, payload, order: this.#order++ }
    let at = items.length
    items.push(item)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(item, items[parent]!)) break
      items[at] = items[parent]!
      at = parent
    }
    items[at] = item
  }

  pop(): Held | undefined {
    const items = this.#items
    const first = items[0]
    const last = items.pop()
    if (first === undefined || last === undefined || items.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= items.length) break
      if (child + 1 < items.length && isBefore(items[child + 1]!, items[child]!)) child++
      if (!isBefore(items[child]!, last)) break
      items[at] = items[child]!
      at = child
    }
    items[at] = last
    return first
  }
}

function isBefore(a: { leavesMs: number; order: number }, b: { leavesMs: number; order: number }): boolean {
  return a.leavesMs < b.leavesMs || (a.leavesMs === b.leavesMs && a.order < b.order)
}

/**
 * A packet with one bit flipped, or null where the flip makes its receiver drop it unread: in the IPv4 header, whose
 * checksum the kernel has looked at before we see the packet. `bit` counts from the packet's first.
 */
export function corrupted(packet: Uint8Array, bit: number): Uint8Array | null {
  const ipv4HeaderBytes = (packet[0]! >> 4 === 4 ? packet[0]! & 0x0f : 0) * 4
  if (bit < ipv4HeaderBytes * 8) return null
  const copy = packet.slice()
  copy[bit >> 3]! ^= 1 << (bit & 7)
  return copy
}
