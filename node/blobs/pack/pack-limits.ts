/** Limits of the pack log, each with its unit. Tests and fault programs ask for smaller packs. */

export interface PackLimits {
  /** Largest sealed blob that goes into a pack, bytes, its tag included; larger ones have a folder of their own. */
  sealedBytesMax: number
  /** Bytes behind which a pack is closed and the next one begun. */
  packBytes: number
  /** Records behind which a pack is closed, deletions included. */
  packRecords: number
  /** Most bytes written before one sync. */
  batchBytes: number
  /** Bytes of the disk kept for deletions that meet a full one. */
  reserveBytes: number
  /** Memory of small uploads under way, bytes; those beyond it are staged on disk and get a folder of their own. */
  stagedBytes: number
  /** Share of a pack that must be dead before what lives in it is moved and the pack removed. */
  deadShare: number
  /** So many packs below an eighth of `packBytes` are moved together. */
  shortPacks: number
  /** Most bytes a second that a compaction reads; 0: no limit. */
  compactBytesPerSecond: number
  /** Most bytes that one compaction moves; the next goes on. */
  compactBytes: number
}

const KIB = 1024
const MIB = 1024 * KIB

export const PACK_LIMITS: Readonly<PackLimits> = {
  sealedBytesMax: 64 * KIB,
  packBytes: 64 * MIB,
  packRecords: 65_536,
  batchBytes: 4 * MIB,
  reserveBytes: MIB,
  stagedBytes: 32 * MIB,
  deadShare: 0.5,
  shortPacks: 8,
  compactBytesPerSecond: 32 * MIB,
  compactBytes: 256 * MIB
}
