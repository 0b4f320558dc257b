/** The store's quota: counted blob bytes plus what uploads under way have reserved never pass the capacity. */
import { StorageFullError } from '../errors.ts'

/** Room held for one upload. Ends by exactly one of `keep` and `release`; more calls do nothing. */
export interface Reservation {
  /** Make sure that this many bytes are reserved in all. @throws StorageFullError */
  growTo: (bytes: number) => void
  /** The blob is on disk: turn the reservation into used bytes. */
  keep: (bytes: number) => void
  /** The upload ended without a blob. */
  release: () => void
}

/** Counters of a store; bytes are blob bytes, without the seal's own. */
export interface Quota {
  readonly capacityBytes: number
  readonly usedBytes: number
  readonly reservedBytes: number
  /** @throws StorageFullError */
  reserve: (bytes: number) => Reservation
  /** Count bytes found on disk at start; may pass the capacity when that was lowered. */
  found: (bytes: number) => void
  /** A blob left the disk. */
  freed: (bytes: number) => void
}

/** A quota that counts from zero. Everything is synchronous, so two uploads cannot both take the last byte. */
export function createQuota(capacityBytes: number): Quota {
  let usedBytes = 0
  let reservedBytes = 0
  return {
    capacityBytes,
    get usedBytes() {
      return usedBytes
    },
    get reservedBytes() {
      return reservedBytes
    },
    found: bytes => {
      usedBytes += bytes
    },
    freed: bytes => {
      usedBytes -= bytes
    },
    reserve: bytes => {
      let mine = 0
      let open = true
      const growTo = (wanted: number): void => {
        const more = wanted - mine
        if (!open || more <= 0) return
        if (usedBytes + reservedBytes + more > capacityBytes) {
          throw new StorageFullError(
            `${usedBytes} of ${capacityBytes} bytes are used and ${reservedBytes} reserved, ${more} more are needed`
          )
        }
        mine += more
        reservedBytes += more
      }
      const close = (): boolean => {
        if (!open) return false
        open = false
        reservedBytes -= mine
        return true
      }
      growTo(bytes)
      return {
        growTo,
        keep: size => {
          if (close()) usedBytes += size
        },
        release: () => {
          close()
        }
      }
    }
  }
}
