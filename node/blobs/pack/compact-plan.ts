/** Which packs are worth moving out of. Pure. */
import type { PackLimits } from './pack-limits.ts'

/** A pack's share of live bytes. */
export interface PackFacts {
  pack: number
  /** Bytes of the file. */
  bytes: number
  /** Of them, records of blobs that are here. */
  liveBytes: number
  /** It is being written, or has what could not be read. */
  stays: boolean
}

/** A pack below this part of `packBytes` is short. */
const SHORT_PART = 1 / 8

/**
 * Packs to move out of, those first that nothing lives in (they need no room to go), then oldest first: those with enough dead in them, and short ones once there are many. Packs that
 * stay are never among them.
 */
export function planCompaction(packs: Iterable<PackFacts>, limits: PackLimits): number[] {
  const closed = [...packs].filter(({ stays }) => !stays)
  const short = closed.filter(({ bytes }) => bytes < limits.packBytes * SHORT_PART)
  const together = short.length >= limits.shortPacks ? short : []
  return closed
    .filter(facts => facts.bytes - facts.liveBytes >= facts.bytes * limits.deadShare || together.includes(facts))
    .sort((a, b) => Number(a.liveBytes > 0) - Number(b.liveBytes > 0) || a.pack - b.pack)
    .map(({ pack }) => pack)
}
