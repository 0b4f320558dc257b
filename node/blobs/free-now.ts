/** Memory given back at once. */

/**
 * Free the memory of a buffer that nobody will look at again: it becomes empty. Node's ciphers answer a fresh buffer for
 * every chunk, and left to the collector those cost several times what the cipher does: it counts them against the heap,
 * which it then goes through whole, and the next chunk gets pages that are new to the process.
 *
 * Does nothing to a buffer that is a part of a larger one, because others have the rest of it.
 */
export function freeNow(bytes: Uint8Array): void {
  const { buffer } = bytes
  if (bytes.byteLength === buffer.byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0)
}
