import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { type FileHandle, mkdtemp, open, realpath, rm } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../log.ts'
import { sharedFolderSync } from './durable.ts'
import { SEAL_CHUNK_BYTES } from './seal.ts'
import { openStore } from './store.ts'
import type { BlobStore } from './store.types.ts'

/**
 * What the disk is asked for while some work runs, in order, each twice: `write`, `sync` or `rename` when it is asked, and
 * with `done` before it when it is over. A power cut keeps of it what this order says, and no test can cut the power.
 */
async function onDiskDuring(work: () => Promise<unknown>): Promise<string[]> {
  const seen: string[] = []
  const noted = async <T>(what: string, own: () => Promise<T>): Promise<T> => {
    seen.push(what)
    const result = await own()
    seen.push(`done ${what}`)
    return result
  }
  const probe = await open(tmpdir(), 'r')
  const files = Object.getPrototypeOf(probe) as Record<string, (...args: unknown[]) => Promise<unknown>>
  await probe.close()
  const names = { writeFile: 'write', writev: 'write', sync: 'sync', datasync: 'sync' } as const
  const own = Object.fromEntries(Object.keys(names).map(name => [name, files[name]!]))
  for (const [name, what] of Object.entries(names)) {
    files[name] = async function (this: FileHandle, ...args: unknown[]) {
      const path = fs.readlinkSync(`/proc/self/fd/${this.fd}`)
      return await noted(`${what} ${short(path)}`, () => own[name]!.apply(this, args))
    }
  }
  const { rename } = fs.promises
  fs.promises.rename = (from, to) => noted(`rename ${short(String(from))} ${short(String(to))}`, () => rename(from, to))
  syncBuiltinESMExports()
  try {
    await work()
  } finally {
    Object.assign(files, own)
    fs.promises.rename = rename
    syncBuiltinESMExports()
  }
  return seen
}

/** The store's folders by name, of a temporary or a blob's folder only its kind. */
const short = (path: string): string =>
  path
    .split('/')
    .slice(path.split('/').findIndex(part => part.startsWith('warren-durable-')) + 1)
    .map(part => (part.startsWith('blob-') ? 'new' : part.startsWith('b') && part.length > 40 ? 'cid' : part))
    .join('/')

describe('on disk', () => {
  let dataDir: string
  let store: BlobStore
  const reopen = () => openStore({ dataDir, capacityBytes: 2 ** 26, secret: Buffer.alloc(32, 1), log: silentLog() })
  beforeEach(async () => {
    dataDir = await realpath(await mkdtemp(join(tmpdir(), 'warren-durable-')))
    store = await reopen()
  })
  afterEach(async () => {
    await store.close()
    await rm(dataDir, { recursive: true, force: true })
  })

  async function put(bytes: Buffer): Promise<string> {
    const staged = await store.stage([bytes] as never, { maxBytes: bytes.length })
    await staged.commit()
    return staged.cid
  }

  it('a blob is whole and synced before it gets its name, and its name is synced before anybody is told', async () => {
    for (const size of [1, SEAL_CHUNK_BYTES + 1, 20 * SEAL_CHUNK_BYTES]) {
      const seen = await onDiskDuring(() => put(randomBytes(size)))
      const first = (what: string) => seen.indexOf(what)
      const last = (what: string) => seen.lastIndexOf(what)
      const isBefore = (one: number, other: number) => assert.ok(one >= 0 && one < other, seen.join('\n'))
      const rename = first('rename tmp/new blobs/cid')
      for (const path of ['tmp/new/data', 'tmp/new/meta.json']) {
        isBefore(last(`done write ${path}`), first(`sync ${path}`))
        isBefore(last(`done write ${path}`), first('sync tmp/new'))
        isBefore(first(`done sync ${path}`), rename)
      }
      isBefore(first('done sync tmp/new'), rename)
      isBefore(last('done rename tmp/new blobs/cid'), last('sync blobs'))
      assert.equal(seen.at(-1), 'done sync blobs')
    }
  })

  it('a deletion is synced before anybody is told', async () => {
    const cid = await put(randomBytes(1000))
    const seen = await onDiskDuring(() => store.delete(cid))
    assert.ok(seen.indexOf('sync blobs') > seen.indexOf('done rename blobs/cid tmp/new'), seen.join('\n'))
    assert.ok(seen.includes('done sync blobs'))
  })

  it('what a start counts is synced: a crash may have come between a rename and its sync', async () => {
    await put(randomBytes(1000))
    await store.close()
    const seen = await onDiskDuring(async () => {
      store = await reopen()
    })
    assert.ok(seen.includes('done sync blobs'), seen.join('\n'))
  })

  it('a folder is synced once for all that wait, and for nobody by a sync that began before it was asked', async () => {
    const sync = sharedFolderSync(dataDir)
    const seen = await onDiskDuring(() => Promise.all([sync(), sync(), sync()]))
    assert.deepEqual(seen, ['sync ', 'done sync ', 'sync ', 'done sync '])
    assert.deepEqual(await onDiskDuring(sync), ['sync ', 'done sync '])
  })
})
