import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, open, readdir, readlink, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { flipBit } from '../faults/testing.ts'
import { eventually } from '../net/testing.ts'
import { newBlobKey, SEAL_CHUNK_BYTES, SEALED_CHUNK_BYTES, SealBrokenError, sealedSize } from './seal.ts'
import { SealedWriter } from './sealed-file.ts'
import { readSealedSpan, SPAN_MAX_BYTES } from './sealed-span.ts'

const key = newBlobKey()

describe('a span of a sealed file', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-span-'))
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  async function sealed(bytes: Uint8Array): Promise<string> {
    const path = join(folder, 'data')
    const file = await open(path, 'w')
    const writer = new SealedWriter(file, key)
    await writer.write(bytes)
    await writer.end()
    await file.close()
    return path
  }

  it('has the bytes of any range, read either way', async () => {
    const sizeBytes = 6 * SEAL_CHUNK_BYTES + 5
    const bytes = randomBytes(sizeBytes)
    const path = await sealed(bytes)
    const ranges = [
      [0, 1],
      [0, SPAN_MAX_BYTES],
      [1, SPAN_MAX_BYTES + 1],
      [SEAL_CHUNK_BYTES - 1, SEAL_CHUNK_BYTES + 1],
      [SEAL_CHUNK_BYTES, 2 * SEAL_CHUNK_BYTES],
      [sizeBytes - SPAN_MAX_BYTES, sizeBytes],
      [sizeBytes - 1, sizeBytes]
    ] as const
    for (const isWarm of [false, true]) {
      for (const [offset, end] of ranges) {
        const pieces = await readSealedSpan(path, key, { sizeBytes, offset, end }, { isWarm })
        assert.ok(Buffer.concat(pieces).equals(bytes.subarray(offset, end)), `${offset} to ${end}`)
      }
    }
  })

  it('gives out nothing when a bit of any of its chunks or tags is wrong', async () => {
    const sizeBytes = 4 * SEAL_CHUNK_BYTES
    const path = await sealed(randomBytes(sizeBytes))
    for (let chunk = 0; chunk < 4; chunk += 1) {
      for (const at of [0, SEAL_CHUNK_BYTES - 1, SEAL_CHUNK_BYTES, SEALED_CHUNK_BYTES - 1]) {
        const bit = (chunk * SEALED_CHUNK_BYTES + at) * 8
        await flipBit(path, bit)
        for (const isWarm of [false, true]) {
          await assert.rejects(
            readSealedSpan(path, key, { sizeBytes, offset: 0, end: sizeBytes }, { isWarm }),
            SealBrokenError
          )
        }
        await flipBit(path, bit)
      }
    }
    await readSealedSpan(path, key, { sizeBytes, offset: 0, end: sizeBytes })
  })

  it('is refused of a file of another size, whatever part of it is asked', async () => {
    const sizeBytes = 2 * SEAL_CHUNK_BYTES
    for (const wrong of [sealedSize(sizeBytes) - 1, sealedSize(sizeBytes) + 1, 0]) {
      const path = await sealed(randomBytes(sizeBytes))
      await truncate(path, wrong)
      for (const [offset, end] of [
        [0, 1],
        [0, sizeBytes],
        [sizeBytes - 1, sizeBytes]
      ] as const) {
        for (const isWarm of [false, true]) {
          const reading = readSealedSpan(path, key, { sizeBytes, offset, end }, { isWarm })
          await assert.rejects(reading, SealBrokenError, `${wrong} bytes`)
        }
      }
    }
  })

  it('leaves no file open, whatever comes of it', async () => {
    const sizeBytes = 3 * SEAL_CHUNK_BYTES
    const path = await sealed(randomBytes(sizeBytes))
    const isOpen = async () => {
      const files = await Promise.all(
        (await readdir('/proc/self/fd')).map(name => readlink(`/proc/self/fd/${name}`).catch(() => ''))
      )
      return files.includes(path)
    }
    for (const isWarm of [false, true]) {
      for (const [offset, end] of [
        [0, 10],
        [0, sizeBytes],
        [sizeBytes - 1, sizeBytes]
      ] as const) {
        await readSealedSpan(path, key, { sizeBytes, offset, end }, { isWarm })
        const reading = readSealedSpan(path, key, { sizeBytes: sizeBytes + 1, offset, end }, { isWarm })
        await assert.rejects(reading, SealBrokenError)
      }
    }
    await eventually(async () => !(await isOpen()), 'all are closed')
  })

  it('keeps some buffers for those that follow, and not of every crowd', async () => {
    const path = await sealed(randomBytes(10))
    const span = { sizeBytes: 10, offset: 0, end: 10 }
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    collect()
    const before = process.memoryUsage().arrayBuffers
    await Promise.all(Array.from({ length: 80 }, () => readSealedSpan(path, key, span)))
    await eventually(() => {
      collect()
      return process.memoryUsage().arrayBuffers - before < 32 * SPAN_MAX_BYTES
    }, 'the others are given back')
  })

  it('says what the disk says of a file that is not there', async () => {
    for (const isWarm of [false, true]) {
      const reading = readSealedSpan(join(folder, 'none'), key, { sizeBytes: 1, offset: 0, end: 1 }, { isWarm })
      await assert.rejects(reading, { code: 'ENOENT' })
    }
  })

  it('is of a small file read at once as good as any other', async () => {
    const bytes = randomBytes(70)
    const path = await sealed(bytes)
    const span = { sizeBytes: 70, offset: 0, end: 70 }
    assert.ok(Buffer.concat(await readSealedSpan(path, key, span, { isWarm: true })).equals(bytes))
    await writeFile(path, randomBytes(sealedSize(70)))
    await assert.rejects(readSealedSpan(path, key, span, { isWarm: true }), SealBrokenError)
  })
})
