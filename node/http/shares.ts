/** Places for work that holds memory, files or the processor: so many at once in all, and so many for one address. */
import { BusyError, ShareExceededError } from '../errors.ts'

export interface Shares {
  /**
   * Take a place; the answer gives it back, once.
   * @throws ShareExceededError when the address has its share, BusyError when there is no place at all
   */
  take: (address: string) => () => void
  /** Have a place while `work` runs. @throws the same */
  run: <T>(address: string, work: () => Promise<T>) => Promise<T>
}

/**
 * @param options.what in words, plural: uploads
 * @param options.limit the variable that sets the share of an address
 */
export function createShares(options: { what: string; limit: string; max: number; maxPerAddress: number }): Shares {
  const { what, limit, max, maxPerAddress } = options
  let running = 0
  /** Addresses that have a place, so never more than there are places or connections. */
  const taken = new Map<string, number>()
  function take(address: string): () => void {
    const own = taken.get(address) ?? 0
    if (own >= maxPerAddress) throw new ShareExceededError(what, limit, maxPerAddress)
    if (running >= max) throw new BusyError(what)
    running += 1
    taken.set(address, own + 1)
    let isGiven = false
    return () => {
      if (isGiven) return
      isGiven = true
      running -= 1
      const left = taken.get(address)! - 1
      if (left === 0) taken.delete(address)
      else taken.set(address, left)
    }
  }
  return {
    take,
    async run(address, work) {
      const done = take(address)
      try {
        return await work()
      } finally {
        done()
      }
    }
  }
}
