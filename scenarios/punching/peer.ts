/**
 * The process of a host that punches: it opens peers with fresh identities when the harness asks, any number of runs one
 * after another or at once, and tells what came of them. It judges nothing. Started in place of a client host's own
 * process (`CLIENT_PROGRAM`), and keeps the process contract.
 */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { multiaddr } from '@multiformats/multiaddr'
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
import { createLabPeer, type LabPeer } from './peer-stack.ts'
import { patternHash, patternName } from './peer-warren.ts'
import { collectGarbage, ownSockets, settledMemory } from './process-holds.ts'
import { clockMs } from './watch.ts'

/** First descriptor systemd hands over. */
const FIRST_SOCKET = 3
const LOOK_EVERY_MS = 5
/** Between two attempts of one punch there is less. */
const QUIET_MS = 4000
/** At least, for a dial through a relay. */
const DIAL_WITHIN_MS = 15_000
const BODY_BYTES_MAX = 64 * 1024
/** Peers at one time, and requests remembered of one stream. */
const MAX_PEERS = 64
const MAX_STREAMED = 50_000
const PING_BYTES = 1024
/** The last so-manieth of a transfer is looked at by itself. */
const LAST_PART = 8

interface Stream {
  requests: StreamedRequest[]
  end: () => void
}

const peers = new Map<string, LabPeer>()
const streams = new Map<string, Stream>()

function peer(id: string): LabPeer {
  const found = peers.get(id)
  if (found === undefined) throw new Error(`no peer "${id}" is open here`)
  return found
}

async function open(request: OpenRequest): Promise<Opened> {
  if (peers.size >= MAX_PEERS) throw new Error(`${MAX_PEERS} peers are open already`)
  const created = await createLabPeer(request)
  peers.set(request.id, created)
  try {
    await created.start()
    await whenReady(created, request)
    await created.settle()
    // That takes a while, in which a relay may be lost and found again.
    await whenReady(created, request)
  } catch (error) {
    await close({ id: request.id })
    throw error
  }
  return {
    peerId: created.libp2p.peerId.toString(),
    addresses: created.libp2p.getMultiaddrs().map(String)
  }
}

async function whenReady(created: LabPeer, { withinMs }: OpenRequest): Promise<void> {
  const deadline = clockMs() + withinMs
  while (!created.isReady()) {
    if (clockMs() > deadline) throw new Error(`not ready within ${withinMs} ms: ${connectionsOf(created)}`)
    await delay(LOOK_EVERY_MS)
  }
}

function connectionsOf({ libp2p }: LabPeer): string {
  const all = libp2p.getConnections().map(({ remoteAddr }) => remoteAddr.toString())
  return all.length === 0 ? 'no connection' : all.join(', ')
}

/** Dial through a relay; by itself nobody dials directly. Answers when it is direct, or no longer waited for. */
async function meet({ id, peerId, via, withinMs }: MeetRequest): Promise<PeerFacts> {
  const { watch } = peer(id)
  await dialThrough(id, via, withinMs)
  const waiting = new AbortController()
  const given = givenUp(peer(id), withinMs, waiting)
  await watch.direct(peerId, waiting.signal)
  waiting.abort()
  await given
  return facts({ id, peerId })
}

async function dialThrough(id: string, via: string[], withinMs: number): Promise<void> {
  // The signal of a dial stays with the connection it made: this one is aborted while the dial runs, or never.
  const dialling = new AbortController()
  const timer = setTimeout(() => dialling.abort(), Math.max(DIAL_WITHIN_MS, withinMs))
  try {
    await peer(id).libp2p.dial(
      via.map(address => multiaddr(address)),
      { signal: dialling.signal }
    )
  } finally {
    clearTimeout(timer)
  }
}

/** Aborts the waiting when its time is over, or when nothing has been punched for a while where the stack tells. */
async function givenUp({ isPunching }: LabPeer, withinMs: number, waiting: AbortController): Promise<void> {
  const deadline = clockMs() + withinMs
  let busyAt = clockMs()
  while (!waiting.signal.aborted && clockMs() < deadline) {
    if (isPunching() !== false) busyAt = clockMs()
    if (clockMs() - busyAt > QUIET_MS) break
    await delay(LOOK_EVERY_MS * 10)
  }
  waiting.abort()
}

/** The other side of `meet`: answers when it is direct as well, or no longer waited for. */
async function direct({ id, peerId, withinMs }: Omit<MeetRequest, 'via'>): Promise<PeerFacts> {
  await peer(id).watch.direct(peerId, AbortSignal.timeout(withinMs))
  return facts({ id, peerId })
}

function facts({ id, peerId }: { id: string; peerId: string }): PeerFacts {
  const found = peer(id)
  return { connections: found.watch.of(peerId), ...found.facts(peerId) }
}

async function mark({ id }: { id: string }): Promise<Record<string, never>> {
  peer(id).watch.mark()
  return {}
}

async function transfer({ id, peerId, bytes, withinMs }: TransferRequest): Promise<Transferred> {
  const began = clockMs()
  const sha256 = await retrieved(peer(id), peerId, bytes, AbortSignal.timeout(withinMs))
  return { tookMs: clockMs() - began, sha256, isIntact: sha256 === patternHash(bytes) }
}

/** Dial through a relay and ask at once: the first bytes come before a direct connection can be used. */
async function moving({ id, peerId, via, bytes, withinMs }: MovingRequest): Promise<Moved> {
  const { watch, network } = peer(id)
  await dialThrough(id, via, withinMs)
  const before = { relayed: watch.relayedBytes(peerId), ...network?.counters() }
  const began = clockMs()
  let beganRelayed: boolean | undefined
  let got = 0
  let relayedAtLast: number | undefined
  const sha256 = await retrieved(peer(id), peerId, bytes, AbortSignal.timeout(withinMs), chunk => {
    // By what came, not by what there is: a direct connection may have opened while these bytes were on their way.
    beganRelayed ??= watch.relayedBytes(peerId) - before.relayed >= chunk.byteLength
    got += chunk.byteLength
    if (got >= bytes - bytes / LAST_PART) relayedAtLast ??= watch.relayedBytes(peerId)
  })
  const tookMs = clockMs() - began
  const relayed = watch.relayedBytes(peerId)
  const after = network!.counters()
  return {
    tookMs,
    sha256,
    isIntact: sha256 === patternHash(bytes),
    beganRelayed: beganRelayed ?? false,
    relayedBytes: relayed - before.relayed,
    relayedBytesInLast: relayed - (relayedAtLast ?? 0),
    moves: after.movedToDirect - (before.movedToDirect ?? 0),
    resumes: after.resumed - (before.resumed ?? 0)
  }
}

function pattern({ bytes }: { bytes: number }): { sha256: string } {
  return { sha256: patternHash(bytes) }
}

async function retrieved(
  { network }: LabPeer,
  peerId: string,
  bytes: number,
  signal: AbortSignal,
  onChunk?: (chunk: Uint8Array) => void
): Promise<string> {
  if (network === null) throw new Error('a stock peer has no requests')
  const { bytes: chunks } = await network.retrieve(peerId, patternName(bytes), { signal })
  const hash = createHash('sha256')
  for await (const chunk of chunks) {
    onChunk?.(chunk)
    hash.update(chunk)
  }
  return hash.digest('hex')
}

/** Begins; `streamed` tells what came of it so far, `endStream` ends it. */
async function stream({ id, peerId, everyMs, answerWithinMs }: StreamRequest): Promise<Record<string, never>> {
  const asking = peer(id)
  const requests: StreamedRequest[] = []
  const wanted = patternHash(PING_BYTES)
  const ask = async (): Promise<void> => {
    if (requests.length >= MAX_STREAMED) return
    const request: StreamedRequest = { beganAtMs: clockMs(), answeredAtMs: null, isDirect: false }
    requests.push(request)
    const before = asking.watch.relayedBytes(peerId)
    try {
      const hash = await retrieved(asking, peerId, PING_BYTES, AbortSignal.timeout(answerWithinMs))
      if (hash !== wanted) throw new Error('the answer is not what was asked for')
      request.answeredAtMs = clockMs()
      request.isDirect = asking.watch.relayedBytes(peerId) - before < PING_BYTES
    } catch (error) {
      request.problem = (error as Error).message
    }
  }
  const timer = setInterval(() => void ask(), everyMs)
  streams.get(id)?.end()
  streams.set(id, { requests, end: () => clearInterval(timer) })
  return {}
}

async function streamed({ id }: { id: string }): Promise<StreamedRequest[]> {
  return streams.get(id)?.requests ?? []
}

async function endStream({ id }: { id: string }): Promise<Record<string, never>> {
  streams.get(id)?.end()
  return {}
}

async function close({ id }: { id: string }): Promise<Record<string, never>> {
  streams.get(id)?.end()
  streams.delete(id)
  const closing = peers.get(id)
  peers.delete(id)
  await closing?.stop()
  return {}
}

/** End every connection with these peers. */
async function part({ id, peerIds }: { id: string; peerIds: string[] }): Promise<Record<string, never>> {
  const { libp2p } = peer(id)
  const wanted = new Set(peerIds)
  const open = libp2p.getConnections().filter(({ remotePeer }) => wanted.has(remotePeer.toString()))
  await Promise.allSettled(open.map(async connection => await connection.close()))
  return {}
}

function mostPunches({ id }: { id: string }): { most: number | null } {
  return { most: peer(id).mostPunches() }
}

/** Whether runs leave something behind. */
async function sockets(): Promise<Held['sockets']> {
  collectGarbage()
  const open = await ownSockets()
  const asking = await new Promise<number>((resolve, reject) =>
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)))
  )
  // The harness asks through the control port, which is of this network or of another.
  const where = open.elsewhere >= asking ? 'elsewhere' : 'tcp'
  return { ...open, [where]: open[where] - asking }
}

async function held(): Promise<Held> {
  const memory = await settledMemory()
  const connections = [...peers.values()].reduce((sum, { libp2p }) => sum + libp2p.getConnections().length, 0)
  return { pid: process.pid, peers: peers.size, connections, sockets: await sockets(), ...memory }
}

const VERBS: Record<string, (body: never) => unknown> = {
  open,
  meet,
  direct,
  facts,
  mark,
  transfer,
  stream,
  streamed,
  endStream,
  close,
  part,
  mostPunches,
  moving,
  pattern,
  sockets,
  held
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  let text = ''
  for await (const chunk of request) {
    text += chunk
    if (text.length > BODY_BYTES_MAX) throw new Error('the request is too large')
  }
  return text === '' ? {} : JSON.parse(text)
}

const server = createServer((request, response) => {
  const path = (request.url ?? '/').slice(1)
  const answer = (status: number, body: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body))
  }
  if (['health', 'ready'].includes(path)) return answer(200, { status: 'ok', peers: peers.size })
  const verb = VERBS[path]
  if (verb === undefined || request.method !== 'POST') return answer(404, { error: 'not found' })
  bodyOf(request)
    .then(body => verb(body as never))
    .then(
      result => answer(200, result),
      (error: Error) => answer(500, { error: error.message })
    )
})
const ready = (): void => {
  const { port } = server.address() as AddressInfo
  console.log(JSON.stringify({ ready: true, peerId: null, addresses: [], port }))
}
if (process.env.LISTEN_FDS === '1') server.listen({ fd: FIRST_SOCKET }, ready)
else server.listen(Number(process.env.PORT), ready)

process.on('SIGTERM', () => process.exit(0))
