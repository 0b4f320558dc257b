/** What keeps blobs, put together: pins, block list, collection, scrub. */
import { parseCid } from '../blobs/cid.ts'
import type { Leaving } from '../blobs/leaving.ts'
import type { BlobService } from '../blobs/service.types.ts'
import type { BlobStore } from '../blobs/store.types.ts'
import { BlobLeavingError, BlobNotFoundError, BlobPinnedError, UnderReplicatedError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Network } from '../net/network.ts'
import type { Proves } from '../proofs/proves.ts'
import type { BlockList } from './block-list.ts'
import { type Collector, createCollector, type GcConfig } from './collector.ts'
import { openPins, type Pins } from './pins.ts'
import { type Scrub, startScrub } from './scrub.ts'

/** The keeping part of a node's configuration. */
export interface KeepConfig {
  gc: GcConfig
  scrub: { intervalMs: number; bytesPerSecond: number }
  blockedContent: boolean
  /** null: `keys/admin.token` below DATA_DIR. */
  adminTokenFile: string | null
}

export interface Keeping {
  pins: Pins
  blocked: BlockList
  collector: Collector
  scrub: Scrub
  /**
   * Delete one blob on this node. Without force only when enough other nodes answer that they hold it, and prove it with
   * GC_VERIFY_PROOFS.
   * @throws BlobNotFoundError, BlobPinnedError, UnderReplicatedError
   */
  deleteBlob: (cid: string, options: { force: boolean; signal?: AbortSignal }) => Promise<{ sizeBytes: number }>
  stop: () => Promise<void>
}

export interface KeepingOptions {
  config: KeepConfig
  dataDir: string
  store: BlobStore
  blobs: BlobService
  network: Network
  /** The same as the blob service's. */
  leaving: Leaving
  /** Whether a peer proves that it has all the bytes. */
  proves: Proves
  blocked: BlockList
  replicationFactor: number
  membersKnown: () => boolean
  metrics: Metrics
  log: Log
}

export async function startKeeping(options: KeepingOptions): Promise<Keeping> {
  const {
    config,
    dataDir,
    store,
    blobs,
    network,
    leaving,
    proves,
    blocked,
    replicationFactor,
    membersKnown,
    metrics,
    log
  } = options
  const pins = await openPins({ dataDir, store, blobs })
  if (config.gc.enabled && !config.gc.verifyReplicas) {
    log.warn('GC_VERIFY_REPLICAS is false: blobs go by age and room even when this is their last copy')
  }
  const collector = createCollector({
    config: config.gc,
    dataDir,
    store,
    blobs,
    network,
    leaving,
    proves,
    pins,
    replicationFactor,
    membersKnown,
    log
  })
  const scrub = await startScrub({ dataDir, store, ...config.scrub, log })

  /** The other nodes whose copy counts. */
  async function holdersElsewhere(cid: string, signal = new AbortController().signal): Promise<string[]> {
    const { nodes } = await blobs.replication(cid, signal)
    const others = nodes.filter(peerId => peerId !== network.self)
    if (!config.gc.verifyProofs) return others
    const proofs = await Promise.all(others.map(async peer => ((await proves(peer, cid, signal)) ? [peer] : [])))
    return proofs.flat()
  }

  /** Whether there was one. The others are asked once more while this copy is not vouched for, see `Leaving`. */
  async function deleteSpare(cid: string, trusted: readonly string[], signal?: AbortSignal): Promise<boolean> {
    const gone = await leaving.run(cid, async () => {
      const sure = await blobs.confirm(cid, trusted, signal)
      if (sure.length < replicationFactor) throw new UnderReplicatedError(cid, sure.length, replicationFactor)
      return await store.delete(cid, () => !pins.has(cid))
    })
    if (gone === null) throw new BlobLeavingError(cid)
    return gone
  }

  metrics.gauge('warren_pins', 'Pinned blobs', [], () => pins.count)
  metrics.gauge('warren_blocked', 'CIDs on the block list', [], () => blocked.count)
  metrics.counter('warren_collected_blobs_total', 'Copies collected', [], () => collector.status().removedBlobs)
  metrics.counter('warren_collected_bytes_total', 'Bytes collected', [], () => collector.status().freedBytes)
  metrics.gauge('warren_scrub_checked', 'Blobs checked in this scrub pass', [], () => scrub.integrity().checked)
  metrics.gauge('warren_scrub_failed', 'Damaged blobs found in this scrub pass', [], () => scrub.integrity().failed)
  metrics.gauge('warren_blobs_unhealed', 'Damaged blobs without a good copy yet', [], () => blobs.unhealed)

  return {
    pins,
    blocked,
    collector,
    scrub,
    deleteBlob: async (cidText, { force, signal }) => {
      const cid = parseCid(cidText)
      const stored = store.has(cid) ? await store.stat(cid).catch(() => null) : null
      if (!store.has(cid)) throw new BlobNotFoundError(cid)
      let trusted: string[] = []
      if (!force) {
        if (pins.has(cid)) throw new BlobPinnedError(cid)
        const others = await holdersElsewhere(cid, signal)
        // The factor itself, not the number of owners there happen to be: a node alone keeps what it has.
        if (others.length < replicationFactor) throw new UnderReplicatedError(cid, others.length, replicationFactor)
        trusted = others
      }
      const gone = force ? await store.delete(cid) : await deleteSpare(cid, trusted, signal)
      if (!gone) throw pins.has(cid) && !force ? new BlobPinnedError(cid) : new BlobNotFoundError(cid)
      if (force) await pins.remove(cid)
      log.warn({ cid, force }, 'blob deleted by the operator')
      return { sizeBytes: stored?.sizeBytes ?? 0 }
    },
    stop: async () => {
      await Promise.all([collector.stop(), scrub.stop()])
    }
  }
}
