/** Who owns which shards, as nodes say it, held against the rule by which they work it out; and what lies where by it. */
import { type AssignedMember, assignShards, type ShardRange, shardOf } from '../../node/index.ts'
import type { Host } from '../harness/runtime.ts'
import type { Story } from '../harness/scenario.ts'
import { type Acknowledged, holdersOf } from './blobs.ts'

/** As the lab's nodes are configured (compose/roles.ts). */
export const SHARD_COUNT = 1024
const CAPACITY_BYTES = 10_240 * 1024 ** 2

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

/** Every blob has so many copies at owners of its shard, and nobody else has one any more. */
export async function untilMoved(
  { check }: Story,
  name: string,
  nodes: readonly Host[],
  blobs: readonly Acknowledged[],
  { owners, replicas, withinMs }: { owners: Owners; replicas: number; withinMs: number }
): Promise<void> {
  await check.eventually(
    name,
    async () => {
      const holders = await holdersOf(nodes, blobs)
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
