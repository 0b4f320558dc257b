/** Putting replicas of a blob on other owners of its shard. */
import PQueue from 'p-queue'
import type { Log } from '../log.ts'
import type { BlobMember, BlobNetwork } from './network.types.ts'
import { placementOrder } from './placement.ts'
import type { BlobStore } from './store.types.ts'

/** Most replicas sent at once by one node; more wait. */
export const OUTBOUND_REPLICAS_AT_ONCE = 24
/** Owners tried in the place of those that refused, for one blob at one time. */
export const REPLACEMENTS_MAX = 6
/** Added to REPLICATION_TIMEOUT_MS for every MiB: a slow uplink is not a dead peer. */
export const REPLICATION_MS_PER_MIB = 10_000

const MIB = 1024 * 1024

/** A blob in the store that is to be replicated. */
export interface ReplicaSource {
  cid: string
  sizeBytes: number
  mimeType: string
}

/** One round of replication under way. */
export interface ReplicationRound {
  /** Replicas on disk elsewhere, as soon as `enough` are, or all that could be had. */
  quorum: Promise<string[]>
  /** The same when nothing of the round is under way any more. */
  settled: Promise<string[]>
}

export interface Replicator {
  /**
   * Put `wanted` replicas on the candidates, in parallel, in their order; one that fails is replaced by the next.
   * @param enough how many end the wait of `quorum`
   */
  start: (blob: ReplicaSource, candidates: readonly string[], wanted: number, enough: number) => ReplicationRound
  /** Whom to ask for replicas, in order: owners without this node, those heard of lately first. */
  candidates: (cid: string) => BlobMember[]
}

export interface ReplicatorOptions {
  store: BlobStore
  network: BlobNetwork
  /** Base time of one attempt, milliseconds. */
  timeoutMs: number
  log: Log
  /** Ends everything. */
  signal: AbortSignal
}

export function createReplicator({ store, network, timeoutMs, log, signal }: ReplicatorOptions): Replicator {
  const outbound = new PQueue({ concurrency: OUTBOUND_REPLICAS_AT_ONCE })

  async function send(blob: ReplicaSource, peerId: string): Promise<void> {
    const deadlineMs = timeoutMs + Math.ceil((blob.sizeBytes / MIB) * REPLICATION_MS_PER_MIB)
    const startedMs = performance.now()
    const options = { signal: AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]) }
    const { alreadyStored } = await network.replicate(
      peerId,
      { ...blob, open: offset => store.read(blob.cid, { offset }) },
      options
    )
    const tookMs = Math.round(performance.now() - startedMs)
    log.debug({ cid: blob.cid, peerId, alreadyStored, tookMs }, 'replica stored')
  }

  return {
    candidates: cid => {
      const members = network.members()
      const self = members.filter(member => member.peerId === network.self)
      const order = placementOrder(cid, members, self)
      return [...order.filter(member => member.reachable), ...order.filter(member => !member.reachable)]
    },

    start: (blob, candidates, wanted, enough) => {
      const confirmed: string[] = []
      const quorum = Promise.withResolvers<string[]>()
      const queue = candidates.slice(0, wanted + REPLACEMENTS_MAX)
      if (enough <= 0) quorum.resolve(confirmed)
      const worker = async (): Promise<void> => {
        for (let peerId = queue.shift(); peerId !== undefined && !signal.aborted; peerId = queue.shift()) {
          const target = peerId
          try {
            await outbound.add(() => send(blob, target))
            confirmed.push(target)
            if (confirmed.length >= enough) quorum.resolve([...confirmed])
            return
          } catch (error) {
            log.warn({ cid: blob.cid, peerId: target, err: error }, 'replica refused')
          }
        }
      }
      const settled = Promise.all(Array.from({ length: wanted }, worker)).then(() => {
        quorum.resolve([...confirmed])
        return confirmed
      })
      return { quorum: quorum.promise, settled }
    }
  }
}
