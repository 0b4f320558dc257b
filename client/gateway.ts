/** The same storage by HTTP, through a gateway. */
import { answerError, type FetchBody } from './answers.ts'
import { GatewayUnreachableError } from './errors.ts'

export interface GatewayClientOptions {
  /** Base URL, such as http://127.0.0.1:8080 */
  url: string
  /** Needed where the gateway asks for one. */
  apiKey?: string
  /** Longest wait for the beginning of an answer, or for a piece of a body to be taken, ms. Default 60 s. */
  timeoutMs?: number
}

/** What a put answers; `cid` only where the value became a blob (over 64 KiB). */
export interface Stored {
  status: string
  key: string
  /** Bytes. */
  size: number
  cid?: string
}

export interface GatewayClient {
  storage: {
    /** Stores a value under a key, replacing what is there. */
    put: (key: string, value: Uint8Array | string | AsyncIterable<Uint8Array>) => Promise<Stored>
    /** The value as a stream. @throws GatewayAnswerError with status 404 when there is none */
    stream: (key: string) => Promise<AsyncIterable<Uint8Array>>
    /** The whole value. */
    get: (key: string) => Promise<Uint8Array>
    /** @throws GatewayAnswerError with status 404 when there is none */
    delete: (key: string) => Promise<{ status: string; key: string }>
    exists: (key: string) => Promise<boolean>
    /** Keys in order: all of them, or `limit`, page by page. */
    list: (options?: { prefix?: string; limit?: number }) => Promise<string[]>
  }
  health: () => Promise<Record<string, unknown>>
  version: () => Promise<Record<string, unknown>>
}

const DEFAULT_TIMEOUT_MS = 60_000
/** A body goes out in pieces of this size. */
const PIECE_BYTES = 64 * 1024
/** As many as a gateway gives at once. */
const PAGE_KEYS = 1_000

/** What a list is answered with; `next_cursor` where there are more. */
interface KeyPage {
  keys: string[]
  next_cursor?: string
}

export function createGatewayClient(options: GatewayClientOptions): GatewayClient {
  const base = options.url.replace(/\/+$/, '')

  async function request(
    method: string,
    path: string,
    query: Record<string, string | undefined> = {},
    body?: Uint8Array | string | AsyncIterable<Uint8Array>
  ): Promise<Response> {
    const url = new URL(base + path)
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value)
    const headers: Record<string, string> = options.apiKey === undefined ? {} : { 'x-api-key': options.apiKey }
    if (body !== undefined) headers['content-type'] = 'application/octet-stream'
    // Until the answer begins: a long value may then take as long as its reader. A body that is sent starts it anew
    // with each piece that is taken, so that a long upload may take as long as its path.
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(), options.timeoutMs ?? DEFAULT_TIMEOUT_MS)
    let answered = false
    const moved = () => {
      if (!answered) timer.refresh()
    }
    const sent = body === undefined || typeof body === 'string' ? body : pieces(body, moved)
    // A length that is known is announced, as fetch does for bytes it is given whole.
    if (body instanceof Uint8Array) headers['content-length'] = String(body.byteLength)
    let response: Response
    try {
      response = await fetch(url, {
        method,
        headers,
        signal: late.signal,
        ...(sent === undefined ? {} : { body: sent as FetchBody, duplex: 'half' })
      })
    } catch (cause) {
      throw new GatewayUnreachableError(base, { cause })
    } finally {
      // An early answer may come while pieces are still taken.
      answered = true
      clearTimeout(timer)
    }
    if (!response.ok) throw await answerError(response)
    return response
  }
  const json = async <T>(response: Response): Promise<T> => (await response.json()) as T

  return {
    storage: {
      put: async (key, value) => json<Stored>(await request('POST', '/v1/storage/put', { key }, value)),
      async stream(key) {
        const { body } = await request('GET', '/v1/storage/get', { key })
        return body ?? emptyBody()
      },
      get: async key => new Uint8Array(await (await request('GET', '/v1/storage/get', { key })).arrayBuffer()),
      delete: async key => json(await request('POST', '/v1/storage/delete', { key })),
      exists: async key =>
        (await json<{ exists: boolean }>(await request('GET', '/v1/storage/exists', { key }))).exists,
      async list({ prefix, limit = Number.POSITIVE_INFINITY } = {}) {
        const listed: string[] = []
        let cursor: string | undefined
        do {
          const query = { prefix, limit: String(Math.min(limit - listed.length, PAGE_KEYS)), cursor }
          const page = await json<KeyPage>(await request('GET', '/v1/storage/list', query))
          for (const key of page.keys) listed.push(key)
          cursor = page.next_cursor
        } while (cursor !== undefined && listed.length < limit)
        return listed
      }
    },
    health: async () => json(await request('GET', '/health')),
    version: async () => json(await request('GET', '/v1/version'))
  }
}

/** The bytes in pieces, and a word with each that is asked for. */
async function* pieces(
  body: Uint8Array | AsyncIterable<Uint8Array>,
  moved: () => void
): AsyncGenerator<Uint8Array, void, undefined> {
  if (body instanceof Uint8Array) {
    for (let at = 0; at < body.byteLength; at += PIECE_BYTES) {
      moved()
      yield body.subarray(at, at + PIECE_BYTES)
    }
  } else {
    for await (const chunk of body) {
      moved()
      yield chunk
    }
  }
  moved()
}

async function* emptyBody(): AsyncGenerator<Uint8Array, void, undefined> {}
