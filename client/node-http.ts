/** A storage node's HTTP API for its operator and anybody who knows a CID. Platform `fetch`, no dependency. */
import { answerError, type FetchBody } from './answers.ts'
import { NodeUnreachableError } from './errors.ts'

/** Until an answer begins. A body that comes or goes may take as long as its path needs. */
const ANSWER_TIMEOUT_MS = 60_000

export interface NodeHttpOptions {
  /** Base URL, without a path. */
  url: string
  /** The operator's; `list`, `pin` and `admin` routes need it. */
  adminToken?: string
}

/** Where a blob is, as this node knows it. */
export interface Whereabouts {
  cid: string
  stored: boolean
  size: number | null
  mimeType: string | null
  createdAt: number | null
  pinned: boolean
  shard: number
  replication: { target: number; confirmed: number; complete: boolean; nodes: string[] }
}

export interface StoredBlob {
  cid: string
  size: number
  encrypted: boolean
  replicas: string[]
}

export interface Page<Row> {
  rows: Row[]
  total: number
}

export interface NodeHttp {
  store: (source: Uint8Array | AsyncIterable<Uint8Array>, mimeType?: string) => Promise<StoredBlob>
  /** The bytes as they come; every chunk's tag was checked by the node. */
  fetch: (cid: string, options?: { verify?: boolean }) => Promise<AsyncIterable<Uint8Array>>
  /** One page of the CIDs it holds. */
  list: (page?: { offset?: number; limit?: number }) => Promise<Page<string>>
  whereabouts: (cid: string) => Promise<Whereabouts>
  pin: (cid: string) => Promise<{ cid: string; pinned: boolean }>
  unpin: (cid: string) => Promise<{ cid: string; wasPinned: boolean }>
  pins: (page?: {
    offset?: number
    limit?: number
  }) => Promise<Page<{ cid: string; pinnedAt: number; size: number | null }>>
  /** Begin a scrub, or tell of the one that runs. */
  scrub: () => Promise<ScrubState>
  scrubState: () => Promise<ScrubState>
  collect: (options: { simulate: boolean }) => Promise<unknown>
  status: () => Promise<Record<string, unknown>>
  health: () => Promise<Record<string, unknown>>
}

export interface ScrubState {
  running: boolean
  checked: number
  passed: number
  failed: number
  total: number
  remaining: number
}

/** A name as one segment of a path, whatever is in it. Dots alone lead elsewhere even when they are escaped once. */
const segment = (name: string): string =>
  /^\.{1,2}$/.test(name) ? name.replaceAll('.', '%252E') : encodeURIComponent(name)

type Query = Record<string, string | number | boolean | undefined>

export function createNodeHttp({ url, adminToken }: NodeHttpOptions): NodeHttp {
  const base = url.replace(/\/+$/, '')

  async function request(
    method: string,
    path: string,
    { query = {}, body, headers = {} }: { query?: Query; body?: FetchBody; headers?: Record<string, string> } = {}
  ): Promise<Response> {
    const target = new URL(base + path)
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) target.searchParams.set(name, String(value))
    }
    const late = new AbortController()
    const timer = body === undefined ? setTimeout(() => late.abort(), ANSWER_TIMEOUT_MS) : undefined
    let response: Response
    try {
      response = await fetch(target, {
        method,
        headers: { ...(adminToken === undefined ? {} : { authorization: `Bearer ${adminToken}` }), ...headers },
        signal: late.signal,
        ...(body === undefined ? {} : { body, duplex: 'half' })
      } as RequestInit)
    } catch (cause) {
      throw new NodeUnreachableError(base, { cause })
    } finally {
      clearTimeout(timer)
    }
    if (!response.ok) throw await answerError(response)
    return response
  }
  const json = async <T>(...args: Parameters<typeof request>): Promise<T> =>
    (await (await request(...args)).json()) as T

  return {
    async store(source, mimeType = 'application/octet-stream') {
      const headers = { 'content-type': mimeType }
      return await json<StoredBlob>('POST', '/store', { body: source as FetchBody, headers })
    },
    async fetch(cid, { verify = false } = {}) {
      const { body } = await request('GET', `/retrieve/${segment(cid)}`, { query: { verify: verify ? 1 : undefined } })
      return body ?? (async function* () {})()
    },
    async list(page = {}) {
      const { cids, total } = await json<{ cids: string[]; total: number }>('GET', '/blobs', { query: { ...page } })
      return { rows: cids, total }
    },
    whereabouts: async cid => await json('GET', `/blobs/${segment(cid)}/status`),
    pin: async cid => await json('POST', `/pin/${segment(cid)}`),
    unpin: async cid => await json('DELETE', `/pin/${segment(cid)}`),
    async pins(page = {}) {
      const { pins, total } = await json<{ pins: []; total: number }>('GET', '/pin/list', { query: { ...page } })
      return { rows: pins, total }
    },
    scrub: async () => await json('POST', '/admin/scrub'),
    scrubState: async () => await json('GET', '/admin/scrub'),
    collect: async ({ simulate }) => await json('POST', '/admin/gc', { query: { simulate } }),
    status: async () => await json('GET', '/status'),
    health: async () => await json('GET', '/health')
  }
}
