/** The bytes of dag-pb blocks of UnixFS files: the frame of a leaf, and a node over its links. (dag-pb, UnixFS specifications.) */

/** A link of a node, as far as its bytes depend on it. */
export interface DagLink {
  /** SHA-256 of the block, 32 bytes. */
  digest: Uint8Array
  /** Bytes of the file below this link. */
  fileBytes: number
  /** Bytes of all blocks below this link, its own included (dag-pb's Tsize). */
  blockBytes: number
}

export const DAG_PB = 0x70
export const SHA2_256 = 0x12
export const DIGEST_BYTES = 32
const CID_PREFIX = [0x01, DAG_PB, SHA2_256, DIGEST_BYTES]

/** What a leaf has before and after its bytes of the file. */
export function leafFrame(fileBytes: number): { head: Uint8Array; tail: Uint8Array } {
  const data: number[] = [0x08, 0x02]
  if (fileBytes > 0) pushField(data, 0x12, fileBytes)
  const tail: number[] = []
  pushField(tail, 0x18, fileBytes)
  const frame: number[] = []
  pushField(frame, 0x0a, data.length + fileBytes + tail.length)
  return { head: Uint8Array.from([...frame, ...data]), tail: Uint8Array.from(tail) }
}

/** The block of a node over these links. */
export function encodeNode(links: readonly DagLink[]): Uint8Array {
  const data: number[] = [0x08, 0x02]
  pushField(
    data,
    0x18,
    links.reduce((sum, link) => sum + link.fileBytes, 0)
  )
  for (const link of links) pushField(data, 0x20, link.fileBytes)
  const bytes: number[] = []
  for (const link of links) {
    const size: number[] = []
    pushField(size, 0x18, link.blockBytes)
    const cidBytes = CID_PREFIX.length + DIGEST_BYTES
    // Hash, then the empty Name, then Tsize: the order dag-pb fixes.
    bytes.push(0x12, 2 + cidBytes + 2 + size.length, 0x0a, cidBytes, ...CID_PREFIX, ...link.digest, 0x12, 0x00, ...size)
  }
  pushField(bytes, 0x0a, data.length)
  return Uint8Array.from([...bytes, ...data])
}

/** A protobuf tag and an unsigned varint. Sizes pass 2^32, so no bit operators on the value. */
function pushField(into: number[], tag: number, value: number): void {
  into.push(tag)
  let rest = value
  while (rest >= 0x80) {
    into.push((rest % 0x80) + 0x80)
    rest = Math.floor(rest / 0x80)
  }
  into.push(rest)
}
