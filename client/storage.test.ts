import assert from 'node:assert/strict'
import { cidOf, PeerRefusedError, TransferCutError } from '../node/index.ts'
import { createStorage, type StorageNetwork } from './storage.ts'

const SIZE_BYTES = 100
const CID = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

describe('a range that nodes give', () => {
  const blob = Uint8Array.from({ length: SIZE_BYTES }, (_, n) => n)
  const range = { offset: 10, length: 50 }

  /** @param gives how many bytes each answer has of those asked for, in order; `cut`: it breaks off then; `says`: how many the blob has */
  async function read(
    gives: Array<{ bytes: number; cut?: true; says?: number; isOutside?: true }>
  ): Promise<{ got: Buffer; from: readonly string[] }> {
    const peers = gives.map((_, n) => `peer ${n}`)
    const network: StorageNetwork = {
      self: 'self',
      members: () => peers.map(peerId => ({ peerId, reachable: true })),
      connections: () => [],
      store: () => assert.fail(),
      async retrieve(_peerId, _cid, { offset = 0, length = SIZE_BYTES }) {
        const give = gives.shift()!
        if (give.isOutside) throw new PeerRefusedError('peer', 'RANGE_INVALID', 416, 'it ends before')
        async function* bytes() {
          yield blob.subarray(offset, offset + Math.min(give.bytes, length))
          if (give.cut) throw new TransferCutError('it was cut')
        }
        return { sizeBytes: give.says ?? SIZE_BYTES, mimeType: '', bytes: bytes() }
      }
    }
    const storage = createStorage({ network, wait: async () => {} })
    const { bytes, from } = await storage.get(CID, range)
    return { got: Buffer.concat(await Array.fromAsync(bytes)), from: from() }
  }
  const due = Buffer.from(blob.subarray(range.offset, range.offset + range.length))

  it('is gone on with from another where one breaks off, or ends too early', async () => {
    for (const first of [{ bytes: 20, cut: true as const }, { bytes: 20 }]) {
      const { got, from } = await read([first, { bytes: SIZE_BYTES }])
      assert.deepEqual(got, due)
      assert.equal(new Set(from).size, 2)
    }
  })

  it('is let go at its node when nobody reads it, whole or in part', async () => {
    const ended: number[] = []
    const network = {
      self: 'self',
      members: () => [{ peerId: 'peer', reachable: true }],
      connections: () => [],
      async retrieve(_peerId: string, _cid: string, { length = 0 }: { length?: number }) {
        const end = async () => {
          ended.push(length)
          return { done: true as const, value: undefined }
        }
        const bytes = { [Symbol.asyncIterator]: () => ({ next: end, return: end }) }
        return { sizeBytes: SIZE_BYTES, mimeType: '', bytes }
      }
    } as Partial<StorageNetwork> as StorageNetwork
    const storage = createStorage({ network, wait: async () => {} })
    for (const asked of [{}, { length: 5 }]) {
      const { bytes } = await storage.get(await cidOf([blob]), asked)
      await bytes[Symbol.asyncIterator]().return?.()
    }
    assert.deepEqual(ended, [0, 5])
  })

  it('is never shorter than is due, nor of two blobs that are not as long', async () => {
    await assert.rejects(read([{ bytes: 20 }]), { code: 'PROTOCOL_VIOLATION' })
    const other = { bytes: SIZE_BYTES, says: SIZE_BYTES + 1 }
    await assert.rejects(read([{ bytes: 20, cut: true }, other]), { code: 'PROTOCOL_VIOLATION' })
    const shorter = { bytes: 0, isOutside: true as const }
    await assert.rejects(read([{ bytes: 20, cut: true }, shorter]), { code: 'PROTOCOL_VIOLATION' })
  })
})
