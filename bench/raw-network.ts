/**
 * The network of the blob service over bare TCP on loopback: no encryption, no multiplexing, no discovery. Connections are
 * kept and carry one request at a time. What it cannot do a benchmark of replication does not need.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { type BlobHandlers, type BlobMember, type BlobNetwork, ByteQueue } from '../node/index.ts'

/** Hexadecimal digits of a message's length, which come before it. */
const LENGTH_DIGITS = 4

interface PutReplica {
  cid: string
  sizeBytes: number
  mimeType: string
}
/** Its bytes follow; or only the question whether the peer has a blob. */
type Message = { replicate: PutReplica } | { has: string }
type Answer = { alreadyStored: boolean } | { sizeBytes: number | null } | { error: string }

/** Messages and bytes of one socket, read in order, sent with its back-pressure. */
function framed(socket: Socket) {
  socket.setNoDelay(true)
  const pieces = socket[Symbol.asyncIterator]()
  const queue = new ByteQueue()
  const more = async (): Promise<boolean> => {
    const next = await pieces.next()
    if (!next.done) queue.push(next.value as Uint8Array)
    return !next.done
  }
  const need = async (bytes: number): Promise<void> => {
    while (queue.byteLength < bytes) if (!(await more())) throw new Error('the connection ended in a message')
  }
  const send = async (bytes: Uint8Array | string): Promise<void> => {
    if (!socket.write(bytes)) await once(socket, 'drain')
  }
  return {
    socket,
    send,
    tell: async (message: Message | Answer): Promise<void> => {
      const text = JSON.stringify(message)
      await send(text.length.toString(16).padStart(LENGTH_DIGITS, '0') + text)
    },
    /** null at the end of the connection. */
    hear: async <T extends Message | Answer>(): Promise<T | null> => {
      if (queue.byteLength === 0 && !(await more())) return null
      await need(LENGTH_DIGITS)
      const length = Number.parseInt(queue.takeText(LENGTH_DIGITS), 16)
      await need(length)
      return JSON.parse(queue.takeText(length)) as T
    },
    async *bytes(sizeBytes: number): AsyncGenerator<Uint8Array> {
      for (let missing = sizeBytes; missing > 0; ) {
        await need(1)
        const piece = queue.take(missing)
        missing -= piece.byteLength
        yield piece
      }
    }
  }
}
type Framed = ReturnType<typeof framed>

export interface RawNetwork extends BlobNetwork {
  /** Answers others; the port on 127.0.0.1. */
  listen: (
    handlers: Pick<BlobHandlers, 'putReplica'>,
    sizeOf: (cid: string) => Promise<number | null>
  ) => Promise<number>
  /** Who there is, this one included. */
  meet: (peers: ReadonlyArray<{ peerId: string; port: number }>) => void
}

export function createRawNetwork(self: string, shardCount: number): RawNetwork {
  let peers: ReadonlyArray<{ peerId: string; port: number }> = []
  const idle = new Map<string, Framed[]>()
  let server: Server | undefined

  async function withConnection<T>(peerId: string, work: (connection: Framed) => Promise<T>): Promise<T> {
    const free = idle.get(peerId) ?? []
    idle.set(peerId, free)
    const connection = free.pop() ?? (await open(peerId))
    try {
      const result = await work(connection)
      free.push(connection)
      return result
    } catch (error) {
      connection.socket.destroy()
      throw error
    }
  }

  async function open(peerId: string): Promise<Framed> {
    const peer = peers.find(known => known.peerId === peerId)
    if (peer === undefined) throw new Error(`${peerId} is nobody`)
    const socket = connect({ host: '127.0.0.1', port: peer.port })
    await once(socket, 'connect')
    return framed(socket)
  }

  async function answered<T extends Answer>(connection: Framed): Promise<T> {
    const answer = await connection.hear<Answer>()
    if (answer === null) throw new Error('the peer hung up')
    if ('error' in answer) throw new Error(answer.error)
    return answer as T
  }

  const notPart = async (): Promise<never> => {
    throw new Error('a benchmark of replication does not need this')
  }

  return {
    self,
    members: () =>
      peers.map(
        ({ peerId }): BlobMember => ({
          nodeId: peerId,
          peerId,
          shards: [{ start: 0, end: shardCount - 1 }],
          shardCount,
          failureGroup: peerId,
          reachable: true
        })
      ),
    replicate: (peerId, { cid, sizeBytes, mimeType, open: read }) =>
      withConnection(peerId, async connection => {
        await connection.tell({ replicate: { cid, sizeBytes, mimeType } })
        for await (const piece of read(0)) await connection.send(piece)
        return await answered<{ alreadyStored: boolean }>(connection)
      }),
    retrieve: (peerId, cid, { length }) =>
      withConnection(peerId, async connection => {
        if (length !== 0) return await notPart()
        await connection.tell({ has: cid })
        const { sizeBytes } = await answered<{ sizeBytes: number | null }>(connection)
        if (sizeBytes === null) throw new Error(`${peerId} does not have ${cid}`)
        return { sizeBytes, mimeType: '', bytes: nothing() }
      }),
    store: notPart,
    provide: async () => {},
    findProviders: nothing,
    async listen({ putReplica }, sizeOf) {
      async function answer(connection: Framed, message: Message): Promise<Answer> {
        if ('has' in message) return { sizeBytes: await sizeOf(message.has) }
        const { cid, mimeType, sizeBytes } = message.replicate
        return await putReplica(cid, mimeType, connection.bytes(sizeBytes), { sizeHint: sizeBytes })
      }
      async function serve(socket: Socket): Promise<void> {
        const connection = framed(socket)
        for (let message = await connection.hear<Message>(); message; message = await connection.hear<Message>()) {
          await connection.tell(await answer(connection, message))
        }
      }
      server = createServer(socket => {
        serve(socket).catch(error => {
          // The other side meets a connection that ended, and its benchmark fails.
          console.error(error)
          socket.destroy()
        })
      })
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      return (server.address() as { port: number }).port
    },
    meet(known) {
      peers = known
    }
  }
}

async function* nothing(): AsyncGenerator<never> {}
