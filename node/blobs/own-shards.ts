/**
 * The shards of this node: those its operator gave it, or with NODE_SHARDS=auto those it works out from the registry.
 *
 * The rule of `auto`: who is registered counts, whether it is heard or not. A member that was not heard for AWAY_MS keeps
 * its shards, and others own them besides until it is heard again; only the registry takes them from it. What was heard
 * of a member is remembered while it is registered, over restarts too (`shards.json`), and a change holds only after
 * nothing else changed for SETTLE_MS: a node that restarts, or is slow to be heard, moves nothing.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Log } from '../log.ts'
import { type AssignedMember, assignShardsInTurns } from './assign.ts'
import { replaceFile } from './durable.ts'
import { SHARD_COUNT_MAX, SHARD_RANGES_MAX, type ShardRange } from './shards.ts'
import { pause } from './wait.ts'

/** How often members are looked at. */
export const LOOK_EVERY_MS = 500
/** New ranges hold when nothing changed for so long: members that come together are counted together. */
export const SETTLE_MS = 3000
/** And at last after so long, however much changes. */
export const SETTLE_MAX_MS = 15_000
/** A member that was not heard for so long has others own its shards besides. */
export const AWAY_MS = 10 * 60_000

export type ShardMode = 'fixed' | 'auto'

/** What a member says of itself, as far as assigning needs it. */
export interface HeardFacts {
  shards: readonly ShardRange[]
  shardCount: number
  failureGroup: string
  /** Absent: older programs, whose ranges are fixed. */
  shardMode?: ShardMode | undefined
  capacityBytes?: number | undefined
}

export interface ShardState {
  mode: ShardMode
  /** Whether they were worked out yet; until then nothing is taken and nothing handed over. */
  assigned: boolean
  /** Changes of ranges since the start. */
  changes: number
  /** When they changed last, milliseconds since 1970; null: not since the start. */
  changedAtMs: number | null
  /** Members counted, this node included; 0 with fixed ranges. */
  members: number
  /** Of those, silent for long. */
  away: number
}

export interface OwnShards {
  readonly mode: ShardMode
  ranges: () => readonly ShardRange[]
  state: () => ShardState
  /** Begin to look; `onChange` is called after each change of ranges. */
  start: (onChange: () => void) => void
  stop: () => Promise<void>
}

/** Ranges that an operator gave: they stay. */
export function fixedShards(ranges: readonly ShardRange[]): OwnShards {
  return {
    mode: 'fixed',
    ranges: () => ranges,
    state: () => ({ mode: 'fixed', assigned: true, changes: 0, changedAtMs: null, members: 0, away: 0 }),
    start: () => {},
    stop: async () => {}
  }
}

export interface AutoShardsOptions {
  dataDir: string
  /** This node. */
  self: { peerId: string; failureGroup: string; capacityBytes: number }
  shardCount: number
  replicationFactor: number
  /** Peer ids of the registry's active members; null: it was not read yet. */
  registered: () => readonly string[] | null
  /** What a member said of itself lately; null: nothing. */
  heard: (peerId: string) => HeardFacts | null
  log: Log
  /** For tests: a clock in milliseconds that is never set. */
  now?: () => number
}

/** Ranges worked out; `look` is one look at the members. */
export interface AutoShards extends OwnShards {
  look: () => Promise<void>
}

const shard = z.int().min(0).max(SHARD_COUNT_MAX)
const rangesSchema = z.array(z.object({ start: shard, end: shard })).max(SHARD_RANGES_MAX)
const knownSchema = z.object({
  failureGroup: z.string().max(256),
  capacityBytes: z.number().min(0).nullable(),
  fixed: rangesSchema.nullable(),
  shardCount: z.int().min(1),
  isAway: z.boolean()
})
const savedSchema = z.object({
  shardCount: z.int().min(1),
  ranges: rangesSchema,
  /** Looked at one by one: one that cannot be read costs what was known of it, and not the ranges. */
  members: z.record(z.string(), z.unknown())
})

/** What is remembered of a member. */
type Known = z.infer<typeof knownSchema>

interface Saved {
  shardCount: number
  ranges: ShardRange[]
  members: Map<string, Known>
}

/** Open `shards.json` of an earlier run: its ranges hold until the members are known to differ. */
export async function openAutoShards(options: AutoShardsOptions): Promise<AutoShards> {
  const { dataDir, self, shardCount, replicationFactor, registered, heard, log } = options
  const { now = () => performance.now() } = options
  const path = join(dataDir, 'shards.json')
  const saved = await readSaved(path, log)
  const isUsable = saved !== null && saved.shardCount === shardCount
  const known = new Map<string, Known>(isUsable ? saved.members : [])
  const heardAtMs = new Map<string, number>()
  let ranges: readonly ShardRange[] = isUsable ? saved.ranges : []
  let savedText = ''
  let saveFailed = false
  let looked: readonly AssignedMember[] = []
  let lookedText = ''
  let changedMs = 0
  /** When what is not acted on yet began to change. */
  let pendingMs: number | null = null
  const state: ShardState = {
    mode: 'auto',
    assigned: isUsable,
    changes: 0,
    changedAtMs: null,
    members: 0,
    away: 0
  }
  const stopping = new AbortController()
  let ended = Promise.resolve()
  let onChange = (): void => {}

  function membersOf(peerIds: readonly string[]): AssignedMember[] {
    const listed = new Set(peerIds)
    for (const peerId of known.keys()) if (!listed.has(peerId)) known.delete(peerId)
    for (const peerId of heardAtMs.keys()) if (!listed.has(peerId)) heardAtMs.delete(peerId)
    return [...listed].sort().flatMap(peerId => (peerId === self.peerId ? [ownMember()] : (memberOf(peerId) ?? [])))
  }
  const ownMember = (): AssignedMember => ({ ...self, fixed: null, isAway: false })

  /** null: it divides the blobs into another number of shards, and has no part in ours. */
  function memberOf(peerId: string): AssignedMember | null {
    const facts = heard(peerId)
    const before = known.get(peerId)
    // One that was away when this process began is away until it is heard; any other has its time from now on.
    if (facts !== null || !heardAtMs.has(peerId)) {
      heardAtMs.set(peerId, facts === null && before?.isAway ? Number.NEGATIVE_INFINITY : now())
    }
    const isAway = now() - heardAtMs.get(peerId)! > AWAY_MS
    const said = facts === null ? before : factsOf(facts)
    if (said !== undefined) known.set(peerId, { ...said, isAway })
    if (said !== undefined && said.shardCount !== shardCount) return null
    const { failureGroup, capacityBytes, fixed } = said ?? { failureGroup: '', capacityBytes: null, fixed: null }
    return { peerId, failureGroup, capacityBytes, fixed, isAway }
  }

  /** What members say now, and when it began to differ from what is acted on. */
  function lookAt(peerIds: readonly string[]): void {
    const members = membersOf(peerIds)
    const text = JSON.stringify(members)
    if (text === lookedText) return
    looked = members
    lookedText = text
    changedMs = now()
    pendingMs ??= changedMs
  }

  async function look(): Promise<void> {
    const peerIds = registered()
    if (peerIds === null) return
    lookAt(peerIds)
    if (pendingMs === null && saveFailed) await save()
    if (pendingMs === null || (now() - changedMs < SETTLE_MS && now() - pendingMs < SETTLE_MAX_MS)) return
    const isOverdue = now() - pendingMs >= SETTLE_MAX_MS
    const members = looked
    const assigned = await assignShardsInTurns(members, { shardCount, replicationFactor }, stopping.signal)
    if (assigned === null) return
    lookAt(registered() ?? peerIds)
    const isCurrent = looked === members
    // It took a while, and they are others by now: what is worked out holds only where that would go on for ever.
    if (!isCurrent && !isOverdue) return
    pendingMs = isCurrent ? null : changedMs
    const wanted = assigned.get(self.peerId) ?? []
    const isNew = !state.assigned || JSON.stringify(wanted) !== JSON.stringify(ranges)
    Object.assign(state, {
      members: members.length,
      away: members.filter(({ isAway }) => isAway).length,
      assigned: true
    })
    ranges = wanted
    if (isNew) {
      state.changes += 1
      state.changedAtMs = Date.now()
      const shards = wanted.reduce((sum, { start, end }) => sum + end - start + 1, 0)
      log.info({ shards, of: shardCount, members: state.members, away: state.away }, 'shards assigned')
      if (!peerIds.includes(self.peerId)) log.warn('this node is not registered: it owns no shard and forwards blobs')
      onChange()
    }
    await save()
  }

  async function save(): Promise<void> {
    const text = `${JSON.stringify({ shardCount, ranges, members: Object.fromEntries(known) })}\n`
    if (text === savedText) return
    try {
      await replaceFile(path, text)
      savedText = text
    } catch (error) {
      // Losing it costs a start that works the ranges out anew. The next look tries again.
      if (!saveFailed) log.warn({ err: error }, 'the assigned shards were not saved')
      saveFailed = true
      return
    }
    saveFailed = false
  }

  async function run(): Promise<void> {
    const { signal } = stopping
    while (!signal.aborted) {
      await look().catch(error => log.error({ err: error }, 'shards could not be assigned'))
      await pause(LOOK_EVERY_MS, signal)
    }
  }

  return {
    mode: 'auto',
    ranges: () => ranges,
    state: () => ({ ...state }),
    look,
    start: listener => {
      onChange = listener
      ended = run()
    },
    stop: async () => {
      stopping.abort()
      await ended
    }
  }
}

function factsOf({ shards, shardCount, failureGroup, shardMode, capacityBytes }: HeardFacts): Omit<Known, 'isAway'> {
  const fixed = shardMode === 'auto' ? null : [...shards]
  return { failureGroup, capacityBytes: capacityBytes ?? null, fixed, shardCount }
}

async function readSaved(path: string, log: Log): Promise<Saved | null> {
  const text = await readFile(path, 'utf8').catch(() => null)
  if (text === null) return null
  try {
    const { members, ...rest } = savedSchema.parse(JSON.parse(text))
    const read = new Map<string, Known>()
    for (const [peerId, facts] of Object.entries(members)) {
      const { data } = knownSchema.safeParse(facts)
      if (data === undefined) log.warn({ path, peerId }, 'what was saved of a member cannot be read: it is forgotten')
      else read.set(peerId, data)
    }
    return { ...rest, members: read }
  } catch {
    log.warn({ path }, 'the shards assigned before cannot be read: they are worked out anew')
    return null
  }
}
