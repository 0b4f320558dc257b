/** What the fault programs and tests share: blobs from seeds, and damage on disk. */
import { createHash, randomInt } from 'node:crypto'
import { mkdir, open, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cidOf } from '../blobs/cid.ts'
import { TEMP_PREFIX } from '../blobs/stage.ts'
import { openStore } from '../blobs/store.ts'
import type { BlobStore } from '../blobs/store.types.ts'
import { silentLog } from '../log.ts'

/** Of the stores that fault programs write. */
export const WRITER_SECRET = Buffer.alloc(32, 7)
export const WRITER_CAPACITY_BYTES = 1024 * 1024 * 1024

/** Packs so small that a run fills many and has something to compact. */
export const WRITER_PACKS = {
  packBytes: 16 * 1024,
  batchBytes: 16 * 1024,
  shortPacks: 4,
  compactBytesPerSecond: 0,
  reserveBytes: 16 * 1024
}

const PIECE_BYTES = 64 * 1024
const MIB = 1024 * 1024

/** Store bytes. @returns the CID */
export async function put(store: BlobStore, bytes: Uint8Array): Promise<string> {
  const staged = await store.stage(inPieces(bytes), { maxBytes: 64 * MIB, sizeHint: bytes.length })
  await staged.commit()
  return staged.cid
}

/** The bytes as a body arrives. */
export async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES)
}

/** The store of a fault program. */
export function openWriterStore(dataDir: string, { packed }: { packed: boolean }): Promise<BlobStore> {
  const options = { dataDir, capacityBytes: WRITER_CAPACITY_BYTES, secret: WRITER_SECRET, log: silentLog() }
  return openStore({ ...options, packSmall: packed, packLimits: WRITER_PACKS })
}

/** Bytes that only `seed` decides, so that whoever knows it can tell whether they came back right. */
export function bytesOf(seed: string, sizeBytes: number): Buffer {
  const blocks: Buffer[] = []
  for (let i = 0; blocks.length * 64 < sizeBytes; i += 1)
    blocks.push(createHash('sha512').update(`${seed}:${i}`).digest())
  return Buffer.concat(blocks).subarray(0, sizeBytes)
}

/** Flip one bit of a file, at a random place unless one is given. */
export async function flipBit(path: string, bit?: number): Promise<void> {
  const file = await open(path, 'r+')
  try {
    const { size } = await file.stat()
    const at = bit ?? randomInt(size * 8)
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at >> 3)
    byte[0]! ^= 1 << (at & 7)
    await file.write(byte, 0, 1, at >> 3)
  } finally {
    await file.close()
  }
}

/** What a restart found. */
export interface Restart {
  /** Acknowledged blobs that are not there, or not with their bytes. */
  lost: string[]
  /** Anything the store would serve, acknowledged or not, that is not right. */
  wrong: string[]
  /** Copies the start had to set aside, and folders without a blob. */
  torn: number
  /** Temporary folders the crash left; the start removed them. */
  sweptFolders: number
  /** What is still in `tmp/` after the start. */
  leftFolders: number
  /** CIDs the store has. */
  stored: string[]
}

/** Open the store again, as a start does, and read everything. @param acknowledged CIDs that must be there */
export async function restart(
  dataDir: string,
  acknowledged: Iterable<string>,
  options: { packed: boolean }
): Promise<Restart> {
  const ours = async () =>
    (await readdir(join(dataDir, 'tmp')).catch(() => [])).filter(name => name.startsWith(TEMP_PREFIX))
  const sweptFolders = (await ours()).length
  const store = await openWriterStore(dataDir, options)
  const torn = store.stats().quarantinedBlobs + (await store.setAsideOrphans())
  const wrong: string[] = []
  for (const cid of [...store.list()]) {
    const actual = await cidOf(store.read(cid)).catch(() => null)
    if (actual !== cid) wrong.push(cid)
  }
  const lost = [...acknowledged].filter(cid => !store.has(cid) || wrong.includes(cid))
  const stored = [...store.list()]
  await store.close()
  return { lost, wrong, torn, sweptFolders, leftFolders: (await ours()).length, stored }
}

/** Write a command's counts to `reports/faults/<name>.json`. */
export async function writeReport(name: string, report: Record<string, unknown>): Promise<string> {
  const folder = fileURLToPath(new URL('../../reports/faults', import.meta.url))
  await mkdir(folder, { recursive: true })
  const path = join(folder, `${name}.json`)
  await writeFile(path, `${JSON.stringify(report, null, 2)}\n`)
  return path
}
