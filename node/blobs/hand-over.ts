/**
 * Moving a blob of a shard that is not this node's any more, because its ranges were changed. The copy here goes when as
 * many owners as are wanted have said themselves that they own the shard and have the blob on disk, and have proved it
 * where the word of a member is worth nothing. What we believe of their ranges is not enough: several nodes may give up one
 * shard at the same time, each trusting in the others.
 */
import type { Log } from '../log.ts'
import type { Proves } from '../proofs/proves.ts'
import type { Leaving } from './leaving.ts'
import type { BlobNetwork } from './network.types.ts'
import { placementOrder } from './placement.ts'
import type { ReplicaSource, Replicator } from './replicate.ts'
import type { BlobStore } from './store.types.ts'

export interface HandOverOptions {
  store: Pick<BlobStore, 'delete'>
  network: Pick<BlobNetwork, 'self' | 'members'>
  replicator: Pick<Replicator, 'start'>
  replicationFactor: number
  membersKnown: () => boolean
  /** Whether this node owns its shard again meanwhile. */
  isOwn: (cid: string) => boolean
  isPinned: (cid: string) => boolean
  /** Left out: their word is enough. */
  proves?: Proves | undefined
  leaving: Leaving
  /** Which of these peers say now that they have it. */
  confirm: (cid: string, peerIds: readonly string[]) => Promise<string[]>
  /** Ends the waits. */
  signal: AbortSignal
  log: Log
}

/** Answers whether nothing is left to do; false: try again later. A pinned copy stays when the owners have theirs. */
export function createHandOver(options: HandOverOptions): (blob: ReplicaSource) => Promise<boolean> {
  const { store, network, replicator, replicationFactor, membersKnown, isOwn, isPinned, proves, signal, log } = options
  const { leaving, confirm } = options
  return async blob => {
    const { cid } = blob
    const owners = placementOrder(cid, network.members()).filter(member => member.peerId !== network.self)
    const reachable = owners.filter(member => member.reachable).map(member => member.peerId)
    // The factor itself, not the number of owners there happen to be: after a start others may not be known yet.
    const wanted = replicationFactor
    if (!membersKnown() || reachable.length < wanted) return false
    const confirmed: string[] = []
    // Who only says that it has the blob makes room for the next owner, or one liar would keep the copy here for ever.
    for (let asked = reachable; confirmed.length < wanted; ) {
      const missing = wanted - confirmed.length
      const said = await replicator.start(blob, asked, missing, missing).settled
      if (said.length < missing) return false
      const proofs = await Promise.all(
        said.map(async peer => (!proves || (await proves(peer, cid, signal)) ? [peer] : []))
      )
      confirmed.push(...proofs.flat())
      asked = asked.filter(peer => !said.includes(peer))
    }
    // Asked once more while this copy is not vouched for: an owner may be about to drop its own, trusting in this one.
    const done = await leaving.run(cid, async () => {
      if ((await confirm(cid, confirmed)).length < wanted) return false
      const isGone = await store.delete(cid, () => !isPinned(cid) && !isOwn(cid))
      if (isGone) log.info({ cid, peers: confirmed }, 'handed over to the owners of its shard')
      return true
    })
    return done ?? false
  }
}
