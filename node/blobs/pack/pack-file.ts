/**
 * One pack on disk: `packs/<number>.pack`, records one behind the other, and beside a closed one `<number>.idx`, the
 * headers of its records, so that a start need not read the blobs. An index that is missing or damaged is made again from
 * its pack, so it is not synced.
 *
 * An index: `WRPKIDX1`, bytes of the pack it covers (6 bytes), then rows of an offset (4 bytes) and the record's header (64),
 * a CRC-32 of all before. What a pack has behind the covered bytes was never acknowledged and is never read.
 */
import { type FileHandle, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { writeSynced } from '../durable.ts'
import {
  bodyHolds,
  RECORD_BODY_MAX,
  RECORD_HEADER_BYTES,
  RECORD_MAGIC,
  type RecordHeader,
  readHeader,
  recordAt,
  recordBytes
} from './record.ts'

/** Bytes read at a time while a pack is gone through. */
const WINDOW_BYTES = 1024 * 1024
const NAME = /^(\d{8})\.(pack|idx)$/
const NAME_DIGITS = 8
const INDEX_MAGIC = Buffer.from('WRPKIDX1')
const INDEX_HEAD_BYTES = INDEX_MAGIC.length + 6
const ROW_BYTES = 4 + RECORD_HEADER_BYTES
const CRC_BYTES = 4

/** A record and where it begins. */
export interface PackEntry {
  offset: number
  record: RecordHeader
}

export const packPath = (folder: string, pack: number): string => pathOf(folder, pack, 'pack')
export const indexPath = (folder: string, pack: number): string => pathOf(folder, pack, 'idx')

/** Numbers of the packs in a folder, and of the indexes. */
export async function listPacks(folder: string): Promise<{ packs: number[]; indexes: Set<number> }> {
  const names = (await readdir(folder)).map(name => NAME.exec(name)).filter(match => match !== null)
  const numbers = (kind: string) => names.filter(([, , is]) => is === kind).map(([, number]) => Number(number))
  return { packs: numbers('pack').sort((a, b) => a - b), indexes: new Set(numbers('idx')) }
}

/** Headers of the records of one pack, as its index has them. */
export class PackRows {
  #bytes = Buffer.alloc(64 * ROW_BYTES)
  #count = 0

  get count(): number {
    return this.#count
  }

  /** @param header the 64 bytes as they are in the pack */
  add(offset: number, header: Uint8Array): void {
    const at = this.#count * ROW_BYTES
    if (at === this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes, Buffer.alloc(at)])
    this.#bytes.writeUInt32BE(offset, at)
    this.#bytes.set(header, at + 4)
    this.#count += 1
  }

  *entries(pack: number): Generator<PackEntry> {
    yield* entriesOf(this.#bytes.subarray(0, this.#count * ROW_BYTES), pack)
  }

  /** The whole index file. */
  file(coveredBytes: number): Buffer {
    const head = Buffer.alloc(INDEX_HEAD_BYTES)
    head.set(INDEX_MAGIC)
    head.writeUIntBE(coveredBytes, INDEX_MAGIC.length, 6)
    const rows = this.#bytes.subarray(0, this.#count * ROW_BYTES)
    const crc = Buffer.alloc(CRC_BYTES)
    crc.writeUInt32BE(crc32(rows, crc32(head)))
    return Buffer.concat([head, rows, crc])
  }
}

/** Put the index of a closed pack in place, whole or not at all. */
export async function writeIndex(folder: string, pack: number, rows: PackRows, coveredBytes: number): Promise<void> {
  const path = indexPath(folder, pack)
  const temporary = `${path}.tmp`
  await rm(temporary, { force: true })
  await writeSynced(temporary, rows.file(coveredBytes))
  await rename(temporary, path)
}

/** The index of a pack; null when there is none, or none that is whole or can be read: the pack itself says the same. */
export async function readIndex(
  folder: string,
  pack: number
): Promise<{ coveredBytes: number; entries: () => Generator<PackEntry> } | null> {
  const bytes = await readFile(indexPath(folder, pack)).catch(() => null)
  if (bytes === null || bytes.length < INDEX_HEAD_BYTES + CRC_BYTES) return null
  const end = bytes.length - CRC_BYTES
  const isWhole =
    bytes.subarray(0, INDEX_MAGIC.length).equals(INDEX_MAGIC) &&
    (end - INDEX_HEAD_BYTES) % ROW_BYTES === 0 &&
    crc32(bytes.subarray(0, end)) === bytes.readUInt32BE(end)
  if (!isWhole) return null
  const coveredBytes = bytes.readUIntBE(INDEX_MAGIC.length, 6)
  return { coveredBytes, entries: () => entriesOf(bytes.subarray(INDEX_HEAD_BYTES, end), pack) }
}

function* entriesOf(rows: Buffer, pack: number): Generator<PackEntry> {
  for (let at = 0; at < rows.length; at += ROW_BYTES) {
    const record = readHeader(rows, at + 4, pack)
    if (record) yield { offset: rows.readUInt32BE(at), record }
  }
}

/** What going through a pack found. */
export interface PackScan {
  rows: PackRows
  /** Where the last record ends whose bytes are all there; what follows is a torn tail. */
  endBytes: number
  fileBytes: number
  /** Places between whole records that hold none; `records` of them have a header that still tells the CID. */
  damagedPlaces: number
  damaged: RecordHeader[]
}

/**
 * Go through a pack. A place that holds no record is passed over to the next whole record: what was acknowledged behind a
 * damaged one is not lost with it.
 */
export async function scanPack(file: FileHandle, pack: number): Promise<PackScan> {
  const { size } = await file.stat()
  const scan: PackScan = { rows: new PackRows(), endBytes: 0, fileBytes: size, damagedPlaces: 0, damaged: [] }
  let window: Buffer = Buffer.alloc(0)
  /** Place of the window's first byte in the file. */
  let base = 0
  let at = 0
  /** Headers met since the last whole record. */
  let doubtful: RecordHeader[] = []
  /** Of them, those that have all their bytes, and where the last of those ends. */
  let rotten: RecordHeader[] = []
  let rottenEnd = 0

  /** Read on until `bytes` are there behind `at`, or the file ends. */
  const fill = async (bytes: number): Promise<void> => {
    while (window.length - at < bytes && base + window.length < size) {
      const more = Buffer.allocUnsafe(Math.min(WINDOW_BYTES, size - base - window.length))
      const { bytesRead } = await file.read(more, 0, more.length, base + window.length)
      if (bytesRead === 0) break
      window = Buffer.concat([window.subarray(at), more.subarray(0, bytesRead)])
      base += at
      at = 0
    }
  }

  while (base + at < size) {
    await fill(RECORD_HEADER_BYTES + RECORD_BODY_MAX)
    const found = recordAt(window, at, pack)
    if (typeof found === 'object') {
      const offset = base + at
      if (offset > scan.endBytes) {
        scan.damagedPlaces += 1
        scan.damaged.push(...doubtful)
      }
      doubtful = []
      rotten = []
      scan.rows.add(offset, window.subarray(at, at + RECORD_HEADER_BYTES))
      at += found.bytes
      scan.endBytes = offset + found.bytes
      continue
    }
    const header = readHeader(window, at, pack)
    if (header) {
      doubtful.push({ ...header, digest: Uint8Array.from(header.digest) })
      // With all its bytes there it was not torn off: one of them is wrong.
      const end = base + at + recordBytes(header)
      if (end <= size) {
        rotten.push(doubtful.at(-1)!)
        rottenEnd = Math.max(rottenEnd, end)
      }
    }
    const next = window.indexOf(RECORD_MAGIC, at + 1)
    // The magic may lie across the window's end.
    at = next >= 0 ? next : Math.max(at + 1, window.length - RECORD_MAGIC.length + 1)
  }
  if (rottenEnd > scan.endBytes) {
    scan.damagedPlaces += 1
    scan.damaged.push(...rotten)
    scan.endBytes = rottenEnd
  }
  return scan
}

/** Read the record at a place, body unchecked; null when it is not the one that is looked for. */
export async function readRecord(
  folder: string,
  { pack, offset, bytes }: { pack: number; offset: number; bytes: number }
): Promise<{ raw: Buffer; record: RecordHeader | null }> {
  const file = await open(packPath(folder, pack), 'r')
  try {
    const raw = Buffer.allocUnsafe(bytes)
    let filled = 0
    while (filled < bytes) {
      const { bytesRead } = await file.read(raw, filled, bytes - filled, offset + filled)
      if (bytesRead === 0) break
      filled += bytesRead
    }
    const whole = raw.subarray(0, filled)
    const record = readHeader(whole, 0, pack)
    return { raw: whole, record: record && recordBytes(record) === filled ? record : null }
  } finally {
    await file.close()
  }
}

/** The body of a record, and whether it is the one that was written. */
export function bodyOf(raw: Buffer, record: RecordHeader): { meta: Buffer; data: Buffer; holds: boolean } {
  const body = raw.subarray(RECORD_HEADER_BYTES)
  return {
    meta: body.subarray(0, record.metaBytes),
    data: body.subarray(record.metaBytes),
    holds: bodyHolds(record, body)
  }
}

function pathOf(folder: string, pack: number, kind: 'pack' | 'idx'): string {
  return join(folder, `${String(pack).padStart(NAME_DIGITS, '0')}.${kind}`)
}
