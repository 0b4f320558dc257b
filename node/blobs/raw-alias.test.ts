import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { create } from 'multiformats/hashes/digest'
import { silentLog } from '../log.ts'
import { cidOf } from './cid.ts'
import { openRawAliases } from './raw-alias.ts'
import type { BlobService } from './service.types.ts'
import { collect } from './streams.ts'

/** Takes everything and keeps nothing. */
const taking = {
  put: async (source: AsyncIterable<Uint8Array>) => ({ cid: await cidOf([await collect(source, 1000)]) })
} as unknown as BlobService

describe('other names of small blobs', () => {
  let dataDir: string
  const path = () => join(dataDir, 'aliases', 'raw.txt')
  const nameOf = (bytes: Uint8Array) =>
    CID.createV1(raw.code, create(0x12, createHash('sha256').update(bytes).digest())).toString()

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-alias-'))
  })
  afterEach(() => rm(dataDir, { recursive: true, force: true }))

  it('fill a bounded file, however often they are forgotten and learnt again', async () => {
    const aliases = await openRawAliases({ dataDir, log: silentLog(), max: 10 })
    const blobs = aliases.noting(taking)
    const some = Array.from({ length: 11 }, () => randomBytes(20))
    for (let round = 0; round < 20; round += 1) {
      for (const bytes of some) {
        await blobs.put(
          (async function* () {
            yield bytes
          })(),
          {}
        )
      }
      await aliases.flush()
    }
    assert.equal(aliases.size, 10)
    const lines = (await readFile(path(), 'utf8')).trimEnd().split('\n')
    assert.ok(lines.length <= 21, `${lines.length} lines`)
    const again = await openRawAliases({ dataDir, log: silentLog(), max: 10 })
    assert.equal(again.resolve(nameOf(some.at(-1)!)), await cidOf([some.at(-1)!]))
    assert.equal((await stat(path())).mode & 0o777, 0o600)
  })

  it('do not keep a node from its start when their file cannot be read or written anew', async () => {
    await mkdir(join(dataDir, 'aliases', 'raw.txt.new'), { recursive: true })
    const line = `${'0'.repeat(40)} ${await cidOf([randomBytes(9)])}\n`
    await writeFile(path(), line.repeat(50))
    assert.equal((await openRawAliases({ dataDir, log: silentLog(), max: 10 })).size, 1)
  })
})
