/** The harness's side of peer.types.ts. */
import type { Host } from '../harness/runtime.ts'
import type {
  Held,
  MeetRequest,
  Moved,
  MovingRequest,
  Opened,
  OpenRequest,
  PeerFacts,
  StreamedRequest,
  StreamRequest,
  TransferRequest,
  Transferred
} from './peer.types.ts'

export interface PeerClient {
  open: (request: OpenRequest) => Promise<Opened>
  meet: (request: MeetRequest) => Promise<PeerFacts>
  direct: (request: Omit<MeetRequest, 'via'>) => Promise<PeerFacts>
  facts: (request: { id: string; peerId: string }) => Promise<PeerFacts>
  mark: (request: { id: string }) => Promise<void>
  transfer: (request: TransferRequest) => Promise<Transferred>
  stream: (request: StreamRequest) => Promise<void>
  streamed: (request: { id: string }) => Promise<StreamedRequest[]>
  endStream: (request: { id: string }) => Promise<void>
  close: (request: { id: string }) => Promise<void>
  part: (request: { id: string; peerIds: string[] }) => Promise<void>
  mostPunches: (request: { id: string }) => Promise<{ most: number }>
  moving: (request: MovingRequest) => Promise<Moved>
  pattern: (request: { bytes: number }) => Promise<{ sha256: string }>
  sockets: (request?: Record<string, never>) => Promise<Held['sockets']>
  held: (request?: Record<string, never>) => Promise<Held>
}

const VERBS = [
  'open',
  'meet',
  'direct',
  'facts',
  'mark',
  'transfer',
  'stream',
  'streamed',
  'endStream',
  'close',
  'part',
  'mostPunches',
  'moving',
  'pattern',
  'sockets',
  'held'
] as const satisfies Array<keyof PeerClient>

/** Each call rejects with the peer's own words, or because its process does not answer. */
export function peerClient(host: Pick<Host, 'control' | 'planned'>, signal: AbortSignal): PeerClient {
  const call = async (verb: string, body: unknown): Promise<unknown> => {
    const response = await fetch(`${host.control}/${verb}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body ?? {}),
      signal
    })
    const said = (await response.json()) as { error?: string }
    if (!response.ok) throw new Error(`${host.planned.name} ${verb}: ${said.error}`)
    return said
  }
  return Object.fromEntries(
    VERBS.map(verb => [verb, async (body: unknown) => await call(verb, body)])
  ) as unknown as PeerClient
}
