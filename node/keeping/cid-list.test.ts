import assert from 'node:assert/strict'
import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cidOf } from '../blobs/cid.ts'
import { ListFileInvalidError, PinLimitError } from '../errors.ts'
import { openBlockList } from './block-list.ts'
import { openCidList } from './cid-list.ts'

const cids = await Promise.all(Array.from({ length: 40 }, (_, i) => cidOf([Buffer.from(`list ${i}`)])))
const [a, b, c] = cids as [string, string, string]

describe('lists of CIDs', () => {
  let dataDir: string
  const path = () => join(dataDir, 'list.txt')
  const reopen = (max = 100) =>
    openCidList({ path: path(), title: 'A list.', max, full: most => new PinLimitError(most), checked: true })

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-list-'))
  })
  afterEach(() => rm(dataDir, { recursive: true, force: true }))

  it('are there after a restart, with their notes, in their order, for the owner alone', async () => {
    const list = await reopen()
    assert.equal(await list.add(b, 'first'), true)
    assert.equal(await list.add(a, 'second\nline'), true)
    assert.equal(await list.add(a, 'again'), false)
    const again = await reopen()
    assert.deepEqual(
      [...again.entries()],
      [
        [b, 'first'],
        [a, 'second?line']
      ]
    )
    assert.equal((await stat(path())).mode & 0o777, 0o600)
    assert.equal(await again.remove(b), true)
    assert.equal(await again.remove(b), false)
    assert.deepEqual([...(await reopen()).entries()].length, 1)
  })

  it('keep every one of many changes at once', async () => {
    const list = await reopen()
    await Promise.all(cids.map(cid => list.add(cid, '')))
    await Promise.all(cids.slice(0, 20).map(cid => list.remove(cid)))
    assert.deepEqual([...(await reopen()).entries()].map(([cid]) => cid).sort(), cids.slice(20).sort())
  })

  it('are written by one at a time, whoever comes between two writes', async () => {
    const list = await reopen()
    for (const [first, second, third] of [
      [a, b, c],
      [cids[3]!, cids[4]!, cids[5]!]
    ] as const) {
      const oneAfterAnother = list.add(first, '').then(() => list.add(second, ''))
      await Promise.all([oneAfterAnother, list.add(third, '')])
      const known = [...(await reopen()).entries()].map(([cid]) => cid)
      assert.deepEqual(
        [first, second, third].filter(cid => !known.includes(cid)),
        []
      )
    }
  })

  it('refuse one more than their cap and keep the others', async () => {
    const list = await reopen(2)
    await list.add(a, '')
    await list.add(b, '')
    await assert.rejects(list.add(c, ''), PinLimitError)
    await list.add(b, '')
    assert.equal((await reopen(2)).size, 2)
  })

  it('hold an entry only when it is on disk', async () => {
    const list = await reopen()
    await list.add(a, '')
    await rm(dataDir, { recursive: true })
    await assert.rejects(list.add(b, ''), { code: 'STORE_FAILED' })
    await assert.rejects(list.remove(a), { code: 'STORE_FAILED' })
    assert.deepEqual([list.has(a), list.has(b)], [true, false])
  })

  it('do not pass a flipped bit', async () => {
    await (await reopen()).add(a, '')
    const bytes = await readFile(path())
    for (let bit = 0; bit < bytes.length * 8; bit += 5) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      await writeFile(path(), flipped)
      await assert.rejects(reopen(), ListFileInvalidError, `bit ${bit}`)
    }
  })
})

describe('block list', () => {
  it('is a file that a person edits: comments, reasons, any spelling of a CID', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'warren-blocked-'))
    try {
      const open = (enabled = true) => openBlockList({ dataDir, enabled })
      await writeFile(join(dataDir, 'blocked.txt'), `# ours\n\n${a}   court order 7\n  ${b}\n`)
      const list = await open()
      assert.deepEqual(list.list(), [
        { cid: a, reason: 'court order 7' },
        { cid: b, reason: '' }
      ])
      assert.deepEqual([list.has(a), list.has(c)], [true, false])
      await list.add(c, 'spam')
      assert.deepEqual([(await open()).count, (await open(false)).has(a)], [3, false])
      await appendFile(join(dataDir, 'blocked.txt'), 'nonsense\n')
      await assert.rejects(open(), /line 5 does not begin with a CID/)
    } finally {
      await rm(dataDir, { recursive: true, force: true })
    }
  })
})
