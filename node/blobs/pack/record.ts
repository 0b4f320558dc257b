/**
 * The records of a pack, as bytes. A record is a header of 64 bytes, then the text of the blob's `meta.json`, then its
 * sealed bytes; a deletion is a header alone. Numbers are big-endian.
 *
 * | at | bytes | what |
 * |---|---|---|
 * | 0 | 4 | `9e 57 52 01`: not UTF-8, so that no text a client chose holds it |
 * | 4 | 1 | 1 blob, 2 deletion |
 * | 5 | 1 | 0 |
 * | 6 | 2 | bytes of the metadata |
 * | 8 | 4 | sealed bytes |
 * | 12 | 6 | when it came here, milliseconds since 1970 |
 * | 18 | 6 | sequence: of a CID's records the highest holds, wherever it stands |
 * | 24 | 32 | SHA-256 of the CID |
 * | 56 | 4 | CRC-32 of the body |
 * | 60 | 4 | CRC-32 of the pack's number and all before |
 *
 * The checksums only tell whole records from torn ones. Whether a blob is right is said by its MAC and its tags.
 */
import { crc32 } from 'node:zlib'
import { DIGEST_BYTES } from '../dag.ts'

export const RECORD_HEADER_BYTES = 64
export const RECORD_MAGIC = Buffer.from([0x9e, 0x57, 0x52, 0x01])
/** Largest body taken for one, bytes: what a header says beyond it is damage. */
export const RECORD_BODY_MAX = 1024 * 1024

const AT = { kind: 4, zero: 5, metaBytes: 6, dataBytes: 8, storedAt: 12, sequence: 18, digest: 24, body: 56, crc: 60 }
const SIX_BYTES = 6
const KINDS = { blob: 1, deletion: 2 } as const
const NOTHING = new Uint8Array(0)

export type RecordKind = keyof typeof KINDS

/** What is known of a record from its header. */
export interface RecordHeader {
  kind: RecordKind
  /** SHA-256 of the CID, 32 bytes. */
  digest: Uint8Array
  sequence: number
  /** Milliseconds since 1970. */
  storedAtMs: number
  metaBytes: number
  /** Sealed bytes. */
  dataBytes: number
  bodyCrc: number
}

/** A record that is to be written. */
export interface RecordDraft {
  kind: RecordKind
  digest: Uint8Array
  sequence: number
  storedAtMs: number
  /** Text of `meta.json`; none for a deletion. */
  meta: Uint8Array
  /** The sealed bytes; none for a deletion. */
  data: Uint8Array
}

/** The record that says: what is older of this CID is gone. */
export function deletionOf(digest: Uint8Array, sequence: number, atMs: number): RecordDraft {
  return { kind: 'deletion', digest, sequence, storedAtMs: atMs, meta: NOTHING, data: NOTHING }
}

/** Bytes of a record. */
export function draftBytes({ meta, data }: RecordDraft): number {
  return RECORD_HEADER_BYTES + meta.length + data.length
}

/** Bytes of the record behind a header, header included. */
export function recordBytes({ metaBytes, dataBytes }: Pick<RecordHeader, 'metaBytes' | 'dataBytes'>): number {
  return RECORD_HEADER_BYTES + metaBytes + dataBytes
}

/** Write a record for pack `pack` into `target`. @returns where it ends */
export function writeRecord(target: Buffer, at: number, pack: number, draft: RecordDraft): number {
  const { kind, digest, sequence, storedAtMs, meta, data } = draft
  target.set(RECORD_MAGIC, at)
  target[at + AT.kind] = KINDS[kind]
  target[at + AT.zero] = 0
  target.writeUInt16BE(meta.length, at + AT.metaBytes)
  target.writeUInt32BE(data.length, at + AT.dataBytes)
  target.writeUIntBE(storedAtMs, at + AT.storedAt, SIX_BYTES)
  target.writeUIntBE(sequence, at + AT.sequence, SIX_BYTES)
  target.set(digest, at + AT.digest)
  target.set(meta, at + RECORD_HEADER_BYTES)
  target.set(data, at + RECORD_HEADER_BYTES + meta.length)
  const end = at + RECORD_HEADER_BYTES + meta.length + data.length
  target.writeUInt32BE(crc32(target.subarray(at + RECORD_HEADER_BYTES, end)), at + AT.body)
  target.writeUInt32BE(headerCrc(target, at, pack), at + AT.crc)
  return end
}

/** Read the header at `at`; null when there is no whole one of this pack. */
export function readHeader(bytes: Buffer, at: number, pack: number): RecordHeader | null {
  if (bytes.length - at < RECORD_HEADER_BYTES || bytes.compare(RECORD_MAGIC, 0, 4, at, at + 4) !== 0) return null
  if (bytes.readUInt32BE(at + AT.crc) !== headerCrc(bytes, at, pack)) return null
  const kind = bytes[at + AT.kind] === KINDS.blob ? 'blob' : bytes[at + AT.kind] === KINDS.deletion ? 'deletion' : null
  const metaBytes = bytes.readUInt16BE(at + AT.metaBytes)
  const dataBytes = bytes.readUInt32BE(at + AT.dataBytes)
  if (kind === null || metaBytes + dataBytes > RECORD_BODY_MAX) return null
  return {
    kind,
    digest: bytes.subarray(at + AT.digest, at + AT.digest + DIGEST_BYTES),
    sequence: bytes.readUIntBE(at + AT.sequence, SIX_BYTES),
    storedAtMs: bytes.readUIntBE(at + AT.storedAt, SIX_BYTES),
    metaBytes,
    dataBytes,
    bodyCrc: bytes.readUInt32BE(at + AT.body)
  }
}

/** Whether the body of a record is the one its header was written for. */
export function bodyHolds(header: RecordHeader, body: Uint8Array): boolean {
  return body.length === header.metaBytes + header.dataBytes && crc32(body) === header.bodyCrc
}

/** What is at a place of a pack: a record; `short`: what may be one, if more bytes follow; `none`. */
export type Found = { record: RecordHeader; bytes: number } | 'short' | 'none'

/** Look for a whole record at `at`. */
export function recordAt(bytes: Buffer, at: number, pack: number): Found {
  if (bytes.length - at < RECORD_HEADER_BYTES) return 'short'
  const record = readHeader(bytes, at, pack)
  if (!record) return 'none'
  const length = recordBytes(record)
  if (bytes.length - at < length) return 'short'
  const body = bytes.subarray(at + RECORD_HEADER_BYTES, at + length)
  return bodyHolds(record, body) ? { record, bytes: length } : 'none'
}

/** With the number in it, bytes of another pack are no records here. */
function headerCrc(bytes: Buffer, at: number, pack: number): number {
  return crc32(bytes.subarray(at, at + AT.crc), crc32(String(pack)))
}
