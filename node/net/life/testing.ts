/** For tests of connections' life: a line between two peers that can fall silent, and blobs whose bytes come on demand. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A TCP line on loopback to a port; `freeze` lets nothing through any more and tells nobody, as a NAT does that forgot. */
export async function startLine(
  toPort: number
): Promise<{ port: number; freeze: () => void; bytes: () => number } & AsyncDisposable> {
  const sockets = new Set<Socket>()
  let frozen = false
  let bytes = 0
  const server = createServer(inner => {
    const outer = connect(toPort, '127.0.0.1')
    for (const [from, to] of [
      [inner, outer],
      [outer, inner]
    ] as const) {
      sockets.add(from)
      from.on('error', () => undefined)
      from.on('data', chunk => {
        bytes += chunk.byteLength
        if (!frozen) to.write(chunk)
      })
      from.on('close', () => {
        sockets.delete(from)
        if (!frozen) to.destroy()
      })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    freeze: () => {
      frozen = true
    },
    bytes: () => bytes,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    }
  }
}

/** A blob of which `gated` bytes are there at once and the rest when `open` was called. */
export function gatedBlob(
  bytes: Uint8Array,
  gatedBytes: number
): {
  blob: {
    sizeBytes: number
    open: () => AsyncIterable<Uint8Array>
    openAt: (offset: number) => AsyncIterable<Uint8Array>
  }
  open: () => void
  /** Resolves when the bytes before the gate were asked for. */
  reached: Promise<void>
} {
  const gate = Promise.withResolvers<void>()
  const reached = Promise.withResolvers<void>()
  async function* openAt(offset: number): AsyncGenerator<Uint8Array> {
    for (let at = offset; at < bytes.byteLength; ) {
      if (at >= gatedBytes) {
        reached.resolve()
        await gate.promise
      }
      const end = Math.min(at + CHUNK_BYTES, at < gatedBytes ? gatedBytes : bytes.byteLength)
      yield bytes.subarray(at, end)
      at = end
    }
  }
  return {
    blob: { sizeBytes: bytes.byteLength, open: () => openAt(0), openAt },
    open: gate.resolve,
    reached: reached.promise
  }
}

const CHUNK_BYTES = 64 * 1024
