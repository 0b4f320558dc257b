/** If-Match, If-None-Match and If-Range as RFC 9110 section 13 has them. Pure. */
import { ETAGS_MAX } from '../constants.ts'
import { RequestInvalidError } from '../errors.ts'
import type { Condition } from '../store/values.ts'

const ENTITY_TAG = /(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"/y
const BETWEEN = /[ \t]*(?:,[ \t]*)+|[ \t]*$/y

/** As it stands in the header. */
export function entityTag(etag: string): string {
  return `"${etag}"`
}

/**
 * The condition of a write, or null for none.
 * @param header name → value, empty when absent
 * @throws RequestInvalidError for what is no list of entity tags: a condition that is not understood is not left out
 */
export function conditionOf(header: (name: string) => string): Condition | null {
  const match = tagsOf('If-Match', header('if-match'))
  const noneMatch = tagsOf('If-None-Match', header('if-none-match'))
  if (match === undefined && noneMatch === undefined) return null
  return { ...(match === undefined ? {} : { match }), ...(noneMatch === undefined ? {} : { noneMatch }) }
}

/** Whether who reads has this value already; a header that makes no sense is a reader without one. */
export function isKnown(ifNoneMatch: string, etag: string): boolean {
  try {
    const tags = tagsOf('If-None-Match', ifNoneMatch)
    return tags === '*' || (tags?.includes(etag) ?? false)
  } catch {
    return false
  }
}

/** Whether a range may be answered: If-Range is absent, or names this value. */
export function mayAnswerRange(ifRange: string, etag: string): boolean {
  return ifRange === '' || ifRange.trim() === entityTag(etag)
}

/** Opaque tags; of If-Match those that are strong, as its comparison asks for. */
function tagsOf(name: 'If-Match' | 'If-None-Match', value: string): '*' | string[] | undefined {
  const text = value.trim()
  if (text === '') return undefined
  if (text === '*') return '*'
  const tags: string[] = []
  for (let at = 0, count = 0; at < text.length; count += 1) {
    ENTITY_TAG.lastIndex = at
    const tag = ENTITY_TAG.exec(text)
    BETWEEN.lastIndex = ENTITY_TAG.lastIndex
    if (tag === null || !BETWEEN.test(text) || count >= ETAGS_MAX) {
      throw new RequestInvalidError(`invalid '${name}': expected * or at most ${ETAGS_MAX} entity tags in quotes`)
    }
    if (tag[1] === undefined || name === 'If-None-Match') tags.push(tag[2] as string)
    at = BETWEEN.lastIndex
  }
  return tags
}
