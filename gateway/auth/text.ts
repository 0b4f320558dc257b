/** Texts in what callers send. Pure. */
import { RequestInvalidError } from '../errors.ts'

/** An optional text that is kept. */
export function textOf(value: unknown, name: string, maxChars: number): string {
  if (value === undefined || value === null) return ''
  if (!isPlain(value, maxChars)) {
    throw new RequestInvalidError(`invalid '${name}': expected a text of at most ${maxChars} characters`)
  }
  return value
}

/** Whether it is a text that can be shown: control characters would be somebody's terminal's to obey. */
export function isPlain(value: unknown, maxChars: number): value is string {
  return typeof value === 'string' && value.length <= maxChars && !/\p{C}/u.test(value)
}

/** Whether it is a text, and not an empty one. */
export function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
