/** Reading one stored blob, from its folder or from its pack: metadata first, then chunk by chunk, each tag checked. */
import { join } from 'node:path'
import type PQueue from 'p-queue'
import { readKeptDag, rebuildDag } from './leaf-digests.ts'
import type { SealedBlob } from './pack/packed-blobs.ts'
import type { RecentCopy } from './recent-copies.ts'
import { type OpenedMeta, openChunk, openMeta, SEAL_CHUNK_BYTES, SealBrokenError, type SealSecrets } from './seal.ts'
import { readSealed, readSealedBytes } from './sealed-file.ts'
import { readSealedSpan } from './sealed-span.ts'
import type { OpenBlob, ReadRange } from './store.types.ts'
import { hasText, readText } from './text-file.ts'

export interface OpenBlobOptions {
  cid: string
  /** The size that the index knows. */
  sizeBytes: number
  /** `blobs/<cid>`. */
  folder: string
  /** Its record, where it is packed. */
  packed: (() => Promise<SealedBlob>) | null
  secrets: SealSecrets
  /** What is remembered of this copy; null: everything is read. */
  recent: RecentCopy | null
  /** Trees made from all bytes of a blob. */
  rebuilds: PQueue
  /** Run a read; what it throws of damage sets the copy aside and leaves as BlobCorruptError. */
  guard: <T>(work: () => Promise<T>) => Promise<T>
}

/** Check the metadata and answer how to read the rest. @throws what `guard` throws */
export async function openBlob(options: OpenBlobOptions): Promise<OpenBlob> {
  const { cid, folder, packed, secrets, recent, rebuilds, guard } = options
  const readMeta = async (): Promise<OpenedMeta & { record: SealedBlob | null }> => {
    const path = join(folder, 'meta.json')
    const checked = recent?.checked
    if (checked && recent.metaRead.isWarm() && hasText(path, checked.text)) {
      recent.metaRead.note()
      return { ...checked.opened, record: null }
    }
    const found = packed ? await packed() : null
    const text = found ? found.meta.toString('utf8') : await readText(path)
    const opened = openMeta(secrets, cid, text)
    if (opened.meta.sizeBytes !== options.sizeBytes) throw new SealBrokenError('the data file has a wrong size')
    if (recent) {
      recent.checked = { text: Buffer.from(text), opened }
      recent.metaRead.note()
    }
    return { ...opened, record: found }
  }
  const { meta, key, record } = await guard(readMeta)
  const { sizeBytes, mimeType, createdAtMs } = meta
  const chunksOf = (range: ReadRange) =>
    record ? readSealedBytes(record.data, key, range) : readSealed(join(folder, 'data'), key, sizeBytes, range)

  async function* read(range: ReadRange = {}): AsyncGenerator<Uint8Array> {
    const chunks = chunksOf(range)
    try {
      for (;;) {
        const next = await guard(() => chunks.next())
        if (next.done) return
        yield next.value
      }
    } finally {
      await chunks.return(undefined)
    }
  }

  const span: OpenBlob['span'] = (offset, end) =>
    guard(async () => {
      if (record) return [openChunk(key, 0, true, record.data).subarray(offset, end)]
      const isWarm = recent?.dataRead.isWarm() ?? false
      const pieces = await readSealedSpan(join(folder, 'data'), key, { sizeBytes, offset, end }, { isWarm })
      if (sizeBytes <= SEAL_CHUNK_BYTES) recent?.dataRead.note()
      return pieces
    })

  const place = { folder, cid, sizeBytes, key }
  const dag: OpenBlob['dag'] = async ({ signal } = {}) =>
    (await readKeptDag(place)) ??
    (await rebuilds.add(async () => {
      signal?.throwIfAborted()
      // Somebody who waited before may have made it.
      const kept = await readKeptDag(place)
      return kept ?? (await guard(() => rebuildDag(place, read({ signal }))))
    }))
  return { cid, sizeBytes, mimeType, createdAtMs, read, span, dag }
}
