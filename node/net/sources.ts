/** Byte sources that can be asked again from an offset, as resumed uploads need. */
import { TransferCutError } from '../errors.ts'

/** The source without its first `offset` bytes. */
export async function* skip(
  source: AsyncIterable<Uint8Array>,
  offset: number
): AsyncGenerator<Uint8Array, void, undefined> {
  let left = offset
  for await (const chunk of source) {
    if (left >= chunk.byteLength) left -= chunk.byteLength
    else {
      yield left === 0 ? chunk : chunk.subarray(left)
      left = 0
    }
  }
}

/** Bytes kept behind the reader: above a stream's window and the buffers on the way. */
const DEFAULT_WINDOW_BYTES = 8 * 1024 * 1024

/** A source that can be read only once, made resumable within the last `windowBytes`. */
export interface Replayable {
  /** From `offset` on. Only the newest opened iteration may be read. Throws TransferCutError when that is gone. */
  openAt: (offset: number) => AsyncGenerator<Uint8Array, void, undefined>
  /** Whether `openAt(0)` would work: nothing was dropped yet. */
  whole: () => boolean
}

export function replayable(source: AsyncIterable<Uint8Array>, windowBytes = DEFAULT_WINDOW_BYTES): Replayable {
  const iterator = source[Symbol.asyncIterator]()
  const kept: Uint8Array[] = []
  let keptFrom = 0
  let readTo = 0
  let pending: Promise<IteratorResult<Uint8Array>> | undefined
  let generation = 0

  /** One more chunk from the source into the window; false at its end. */
  async function pull(): Promise<boolean> {
    pending ??= iterator.next()
    const { done, value } = await pending
    pending = done === true ? Promise.resolve({ done: true, value: undefined }) : undefined
    if (done === true) return false
    kept.push(value)
    readTo += value.byteLength
    while (kept.length > 1 && readTo - keptFrom - kept[0]!.byteLength >= windowBytes) {
      keptFrom += kept.shift()!.byteLength
    }
    return true
  }

  return {
    whole: () => keptFrom === 0,
    async *openAt(offset) {
      const mine = ++generation
      let at = offset
      for (;;) {
        if (mine !== generation) throw new TransferCutError('The source is read elsewhere')
        if (at < keptFrom) throw new RangeError(`byte ${at} of a source that can be read once is gone`)
        if (at < readTo) {
          let start = keptFrom
          let chunk: Uint8Array | undefined
          for (const candidate of kept) {
            if (at < start + candidate.byteLength) {
              chunk = candidate.subarray(at - start)
              break
            }
            start += candidate.byteLength
          }
          at += chunk!.byteLength
          yield chunk!
        } else if (!(await pull())) return
      }
    }
  }
}

/** The same bytes. A generator that was never begun skips its `finally` when it is returned: then `abandon` is called. */
export function letGo(source: AsyncGenerator<Uint8Array>, abandon: () => void): AsyncIterable<Uint8Array> {
  let isBegun = false
  const iterator: AsyncIterator<Uint8Array> = {
    next() {
      isBegun = true
      return source.next()
    },
    return() {
      if (!isBegun) abandon()
      return source.return(undefined)
    }
  }
  return { [Symbol.asyncIterator]: () => iterator }
}
