/** Who owns which shards, as nodes say it, held against the rule by which they work it out; and what lies where by it. */
import { setTimeout as delay } from 'node:timers/promises'
import { type AssignedMember, assignShards, type ShardRange, shardOf } from '../../node/index.ts'
import type { Host } from '../harness/runtime.ts'
import type { Story } from '../harness/scenario.ts'
import { type Acknowledged, holdersOf } from './blobs.ts'

/** As the lab's nodes are configured (compose/roles.ts). */
export const SHARD_COUNT = 1024
const CAPACITY_BYTES = 10_240 * 1024 ** 2

/** Between two looks at all disks: each starts a program in every host, and is not to be the load itself. */
const LOOK_EVERY_MS = 2000

/** Owners of each shard by name. */
export type Owners = ReadonlyArray<ReadonlySet<string>>

/** What moved between two pictures. */
export interface Moves {
  /** Ownerships that somebody has now and had not before, by name. */
  gained: Record<string, number>
  /** The same of those given up. */
  lost: Record<string, number>
}

async function rangesOf(host: Host, signal: AbortSignal): Promise<ShardRange[]> {
  const response = await fetch(`${host.control}/shards`, { signal })
  return ((await response.json()) as { shards: ShardRange[] }).shards
}

/** Every node, member or not, says of itself what follows from these members. */
export async function untilAssigned(
  { check, signal }: Story,
  name: string,
  nodes: readonly Host[],
  members: readonly Host[],
  { replicas, withinMs }: { replicas: number; withinMs: number }
): Promise<Owners> {
  const known = members.map(({ planned }): AssignedMember => {
    const { identity, nat, name } = planned
    const failureGroup = nat ?? name
    return { peerId: identity!.peerId, failureGroup, capacityBytes: CAPACITY_BYTES, fixed: null, isAway: false }
  })
  const rule = assignShards(known, { shardCount: SHARD_COUNT, replicationFactor: replicas })
  await check.eventually(
    name,
    async () => {
      const said = await Promise.all(nodes.map(async node => await rangesOf(node, signal)))
      return nodes.flatMap(({ planned }, n) => {
        const right = JSON.stringify(said[n]) === JSON.stringify(rule.get(planned.identity!.peerId) ?? [])
        return right ? [] : [planned.name]
      })
    },
    others => others.length === 0,
    { withinMs }
  )
  const owners = Array.from({ length: SHARD_COUNT }, () => new Set<string>())
  for (const { planned } of members) {
    for (const { start, end } of rule.get(planned.identity!.peerId) ?? []) {
      for (let shard = start; shard <= end; shard++) owners[shard]!.add(planned.name)
    }
  }
  return owners
}

/** What nodes own reached every other node: each knows an owner of every shard. */
export async function untilHeard({ check, signal }: Story, name: string, nodes: readonly Host[]): Promise<void> {
  await check.eventually(
    name,
    async () =>
      await Promise.all(
        nodes.map(async ({ control }) => {
          const response = await fetch(`${control}/network/stats`, { signal })
          return ((await response.json()) as { shardsWithoutOwner: number }).shardsWithoutOwner
        })
      ),
    without => without.every(count => count === 0)
  )
}

export function movesBetween(before: Owners, after: Owners): Moves {
  const moves: Moves = { gained: {}, lost: {} }
  const count = (into: Record<string, number>, names: ReadonlySet<string>, not: ReadonlySet<string>): void => {
    for (const name of names) if (!not.has(name)) into[name] = (into[name] ?? 0) + 1
  }
  for (const [shard, owners] of after.entries()) {
    count(moves.gained, owners, before[shard]!)
    count(moves.lost, before[shard]!, owners)
  }
  return moves
}

/** Looks at all disks, and remembers which blobs had all their copies once. */
export interface CopyWatch {
  /** Holders of each blob by name, as they are now. */
  look: (nodes: readonly Host[], blobs: readonly Acknowledged[]) => Promise<Map<string, string[]>>
  /** Blobs that had all their copies and then, in two looks one after another, fewer: a move deleted before it copied. */
  fell: () => string[]
  /** A node died, which is a loss and no move: a blob counts again when it has all its copies again. */
  startAnew: () => void
}

/** Two looks, because one is not a moment: a blob may move behind it from a disk not looked at yet to one that was. */
export function watchCopies(replicas: number): CopyWatch {
  const whole = new Set<string>()
  const fell = new Set<string>()
  let fewer = new Set<string>()
  return {
    async look(nodes, blobs) {
      const holders = await holdersOf(nodes, blobs)
      const now = new Set<string>()
      for (const [cid, { length }] of holders) {
        if (length >= replicas) whole.add(cid)
        else if (whole.has(cid)) now.add(cid)
      }
      for (const cid of now) if (fewer.has(cid)) fell.add(cid)
      fewer = now
      return holders
    },
    fell: () => [...fell],
    startAnew() {
      whole.clear()
      fewer.clear()
    }
  }
}

/** Every blob has so many copies at owners of its shard, and nobody else has one any more. */
export async function untilMoved(
  { check, signal }: Story,
  name: string,
  nodes: readonly Host[],
  blobs: readonly Acknowledged[],
  { watch, owners, replicas, withinMs }: { watch: CopyWatch; owners: Owners; replicas: number; withinMs: number }
): Promise<void> {
  let looks = 0
  await check.eventually(
    name,
    async () => {
      if (looks++ > 0) await delay(LOOK_EVERY_MS, undefined, { signal })
      const holders = await watch.look(nodes, blobs)
      const seen = [...holders].map(([cid, names]) => {
        const owning = owners[shardOf(cid, SHARD_COUNT)]!
        return {
          short: names.filter(at => owning.has(at)).length < replicas,
          foreign: names.some(at => !owning.has(at))
        }
      })
      return {
        blobs: seen.length,
        short: seen.filter(({ short }) => short).length,
        foreign: seen.filter(({ foreign }) => foreign).length
      }
    },
    ({ short, foreign }) => short === 0 && foreign === 0,
    { withinMs }
  )
}
