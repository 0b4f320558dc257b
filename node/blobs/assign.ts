/**
 * Which member owns which shards where operators do not say it (NODE_SHARDS=auto). Pure: every node works out the same
 * answer from the same members. Rendezvous hashing, so that a member that comes takes over only what it will own itself,
 * one that goes leaves only what it owned, and nothing moves between the others.
 */
import { createHash } from 'node:crypto'
import { setImmediate as othersTurn } from 'node:timers/promises'
import { mergeRanges, type ShardRange } from './shards.ts'

/**
 * Parts of the shards that are assigned as one: more shards than this come in runs. Each node announces its ranges, and
 * those of all nodes together are at most this, times the owners of a shard.
 */
export const SLOTS_MAX = 1024
/** Owners of a shard beyond REPLICATION_FACTOR: the loss of one is repaired at once, without a change of ranges. */
export const SPARE_OWNERS = 1
/** Room a member is taken to have until it was heard: the default of MAX_STORAGE_MB. */
export const UNHEARD_CAPACITY_BYTES = 10 * 1024 ** 3

/**
 * A member counts with at most so many times the room of the median member: the room is its own word for it, and a few
 * that say a lot would be the only owners of everything. It is a power of two, as the rooms themselves are counted.
 */
export const WEIGHT_OF_MEDIAN_MAX = 8

/** Others have a turn after so long. */
const TURN_MS = 10
const GIB = 1024 ** 3
/** Room below and above these counts as these. */
const CAPACITY_BYTES_MIN = GIB / 16
const CAPACITY_BYTES_MAX = 16 * 1024 * GIB
const SCORE_BYTES = 6
const SCORES = 2 ** (8 * SCORE_BYTES)
const DOMAIN = 'warren shard owner v1\n'

/** An active member of the registry, as far as it is known. */
export interface AssignedMember {
  peerId: string
  /** Empty: alone, or not known yet. */
  failureGroup: string
  /** null: not known yet. */
  capacityBytes: number | null
  /** Ranges its operator gave it; null: it takes what it is assigned. */
  fixed: readonly ShardRange[] | null
  /** Silent for long. It keeps its shards, and others own them besides. */
  isAway: boolean
}

export interface AssignOptions {
  shardCount: number
  replicationFactor: number
}

/**
 * Ranges of each member that takes what it is assigned, sorted and merged; empty for one that gets none.
 *
 * Each shard has `replicationFactor + SPARE_OWNERS` owners who are not away, or all of them where they are fewer; a
 * failure group comes up twice only after each had its turn. Members with fixed ranges count as owners of those. A
 * member's share is proportional to its room, rounded to a power of two so that small changes move nothing, and at most
 * WEIGHT_OF_MEDIAN_MAX times the median; between equals it is even but for chance: within five times the square root of
 * the share, in slots. Where the median passes a power of two, the shares of who is above that bound change with it.
 */
export function assignShards(members: readonly AssignedMember[], options: AssignOptions): Map<string, ShardRange[]> {
  const work = assigning(members, options)
  for (;;) {
    const step = work.next()
    if (step.done) return step.value
  }
}

/** The same, and others have their turns meanwhile: a thousand members take long. null: the signal ended it. */
export async function assignShardsInTurns(
  members: readonly AssignedMember[],
  options: AssignOptions,
  signal: AbortSignal
): Promise<Map<string, ShardRange[]> | null> {
  const work = assigning(members, options)
  let turnEndsMs = performance.now() + TURN_MS
  while (!signal.aborted) {
    const step = work.next()
    if (step.done) return step.value
    if (performance.now() < turnEndsMs) continue
    await othersTurn()
    turnEndsMs = performance.now() + TURN_MS
  }
  return null
}

/** Pauses after each member and each slot. */
function* assigning(
  members: readonly AssignedMember[],
  { shardCount, replicationFactor }: AssignOptions
): Generator<void, Map<string, ShardRange[]>> {
  const slotCount = Math.min(shardCount, SLOTS_MAX)
  const slots = Array.from({ length: slotCount }, (_, n) => ({
    start: Math.floor((n * shardCount) / slotCount),
    end: Math.floor(((n + 1) * shardCount) / slotCount) - 1
  }))
  const wanted = replicationFactor + SPARE_OWNERS
  const weightMax = WEIGHT_OF_MEDIAN_MAX * medianWeight(members)
  const candidates: Candidate[] = []
  for (const member of [...members].sort((a, b) => (a.peerId < b.peerId ? -1 : 1))) {
    candidates.push(candidateOf(member, slots, weightMax))
    yield
  }
  const present = candidates.filter(({ member }) => !member.isAway)
  const ranges = new Map(candidates.filter(isAssigned).map(({ member }) => [member.peerId, [] as ShardRange[]]))
  for (const [n, slot] of slots.entries()) {
    const owners = ownersOf(n, present, wanted)
    // Who is away keeps what it had when all were here: it comes back to its own blobs.
    if (present.length < candidates.length) {
      owners.push(...ownersOf(n, candidates, wanted).filter(({ member }) => member.isAway))
    }
    for (const { member } of owners) ranges.get(member.peerId)?.push({ ...slot })
    yield
  }
  return new Map([...ranges].map(([peerId, owned]) => [peerId, mergeRanges(owned)]))
}

interface Candidate {
  member: AssignedMember
  group: string
  /** By slot: the lower goes first; Infinity: never. */
  keys: Float64Array
}

const isAssigned = ({ member }: Candidate): boolean => member.fixed === null

function candidateOf(member: AssignedMember, slots: readonly ShardRange[], weightMax: number): Candidate {
  const { peerId, failureGroup, fixed } = member
  const outputLength = slots.length * SCORE_BYTES
  const bytes = createHash('shake256', { outputLength }).update(`${DOMAIN}${peerId}`, 'utf8').digest()
  const fixedRanges = fixed === null ? null : mergeRanges(fixed)
  const weight = Math.min(weightMax, weightOf(member))
  const keys = Float64Array.from(slots, ({ start, end }, n) => {
    const score = bytes.readUIntBE(n * SCORE_BYTES, SCORE_BYTES)
    // The least of such numbers is each one's in proportion to its weight.
    if (fixedRanges === null) return -Math.log((score + 0.5) / SCORES) / weight
    // Owners by their operators' word come before those that can be chosen.
    return fixedRanges.some(range => range.start <= start && end <= range.end)
      ? score - SCORES
      : Number.POSITIVE_INFINITY
  })
  return { member, group: failureGroup === '' ? `node:${peerId}` : `group:${failureGroup}`, keys }
}

function weightOf({ capacityBytes }: AssignedMember): number {
  const bytes = capacityBytes ?? UNHEARD_CAPACITY_BYTES
  const bounded = Math.min(CAPACITY_BYTES_MAX, Math.max(CAPACITY_BYTES_MIN, bytes))
  return 2 ** Math.round(Math.log2(bounded / GIB))
}

/** Of those who take what they are assigned, the lower of two in the middle; who is away counts, so that it sets nothing. */
function medianWeight(members: readonly AssignedMember[]): number {
  const weights = members.filter(({ fixed }) => fixed === null).map(weightOf)
  return weights.sort((a, b) => a - b)[Math.floor((weights.length - 1) / 2)] ?? 1
}

/** The first `wanted` candidates by key, each group once before one twice. */
function ownersOf(slot: number, candidates: readonly Candidate[], wanted: number): Candidate[] {
  const order = candidates
    .filter(({ keys }) => keys[slot] !== Number.POSITIVE_INFINITY)
    .sort((a, b) => a.keys[slot]! - b.keys[slot]!)
  const turns = new Map<string, number>()
  const rounds: Candidate[][] = []
  for (const candidate of order) {
    const turn = turns.get(candidate.group) ?? 0
    turns.set(candidate.group, turn + 1)
    rounds[turn] ??= []
    rounds[turn].push(candidate)
  }
  return rounds.flat().slice(0, wanted)
}
