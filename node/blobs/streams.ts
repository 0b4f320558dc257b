/** Small helpers over async iterables of bytes. */

/** Pass a source on until the signal aborts; then throw its reason, even while the source is silent. */
export async function* abortable<T>(source: AsyncIterable<T>, signal?: AbortSignal): AsyncGenerator<T> {
  if (!signal) {
    yield* source
    return
  }
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  aborted.catch(() => {})
  const onAbort = () => reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  const iterator = source[Symbol.asyncIterator]()
  let done = false
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), aborted])
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
