import assert from 'node:assert/strict'
import { NetworkUnavailableError, OverloadedError } from '../errors.ts'
import { type BlobNetwork, createBlobs } from './blobs.ts'

/** A node as the gateway sees it, which tells whether its reader has let go. */
function nodeWith(bytes: Uint8Array) {
  const seen = { closed: false }
  async function* read() {
    try {
      yield bytes
      yield bytes
    } finally {
      seen.closed = true
    }
  }
  const get: BlobNetwork['get'] = async () => ({ sizeBytes: 2 * bytes.byteLength, bytes: read() })
  return { seen, get }
}

const refusePut: BlobNetwork['put'] = () => Promise.reject(new Error('not here'))

describe('blobs of the gateway', () => {
  const signal = new AbortController().signal

  it('let go of a node when the caller leaves before the first chunk', async () => {
    const { seen, get } = nodeWith(new Uint8Array(5))
    const bytes = await createBlobs({ put: refusePut, get }).get('cid', 10, { offset: 0, length: 10, signal })
    assert.equal(seen.closed, false)
    await bytes[Symbol.asyncIterator]().return?.()
    assert.equal(seen.closed, true)
  })

  it('are an outage when a node has another size than the row, and the node is let go', async () => {
    const { seen, get } = nodeWith(new Uint8Array(5))
    const blobs = createBlobs({ put: refusePut, get })
    await assert.rejects(blobs.get('cid', 11, { offset: 0, length: 11, signal }), NetworkUnavailableError)
    assert.equal(seen.closed, true)
  })

  it('are put only so many at once; the next is refused until one ends', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const put: BlobNetwork['put'] = async () => {
      await promise
      return { cid: 'cid', sizeBytes: 0 }
    }
    const blobs = createBlobs({ put, get: nodeWith(new Uint8Array()).get }, 1)
    const none = async function* (): AsyncGenerator<Uint8Array> {}
    const first = blobs.put(none(), { signal })
    await assert.rejects(blobs.put(none(), { signal }), OverloadedError)
    resolve()
    await first
    await blobs.put(none(), { signal })
  })
})
