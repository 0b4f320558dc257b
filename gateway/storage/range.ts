/** The Range header, read as RFC 9110 section 14 has it; one range only. Pure. */
import { RangeInvalidError } from '../errors.ts'

export interface ByteRange {
  offset: number
  length: number
}

/**
 * The asked part of a value, or null for the whole: no header, several ranges, or a header that is no byte range
 * (such are to be ignored).
 * @throws RangeInvalidError when it begins behind the end
 */
export function parseRange(header: string, sizeBytes: number): ByteRange | null {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header.trim())
  if (match === null) return null
  const [, first, last] = match as unknown as [string, string, string]
  if (first === '' && last === '') return null
  if (first === '') {
    const length = Math.min(Number(last), sizeBytes)
    if (length === 0) throw new RangeInvalidError(sizeBytes)
    return { offset: sizeBytes - length, length }
  }
  const offset = Number(first)
  const end = last === '' ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1)
  if (last !== '' && Number(last) < offset) return null
  if (offset >= sizeBytes) throw new RangeInvalidError(sizeBytes)
  return { offset, length: end - offset + 1 }
}
