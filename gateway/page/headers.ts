/** What every page of ours is answered with: nothing that it does not name is loaded, run or framed. Pure. */
import { createHash } from 'node:crypto'

/**
 * @param sources directives of the Content-Security-Policy that say what is loaded all the same
 * @param options.formAction where its forms may go; default: nowhere
 */
export function pageHeaders(
  sources: readonly string[],
  { formAction = "'none'", cacheControl = 'no-cache' } = {}
): Record<string, string> {
  const ends = ["base-uri 'none'", `form-action ${formAction}`, "frame-ancestors 'none'"]
  return {
    'Content-Security-Policy': ["default-src 'none'", ...sources, ...ends].join('; '),
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': cacheControl
  }
}

/** A source of the policy: this text, inline, and no other. */
export function inline(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}
