/** What a link holds, and how it fails: figures that both means of shaping share. Pure. */
import type { Impairment } from './topology.ts'

/** Buffer of a link with a rate, beyond its delay: a quarter of a second, as many home routers have. */
const RATE_BUFFER_MS = 250
const MIN_BUFFER_PACKETS = 32
/** Buffer of a link without a rate: more than fits into any delay we allow. */
const UNRATED_BUFFER_PACKETS = 100_000
/** A full Ethernet frame without its checksum: what rates count. */
export const FULL_PACKET_BITS = 1514 * 8

/** How many packets a link holds at most; the next one is lost. The same figure for both means. */
export function bufferPackets({ delayMs = 0, jitterMs = 0, rateKbit = 0, limitPackets }: Impairment): number {
  if (limitPackets !== undefined) return limitPackets
  if (rateKbit === 0) return UNRATED_BUFFER_PACKETS
  const heldMs = delayMs + jitterMs + RATE_BUFFER_MS
  return Math.max(MIN_BUFFER_PACKETS, Math.ceil((rateKbit * heldMs) / FULL_PACKET_BITS))
}

/**
 * Gilbert-Elliott's two chances for a loss in bursts: that a good link fails with the next packet, and that a failed one,
 * which loses everything, recovers. Null where losses are independent.
 */
export function burstChances({ lossPct = 0, lossBurst }: Impairment): { fail: number; recover: number } | null {
  if (lossPct === 0 || lossPct >= 100 || lossBurst === undefined) return null
  const loss = lossPct / 100
  return { fail: Math.min(1, loss / (lossBurst * (1 - loss))), recover: 1 / lossBurst }
}
