import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../log.ts'
import { type AssignedMember, assignShards } from './assign.ts'
import { type AutoShards, AWAY_MS, type HeardFacts, openAutoShards, SETTLE_MAX_MS, SETTLE_MS } from './own-shards.ts'

const SHARDS = 64
const FACTOR = 1
const GIB = 1024 ** 3

describe('the shards a node is assigned', () => {
  let dataDir: string
  let nowMs: number
  let registered: string[] | null
  let heard: Map<string, HeardFacts>
  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-own-shards-'))
    nowMs = 0
    registered = null
    heard = new Map()
  })
  afterEach(() => rm(dataDir, { recursive: true, force: true }))

  const open = (): Promise<AutoShards> =>
    openAutoShards({
      dataDir,
      self: { peerId: 'self', failureGroup: 'home', capacityBytes: GIB },
      shardCount: SHARDS,
      replicationFactor: FACTOR,
      registered: () => registered,
      heard: peerId => heard.get(peerId) ?? null,
      log: silentLog(),
      now: () => nowMs
    })
  const says = (more: Partial<HeardFacts> = {}): HeardFacts => ({
    shards: [],
    shardCount: SHARDS,
    failureGroup: '',
    shardMode: 'auto',
    capacityBytes: GIB,
    ...more
  })
  const register = (...others: string[]): void => {
    registered = ['self', ...others]
    for (const peerId of others) heard.set(peerId, heard.get(peerId) ?? says())
  }
  /** Look, and look again when nothing changed for long enough. */
  async function settle(shards: AutoShards): Promise<void> {
    await shards.look()
    nowMs += SETTLE_MS
    await shards.look()
  }
  const expected = (members: Array<Partial<AssignedMember> & { peerId: string }>) => {
    const self = { peerId: 'self', failureGroup: 'home', capacityBytes: GIB, fixed: null, isAway: false }
    const others = members.map(more => ({ ...self, failureGroup: '', ...more }))
    return assignShards([self, ...others], { shardCount: SHARDS, replicationFactor: FACTOR }).get('self')
  }

  it('are none before the registry was read, then those of the pure rule, after nothing changed for a while', async () => {
    const shards = await open()
    await settle(shards)
    assert.deepEqual([shards.ranges(), shards.state().assigned], [[], false])
    register('a', 'b', 'c')
    await shards.look()
    nowMs += SETTLE_MS - 1
    await shards.look()
    assert.equal(shards.state().assigned, false)
    nowMs += 1
    await shards.look()
    assert.deepEqual(shards.ranges(), expected([{ peerId: 'a' }, { peerId: 'b' }, { peerId: 'c' }]))
    const { assigned, changes, members, away } = shards.state()
    assert.deepEqual({ assigned, changes, members, away }, { assigned: true, changes: 1, members: 4, away: 0 })
  })

  it('change at last however often members do', async () => {
    const shards = await open()
    for (let n = 0; nowMs <= SETTLE_MAX_MS; n++) {
      register(...Array.from({ length: 1 + (n % 5) }, (_, at) => `peer-${at}`))
      await shards.look()
      nowMs += SETTLE_MS / 3
    }
    assert.equal(shards.state().assigned, true)
  })

  it('take failure groups, rooms and fixed ranges of others from what they announce, and only while registered', async () => {
    const shards = await open()
    heard.set('a', says({ failureGroup: 'home', capacityBytes: 8 * GIB }))
    heard.set('b', says({ shardMode: undefined, shards: [{ start: 0, end: 9 }] }))
    heard.set('stranger', says())
    heard.set('other-count', says({ shardCount: SHARDS + 1 }))
    register('a', 'b', 'c', 'other-count')
    await settle(shards)
    const members = [
      { peerId: 'a', failureGroup: 'home', capacityBytes: 8 * GIB },
      { peerId: 'b', fixed: [{ start: 0, end: 9 }] },
      { peerId: 'c' }
    ]
    assert.deepEqual(shards.ranges(), expected(members))
    assert.equal(shards.state().members, 4)
  })

  it('stay while a member is silent, are more after it was for long, and the same when it is heard again', async () => {
    const shards = await open()
    register('a', 'b', 'c')
    await settle(shards)
    const all = shards.ranges()
    const a = heard.get('a')!
    heard.delete('a')
    nowMs += AWAY_MS - 2 * SETTLE_MS
    await settle(shards)
    assert.deepEqual(shards.ranges(), all)
    nowMs += 2 * SETTLE_MS
    await settle(shards)
    const more = expected([{ peerId: 'a', isAway: true }, { peerId: 'b' }, { peerId: 'c' }])
    assert.deepEqual(shards.ranges(), more)
    assert.notDeepEqual(shards.ranges(), all)
    assert.equal(shards.state().away, 1)
    // One that starts anew meanwhile neither forgets who is away nor gives what it took over back.
    const again = await open()
    assert.deepEqual(again.ranges(), more)
    await settle(again)
    assert.deepEqual(again.ranges(), more)
    assert.equal(again.state().changes, 0)
    heard.set('a', a)
    await settle(again)
    assert.deepEqual(again.ranges(), all)
  })

  it('hold at once after a start, with what was heard of members before', async () => {
    const shards = await open()
    heard.set('a', says({ capacityBytes: 64 * GIB, failureGroup: 'home' }))
    register('a', 'b', 'c')
    await settle(shards)
    heard.clear()
    const again = await open()
    assert.deepEqual([again.ranges(), again.state().assigned], [shards.ranges(), true])
    nowMs += SETTLE_MS
    await settle(again)
    assert.deepEqual([again.ranges(), again.state().changes], [shards.ranges(), 0])
  })

  it('are none when the registry has this node no more', async () => {
    const shards = await open()
    register('a', 'b')
    await settle(shards)
    assert.ok(shards.ranges().length > 0)
    registered = ['a', 'b']
    await settle(shards)
    assert.deepEqual([shards.ranges(), shards.state().assigned], [[], true])
  })

  it('are worked out anew when what was saved is of another SHARD_COUNT, or is no such file', async () => {
    for (const text of ['{', '[]', JSON.stringify({ shardCount: SHARDS + 1, ranges: [], members: {} })]) {
      await writeFile(join(dataDir, 'shards.json'), text)
      assert.equal((await open()).state().assigned, false, text)
    }
  })

  it('outlast a member whose saved facts cannot be read: only it is forgotten', async () => {
    const shards = await open()
    heard.set('a', says({ failureGroup: 'home', capacityBytes: 64 * GIB }))
    // As a program of before said it: no ranges that this one would have saved.
    heard.set('b', says({ shards: [{ start: 0, end: 2_000_000 }], shardCount: 2_000_001, shardMode: 'fixed' }))
    register('a', 'b', 'c')
    await settle(shards)
    heard.clear()
    const again = await open()
    assert.deepEqual([again.ranges(), again.state().assigned], [shards.ranges(), true])
    await settle(again)
    // Not heard yet counts with the room that is taken for granted.
    const b = { peerId: 'b', capacityBytes: null }
    const others = [{ peerId: 'a', failureGroup: 'home', capacityBytes: 64 * GIB }, b, { peerId: 'c' }]
    assert.deepEqual(again.ranges(), expected(others))
  })

  it('are saved at the next look when the disk refused them', async () => {
    const shards = await open()
    const path = join(dataDir, 'shards.json')
    // A folder stands where the file is to be.
    await mkdir(join(path, 'in-the-way'), { recursive: true })
    register('a', 'b', 'c')
    await settle(shards)
    assert.equal(shards.state().assigned, true)
    await rm(path, { recursive: true })
    await shards.look()
    assert.deepEqual((await open()).ranges(), shards.ranges())
  })

  it('hold only when members stayed the same while they were worked out', async () => {
    const shards = await open()
    register('a', 'b', 'c')
    await shards.look()
    nowMs += SETTLE_MS
    const looking = shards.look()
    register('a', 'b', 'c', 'd')
    await looking
    assert.deepEqual([shards.ranges(), shards.state().assigned], [[], false])
    nowMs += SETTLE_MS
    await shards.look()
    assert.deepEqual(shards.ranges(), expected(['a', 'b', 'c', 'd'].map(peerId => ({ peerId }))))
    assert.equal(shards.state().changes, 1)
  })

  it('hold at last also when members change whenever they are worked out', async () => {
    const shards = await open()
    register('a')
    for (let n = 0; nowMs <= SETTLE_MAX_MS; n++) {
      const looking = shards.look()
      register(...Array.from({ length: 1 + (n % 5) }, (_, at) => `peer-${at}`))
      await looking
      nowMs += SETTLE_MS
    }
    assert.equal(shards.state().assigned, true)
  })
})
