/** Small helpers over async iterables of bytes. */

/** Pass a source on until the signal aborts; then throw its reason, even while the source is silent. */
export async function* abortable<T>(source: AsyncIterable<T>, signal?: AbortSignal): AsyncGenerator<T> {
  if (!signal) {
    yield* source
    return
  }
  let giveUp: (reason: unknown) => void = () => {}
  const onAbort = () => giveUp(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  const iterator = source[Symbol.asyncIterator]()
  let done = false
  try {
    for (;;) {
      // A promise of its own for every piece: one for all would keep every piece that came before it for as long.
      const next = await new Promise<IteratorResult<T>>((resolve, reject) => {
        giveUp = reject
        if (signal.aborted) reject(signal.reason)
        iterator.next().then(resolve, reject)
      })
      if (next.done) {
        done = true
        return
      }
      yield next.value
    }
  } finally {
    signal.removeEventListener('abort', onAbort)
    // Not awaited: a source that is silent now may never settle.
    if (!done) iterator.return?.()?.catch(() => {})
  }
}

/** What is here already, one after the other. */
export async function* eachOf<T>(values: Iterable<T>): AsyncGenerator<T> {
  yield* values
}

/** All bytes of a source, at most `maxBytes`. @throws RangeError */
export async function collect(source: AsyncIterable<Uint8Array>, maxBytes: number): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  let sizeBytes = 0
  for await (const bytes of source) {
    sizeBytes += bytes.length
    if (sizeBytes > maxBytes) throw new RangeError(`more than ${maxBytes} bytes`)
    pieces.push(bytes)
  }
  return Buffer.concat(pieces)
}

/** The first piece of a source, taken now; null when it is empty. The source is ended when it fails. */
export async function pulled(source: AsyncGenerator<Uint8Array>): Promise<Uint8Array | null> {
  const first = await source.next()
  return first.done ? null : first.value
}

/** A piece taken before, then the rest; ends the rest when its reader stops, even before the first piece. */
export function chain(first: Uint8Array | null, rest: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held = first
  const chained: AsyncGenerator<Uint8Array> = {
    next: async () => {
      if (held === null) return await rest.next()
      const value = held
      held = null
      return { done: false, value }
    },
    return: value => {
      held = null
      return rest.return(value)
    },
    throw: error => {
      held = null
      return rest.throw(error)
    },
    [Symbol.asyncIterator]: () => chained,
    [Symbol.asyncDispose]: async () => {
      await rest.return(undefined)
    }
  }
  return chained
}
