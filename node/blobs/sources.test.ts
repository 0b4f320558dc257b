import assert from 'node:assert/strict'
import { BlobNotFoundError } from '../errors.ts'
import { silentLog } from '../log.ts'
import { cidOf } from './cid.ts'
import type { BlobMember, BlobNetwork } from './network.types.ts'
import { shardOf } from './shards.ts'
import { createRemoteBlobs } from './sources.ts'

const SHARDS = 4
const bytes = Buffer.from('moved, and not there yet')

describe('a blob whose shard moved', () => {
  it('is read from who owned it before, after its owners and whoever announced it were asked', async () => {
    const cid = await cidOf([bytes])
    const shard = shardOf(cid, SHARDS)
    const member = (peerId: string, start: number, reachable = true): BlobMember => ({
      nodeId: peerId,
      peerId,
      shards: [{ start, end: start }],
      shardCount: SHARDS,
      failureGroup: '',
      reachable
    })
    const elsewhere = (shard + 1) % SHARDS
    const members = [
      member('away', elsewhere, false),
      member('self', elsewhere),
      member('owned it', elsewhere),
      member('owns it', shard)
    ]
    const asked: string[] = []
    const network = {
      self: 'self',
      members: () => members,
      async *findProviders() {
        yield 'provider'
      },
      retrieve: async (peerId: string) => {
        asked.push(peerId)
        if (peerId !== 'owned it') throw new BlobNotFoundError(cid)
        return {
          sizeBytes: bytes.length,
          mimeType: 'text/plain',
          bytes: (async function* () {
            yield bytes
          })()
        }
      }
    } as unknown as BlobNetwork
    const remote = createRemoteBlobs({ network, log: silentLog() })
    const read = await remote.open(cid, { offset: 0 })
    assert.deepEqual(Buffer.concat(await Array.fromAsync(read.bytes)), bytes)
    assert.deepEqual(asked, ['owns it', 'provider', 'owned it'])
  })
})
