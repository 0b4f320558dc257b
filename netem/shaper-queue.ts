/**
 * The arithmetic of a shaped link: which packet is lost, and when each of the others leaves. Pure, with time and
 * chance passed in. The meaning of every word is `tc netem`'s (`man tc-netem`, sch_netem.c).
 */
import { bufferPackets } from './shape.ts'
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
  /** Held at this moment. */
  held: number
}

/** One direction of one link. */
export class LinkShaper {
  readonly stats: LinkStats = { packets: 0, lost: 0, overflowed: 0, held: 0 }
  #impairment: Impairment
  #bufferPackets: number
  #lastLeavesMs = 0

  constructor(impairment: Impairment) {
    this.#impairment = impairment
    this.#bufferPackets = bufferPackets(impairment)
  }

  /** Takes effect with the next packet; what is held keeps its time. */
  set(impairment: Impairment): void {
    this.#impairment = impairment
    this.#bufferPackets = bufferPackets(impairment)
  }

  /**
   * When a packet that arrives now leaves, or null when it is lost.
   * @param random a number from 0 to 1, 1 excluded, new at each call
   */
  admit(nowMs: number, sizeBytes: number, random: () => number): number | null {
    const { delayMs = 0, jitterMs = 0, lossPct = 0, rateKbit = 0 } = this.#impairment
    this.stats.packets++
    if (lossPct > 0 && random() * 100 < lossPct) {
      this.stats.lost++
      return null
    }
    if (this.stats.held >= this.#bufferPackets) {
      this.stats.overflowed++
      return null
    }
    this.stats.held++
    const arrivesMs = nowMs + Math.max(0, delayMs + (jitterMs > 0 ? (random() * 2 - 1) * jitterMs : 0))
    if (rateKbit === 0) return arrivesMs
    // kbit/s is bit/ms.
    const sendingMs = ((sizeBytes + ETHERNET_HEADER_BYTES) * 8) / rateKbit
    this.#lastLeavesMs = Math.max(arrivesMs, this.#lastLeavesMs) + sendingMs
    return this.#lastLeavesMs
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

  push(leavesMs: number, link: number, packetId: number, pass: boolean): void {
    const items = this.#items
    const item = { leavesMs, link, packetId, pass, order: this.#order++ }
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
