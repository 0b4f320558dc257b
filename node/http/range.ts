/** The `Range` header (RFC 9110 section 14), for one range. Pure. */

/** Bytes from `offset`, `length` of them. */
export interface ByteRange {
  offset: number
  length: number
}

/**
 * What a Range header asks of a body of this size: null for all of it (absent, several ranges, another unit or
 * nonsense: a server may ignore those), or 'unsatisfiable'.
 */
export function parseRange(header: string | undefined, sizeBytes: number): ByteRange | null | 'unsatisfiable' {
  const match = /^bytes=\s*(\d{0,15})-(\d{0,15})\s*$/.exec(header ?? '')
  if (!match) return null
  const [, from = '', to = ''] = match
  if (from === '' && to === '') return null
  if (from === '') {
    const length = Math.min(Number(to), sizeBytes)
    return length === 0 ? 'unsatisfiable' : { offset: sizeBytes - length, length }
  }
  const offset = Number(from)
  const last = to === '' ? sizeBytes - 1 : Math.min(Number(to), sizeBytes - 1)
  if (to !== '' && Number(to) < offset) return null
  if (offset >= sizeBytes) return 'unsatisfiable'
  return { offset, length: last - offset + 1 }
}
