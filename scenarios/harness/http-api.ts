/** The two public HTTP faces a story uses, as any client would: a gateway's storage and a node's blobs. */
import type { Endpoints } from './endpoints.ts'
import type { Host } from './runtime.ts'

const REQUEST_TIMEOUT_MS = 60_000

/** What `POST /v1/storage/put` answers for a value that became a blob. */
export interface PutAnswer {
  status: string
  key: string
  size: number
  cid?: string
}

/** Bytes that came, and how it ended: a broken transfer keeps what it brought. */
export interface Fetched {
  status: number
  bytes: Buffer
  /** The whole body came. */
  isWhole: boolean
}

function limit(signal: AbortSignal): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)])
}

export async function gatewayPut(
  endpoints: Endpoints,
  key: string,
  bytes: Buffer,
  signal: AbortSignal
): Promise<PutAnswer> {
  const response = await fetch(`${endpoints.gateways[0]}/v1/storage/put?key=${encodeURIComponent(key)}`, {
    method: 'POST',
    headers: { 'X-API-Key': endpoints.apiKey, 'Content-Type': 'application/octet-stream' },
    body: new Uint8Array(bytes),
    signal: limit(signal)
  })
  if (!response.ok) throw new Error(`put answers ${response.status}: ${await response.text()}`)
  return (await response.json()) as PutAnswer
}

export async function gatewayGet(gateway: string, apiKey: string, key: string, signal: AbortSignal): Promise<Fetched> {
  return await fetchWhole(`${gateway}/v1/storage/get?key=${encodeURIComponent(key)}`, { 'X-API-Key': apiKey }, signal)
}

/** What `POST /store` of a node answers. */
export interface StoreAnswer {
  status: number
  cid?: string
  size?: number
  replicas?: string[]
}

/** `POST /store` of a node. Rejects only when there is no answer at all. */
export async function store(host: Host, bytes: Buffer, signal: AbortSignal): Promise<StoreAnswer> {
  const response = await fetch(`${host.control}/store`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/octet-stream' },
    body: new Uint8Array(bytes),
    signal: limit(signal)
  })
  return { ...((await response.json()) as Omit<StoreAnswer, 'status'>), status: response.status }
}

/** `GET /retrieve/:cid` of a node. Rejects only when there is no answer at all. */
export async function retrieve(host: Host, cid: string, signal: AbortSignal): Promise<Fetched> {
  return await fetchWhole(`${host.control}/retrieve/${cid}`, {}, signal)
}

async function fetchWhole(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<Fetched> {
  const response = await fetch(url, { headers, signal: limit(signal) })
  const parts: Uint8Array[] = []
  let isWhole = true
  try {
    for await (const part of response.body ?? []) parts.push(part)
  } catch {
    signal.throwIfAborted()
    isWhole = false
  }
  return { status: response.status, bytes: Buffer.concat(parts), isWhole }
}
