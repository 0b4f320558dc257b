/**
 * `bafk…` as another name of a small blob: a raw-leaf CID is the plain hash of the bytes, which for content of one
 * block names the same bytes as our dag-pb CID. The hash is noted when such a blob is taken in, in memory and in one
 * file of lines `<hash> <cid>`; a line that is lost costs the alias and nothing else.
 */
import { createHash } from 'node:crypto'
import { appendFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import { BlobNotFoundError } from '../errors.ts'
import type { Log } from '../log.ts'
import { CID_CHUNK_BYTES, CID_TEXT_MAX, parseCid } from './cid.ts'
import { FILE_MODE, FOLDER_MODE } from './durable.ts'
import type { BlobService } from './service.types.ts'

/** Most aliases known; of more, the oldest are forgotten. Some 200 bytes of memory each. */
export const ALIASES_MAX = 200_000
/** So many times the aliases known are the most lines on disk; then the file is written anew. */
const LINES_FACTOR = 2
const RAW = 0x55
const SHA2_256 = 0x12
/** Most lines that wait for a slow disk; more are left out. */
const PENDING_MAX = 10_000
/** Hex digits kept of a hash: enough that nobody finds two blobs that share them. */
const DIGITS = 40

export interface RawAliases {
  /** The CID a text means: canonical, or what a `bafk…` stands for. @throws CidInvalidError, BlobNotFoundError */
  resolve: (text: string) => string
  /** A service that notes the aliases of what it takes in. */
  noting: (blobs: BlobService) => BlobService
  readonly size: number
  /** Resolves when all lines are written or given up. */
  flush: () => Promise<void>
}

/** Read the file below `dataDir`. @param options.max only tests ask for another cap */
export async function openRawAliases({
  dataDir,
  log,
  max = ALIASES_MAX
}: {
  dataDir: string
  log: Log
  max?: number
}): Promise<RawAliases> {
  const folder = join(dataDir, 'aliases')
  const path = join(folder, 'raw.txt')
  const known = new Map<string, string>()
  let pending: string[] = []
  let linesOnDisk = 0
  let writing: Promise<void> | null = null

  function learn(digest: string, cid: string): boolean {
    const key = digest.slice(0, DIGITS)
    if (known.has(key)) return false
    if (known.size >= max) known.delete(known.keys().next().value!)
    known.set(key, cid)
    return true
  }

  function note(digest: string, cid: string): void {
    if (!learn(digest, cid) || pending.length >= PENDING_MAX) return
    pending.push(`${digest.slice(0, DIGITS)} ${cid}\n`)
    writing ??= write().finally(() => {
      writing = null
    })
  }

  /** What comes while one write runs goes with the next: a flood of small blobs costs few. */
  async function write(): Promise<void> {
    while (pending.length > 0) {
      const waiting = pending
      pending = []
      linesOnDisk += waiting.length
      await (linesOnDisk > LINES_FACTOR * max
        ? writeAnew()
        : appendFile(path, waiting.join(''), { mode: FILE_MODE })
      ).catch(unwritten)
    }
  }

  /** All that is known, and nothing that was forgotten. */
  async function writeAnew(): Promise<void> {
    const lines = [...known].map(([digest, cid]) => `${digest} ${cid}\n`)
    await writeFile(`${path}.new`, lines.join(''), { mode: FILE_MODE })
    await rename(`${path}.new`, path)
    linesOnDisk = lines.length
  }

  const unwritten = (error: Error) => log.debug({ err: error }, 'alias not written')

  await mkdir(folder, { recursive: true, mode: FOLDER_MODE })
  const lines = await readFile(path, 'utf8').then(
    text => text.split('\n'),
    () => []
  )
  for (const line of lines) {
    const [, digest, cid] = /^([0-9a-f]{40}) (bafybei[a-z2-7]{52})$/.exec(line) ?? []
    if (digest !== undefined && cid !== undefined) learn(digest, cid)
  }
  linesOnDisk = lines.length
  if (linesOnDisk > LINES_FACTOR * max) await writeAnew().catch(unwritten)

  /** Hash the bytes as they pass, as long as they may be one block. */
  function watched(source: AsyncIterable<Uint8Array>): {
    bytes: AsyncIterable<Uint8Array>
    digest: () => string | null
  } {
    let hash: ReturnType<typeof createHash> | null = createHash('sha256')
    let sizeBytes = 0
    async function* bytes(): AsyncGenerator<Uint8Array> {
      for await (const piece of source) {
        sizeBytes += piece.length
        if (sizeBytes > CID_CHUNK_BYTES) hash = null
        hash?.update(piece)
        yield piece
      }
    }
    return { bytes: bytes(), digest: () => hash?.digest('hex') ?? null }
  }

  const isLarge = (sizeHint: number | undefined) => sizeHint !== undefined && sizeHint > CID_CHUNK_BYTES

  return {
    resolve(text) {
      const digest = rawDigest(text)
      if (digest === null) return parseCid(text)
      const cid = known.get(digest.slice(0, DIGITS))
      if (cid === undefined) throw new BlobNotFoundError(text)
      return cid
    },
    noting: blobs =>
      Object.create(blobs, {
        put: {
          value: async (source: AsyncIterable<Uint8Array>, options: Parameters<BlobService['put']>[1]) => {
            if (isLarge(options.sizeHint)) return await blobs.put(source, options)
            const { bytes, digest } = watched(source)
            const result = await blobs.put(bytes, options)
            const hash = digest()
            if (hash !== null) note(hash, result.cid)
            return result
          }
        },
        putReplica: {
          value: async (...[cid, mimeType, source, options]: Parameters<BlobService['putReplica']>) => {
            if (isLarge(options.sizeHint)) return await blobs.putReplica(cid, mimeType, source, options)
            const { bytes, digest } = watched(source)
            const result = await blobs.putReplica(cid, mimeType, bytes, options)
            // What is here already was not read to its end.
            const hash = result.alreadyStored ? null : digest()
            if (hash !== null) note(hash, parseCid(cid))
            return result
          }
        }
      }) as BlobService,
    get size() {
      return known.size
    },
    async flush() {
      await writing
    }
  }
}

/** The hash of a raw-leaf CID in hex, null for any other text. */
function rawDigest(text: string): string | null {
  // Ours are by far the most.
  if (text.startsWith('bafybei') || text.length > CID_TEXT_MAX) return null
  try {
    const { code, multihash } = CID.parse(text)
    return code === RAW && multihash.code === SHA2_256 ? Buffer.from(multihash.digest).toString('hex') : null
  } catch {
    return null
  }
}
