/**
 * Where each packed blob is: an open-addressing hash table over typed arrays. A blob costs 58 bytes in its row and 4 in
 * the table; with the room both keep for growth it is at most 84, where a Map of strings and objects takes 250.
 */
import { randomInt } from 'node:crypto'
import { DIGEST_BYTES } from '../dag.ts'

/** Where a record is, and what of it is asked for without the disk. */
export interface Packed {
  pack: number
  offset: number
  /** Of the metadata. */
  metaBytes: number
  /** Of the plain blob. */
  sizeBytes: number
  sequence: number
  /** Seconds are kept. */
  storedAtMs: number
}

const FIRST_ROWS = 1024
const ROW_GROWTH = 1.25
/** Part of the table that may be full. */
const LOAD_MAX = 0.75
const WORD_MAX = 2 ** 32 - 1
const SECOND_MS = 1000

export class PackIndex {
  #digests = new Uint8Array(FIRST_ROWS * DIGEST_BYTES)
  #packs = new Uint32Array(FIRST_ROWS)
  #offsets = new Uint32Array(FIRST_ROWS)
  #metaBytes = new Uint16Array(FIRST_ROWS)
  #sizes = new Uint32Array(FIRST_ROWS)
  #sequences = new Float64Array(FIRST_ROWS)
  #storedAtS = new Uint32Array(FIRST_ROWS)
  /** Rows ever used, and those of them that are free; a pack number of 0 marks them. */
  #rows = 0
  #free: number[] = []
  /** Row + 1 at each place; 0: empty. */
  #table = new Uint32Array(2 * FIRST_ROWS)
  // Whoever chooses blobs can choose bits of their digests, but not where those land.
  readonly #seeds = Array.from({ length: 4 }, () => randomInt(WORD_MAX) | 1)

  /** Blobs in it. */
  get size(): number {
    return this.#rows - this.#free.length
  }

  /** Bytes of memory it holds. */
  get memoryBytes(): number {
    const columns = [this.#digests, this.#packs, this.#offsets, this.#metaBytes, this.#sizes, this.#sequences]
    const bytes = [...columns, this.#storedAtS, this.#table].reduce((sum, { byteLength }) => sum + byteLength, 0)
    return bytes + this.#free.length * 8
  }

  get(digest: Uint8Array): Packed | null {
    const row = this.#find(digest)
    return row < 0 ? null : this.#packedAt(row)
  }

  has(digest: Uint8Array): boolean {
    return this.#find(digest) >= 0
  }

  /** Put a blob in, or in the place of what is known of it. */
  set(digest: Uint8Array, packed: Packed): void {
    let row = this.#find(digest)
    if (row < 0) {
      row = this.#free.pop() ?? this.#newRow()
      this.#digests.set(digest, row * DIGEST_BYTES)
      this.#enter(row)
    }
    this.#packs[row] = packed.pack
    this.#offsets[row] = packed.offset
    this.#metaBytes[row] = packed.metaBytes
    this.#sizes[row] = packed.sizeBytes
    this.#sequences[row] = packed.sequence
    this.#storedAtS[row] = Math.floor(packed.storedAtMs / SECOND_MS)
  }

  delete(digest: Uint8Array): boolean {
    const row = this.#find(digest)
    if (row < 0) return false
    this.#leave(row)
    this.#packs[row] = 0
    this.#free.push(row)
    return true
  }

  /** All of them; may be changed meanwhile. The digest is a view that holds until the next step. */
  *[Symbol.iterator](): Generator<[digest: Uint8Array, packed: Packed]> {
    for (let row = 0; row < this.#rows; row += 1) {
      if (this.#packs[row] !== 0) yield [this.#digestAt(row), this.#packedAt(row)]
    }
  }

  #packedAt(row: number): Packed {
    return {
      pack: this.#packs[row]!,
      offset: this.#offsets[row]!,
      metaBytes: this.#metaBytes[row]!,
      sizeBytes: this.#sizes[row]!,
      sequence: this.#sequences[row]!,
      storedAtMs: this.#storedAtS[row]! * SECOND_MS
    }
  }

  #digestAt(row: number): Uint8Array {
    return this.#digests.subarray(row * DIGEST_BYTES, (row + 1) * DIGEST_BYTES)
  }

  #find(digest: Uint8Array): number {
    for (let at = this.#home(digest, 0); ; at = (at + 1) & (this.#table.length - 1)) {
      const row = this.#table[at]! - 1
      if (row < 0 || this.#isAt(row, digest)) return row
    }
  }

  #isAt(row: number, digest: Uint8Array): boolean {
    const start = row * DIGEST_BYTES
    for (let i = 0; i < DIGEST_BYTES; i += 1) if (this.#digests[start + i] !== digest[i]) return false
    return true
  }

  #newRow(): number {
    if (this.#rows === this.#packs.length) this.#growRows()
    this.#rows += 1
    return this.#rows - 1
  }

  #enter(row: number): void {
    if (this.size > this.#table.length * LOAD_MAX) this.#growTable()
    this.#place(row)
  }

  #place(row: number): void {
    let at = this.#home(this.#digests, row * DIGEST_BYTES)
    while (this.#table[at] !== 0) at = (at + 1) & (this.#table.length - 1)
    this.#table[at] = row + 1
  }

  /** Empty the row's place and move up what would not be found behind the gap. */
  #leave(row: number): void {
    const mask = this.#table.length - 1
    let gap = this.#home(this.#digests, row * DIGEST_BYTES)
    while (this.#table[gap] !== row + 1) gap = (gap + 1) & mask
    for (let at = (gap + 1) & mask; this.#table[at] !== 0; at = (at + 1) & mask) {
      const home = this.#home(this.#digests, (this.#table[at]! - 1) * DIGEST_BYTES)
      if (((at - home) & mask) < ((at - gap) & mask)) continue
      this.#table[gap] = this.#table[at]!
      gap = at
    }
    this.#table[gap] = 0
  }

  #home(bytes: Uint8Array, start: number): number {
    let hash = 0
    for (let word = 0; word < this.#seeds.length; word += 1) {
      const at = start + word * 4
      const value = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
      hash = Math.imul(hash ^ value, this.#seeds[word]!)
      hash ^= hash >>> 15
    }
    return hash & (this.#table.length - 1)
  }

  #growRows(): void {
    const rows = Math.ceil(this.#packs.length * ROW_GROWTH)
    const grown = <T extends Uint8Array | Uint16Array | Uint32Array | Float64Array>(old: T, length: number): T => {
      const column = new (old.constructor as new (length: number) => T)(length)
      column.set(old)
      return column
    }
    this.#digests = grown(this.#digests, rows * DIGEST_BYTES)
    this.#packs = grown(this.#packs, rows)
    this.#offsets = grown(this.#offsets, rows)
    this.#metaBytes = grown(this.#metaBytes, rows)
    this.#sizes = grown(this.#sizes, rows)
    this.#sequences = grown(this.#sequences, rows)
    this.#storedAtS = grown(this.#storedAtS, rows)
  }

  #growTable(): void {
    const old = this.#table
    this.#table = new Uint32Array(old.length * 2)
    for (const place of old) if (place !== 0) this.#place(place - 1)
  }
}
