/**
 * Which nodes should hold a blob, in order. Pure: rendezvous hashing, so that every node works out the same order from
 * the same registry, and a node that comes or goes moves only its own share.
 */
import { createHash } from 'node:crypto'
import { ownsShard, type ShardRange, shardOf } from './shards.ts'

/** What placement needs to know of a node. */
export interface PlacementCandidate {
  nodeId: string
  shards: readonly ShardRange[]
  shardCount: number
  /** Nodes with the same label are likely to fail together (a site, a NAT). Empty: alone. */
  failureGroup: string
}

/**
 * The owners of the blob's shard in the order they should hold it: by SHA-256("cid:nodeId"), but a failure group
 * comes up again only after every other group had its turn.
 * @param holders nodes that have it already: left out of the answer, and their groups count as served once each
 */
export function placementOrder<T extends PlacementCandidate>(
  cid: string,
  candidates: readonly T[],
  holders: readonly PlacementCandidate[] = []
): T[] {
  const held = new Set(holders.map(holder => holder.nodeId))
  const turns = new Map<string, number>()
  for (const holder of holders) nextTurn(turns, holder)
  return candidates
    .filter(node => !held.has(node.nodeId) && ownsShard(node.shards, shardOf(cid, node.shardCount)))
    .map(node => ({ node, score: scoreOf(cid, node.nodeId) }))
    .sort((a, b) => (a.score < b.score ? -1 : a.score > b.score ? 1 : 0))
    .map(({ node }, index) => ({ node, index, turn: nextTurn(turns, node) }))
    .sort((a, b) => a.turn - b.turn || a.index - b.index)
    .map(({ node }) => node)
}

function scoreOf(cid: string, nodeId: string): string {
  return createHash('sha256').update(`${cid}:${nodeId}`, 'utf8').digest('hex')
}

function nextTurn(turns: Map<string, number>, node: PlacementCandidate): number {
  const group = node.failureGroup === '' ? `node:${node.nodeId}` : `group:${node.failureGroup}`
  const turn = turns.get(group) ?? 0
  turns.set(group, turn + 1)
  return turn
}
