/** Where the login page may hand a key to. Pure. */
import { RequestInvalidError } from '../errors.ts'
import { CallbackForbiddenError } from './errors.ts'

export interface Callback {
  url: string
  /**
   * `post`: a program on this machine, which takes a form. `fragment`: a page, whose script reads what is behind the #;
   * neither puts the key into a URL that a server or a log sees.
   */
  by: 'post' | 'fragment'
}

const CALLBACK_MAX_CHARS = 1024
const LOOPBACK = new Set(['127.0.0.1', 'localhost', '[::1]'])

/**
 * @param allowed URLs without query, as they are configured
 * @throws RequestInvalidError without one, CallbackForbiddenError for any other than loopback and the allowed
 */
export function parseCallback(text: string | undefined, allowed: readonly string[]): Callback {
  if (text === undefined || text === '') throw new RequestInvalidError("missing 'callback'")
  // A parser forgives back strokes and white space; whoever reads the URL as a text may read another host.
  if (text.length > CALLBACK_MAX_CHARS || /[\\\s\p{C}]/u.test(text) || !URL.canParse(text)) {
    throw new CallbackForbiddenError()
  }
  const url = new URL(text)
  if (url.username !== '' || url.password !== '' || url.hash !== '' || text.includes('#')) {
    throw new CallbackForbiddenError()
  }
  const loopback = url.protocol === 'http:' && LOOPBACK.has(url.hostname) && url.port !== ''
  if (loopback) return { url: url.href, by: 'post' }
  if (allowed.includes(`${url.origin}${url.pathname}`)) return { url: url.href, by: 'fragment' }
  throw new CallbackForbiddenError()
}
