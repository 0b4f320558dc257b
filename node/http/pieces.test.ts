import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import Router from '@koa/router'
import Koa from 'koa'
import type { RemoteRead } from '../blobs/network.types.ts'
import { SPAN_MAX_BYTES } from '../blobs/sealed-span.ts'
import { eventually } from '../net/testing.ts'
import type { BlobJsonRoutesOptions } from './blob-json-routes.ts'
import { addBlobRoutes } from './blob-routes.ts'
import { createHeldAnswers, type HeldAnswers } from './held-answers.ts'

/** More than the system takes of an answer that nobody reads. */
const LARGE_BYTES = 32 * 1024 * 1024

/** A server of one blob, whose read is what a test says. */
async function serve(read: () => RemoteRead, init: { held: HeldAnswers; stallTimeoutMs?: number }) {
  const router = new Router()
  addBlobRoutes(router, {
    blobs: { get: async () => read() },
    aliases: { resolve: (cid: string) => cid },
    downloads: { take: () => () => {} },
    addressOf: () => 'a',
    patience: { bodyMsPerMib: 0.001 },
    stallTimeoutMs: 60_000,
    ...init
  } as unknown as BlobJsonRoutesOptions)
  const app = new Koa().use(router.routes())
  app.silent = true
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const sockets: Socket[] = []
  return {
    /** A client that has asked and reads nothing yet. */
    ask(): Socket {
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
      socket.pause()
      socket.on('error', () => {})
      socket.write('GET /retrieve/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
      sockets.push(socket)
      return socket
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    }
  }
}

function piecesOf(bytes: Buffer): RemoteRead {
  // Each has memory of its own, as what was unsealed has.
  const half = bytes.length / 2
  const pieces = [bytes.subarray(0, half), bytes.subarray(half)].map(piece => new Uint8Array(piece))
  return { sizeBytes: bytes.length, mimeType: 'text/plain', bytes: (async function* () {})(), pieces }
}

describe('an answer of pieces', () => {
  const bytes = randomBytes(LARGE_BYTES)

  it('is whole however late its client reads, and counts as held until then', async () => {
    const held = createHeldAnswers()
    await using server = await serve(() => piecesOf(bytes), { held })
    const clients = [server.ask(), server.ask()]
    await eventually(() => held.bytes === 2 * LARGE_BYTES, 'both are held')
    for (const [nth, client] of clients.entries()) {
      const got = Buffer.concat(await client.toArray())
      assert.ok(got.subarray(got.indexOf('\r\n\r\n') + 4).equals(bytes))
      await eventually(() => held.bytes === (1 - nth) * LARGE_BYTES, 'it is not held any more')
    }
  })

  it('is not held for a client that went, or takes nothing', async () => {
    const held = createHeldAnswers()
    await using server = await serve(() => piecesOf(bytes), { held, stallTimeoutMs: 100 })
    const gone = server.ask()
    await eventually(() => held.bytes > 0, 'it is held')
    gone.destroy()
    await eventually(() => held.bytes === 0, 'it is not held any more')
    server.ask()
    await eventually(() => held.bytes > 0, 'it is held')
    await eventually(() => held.bytes === 0, 'it is ended')
  })

  it('keeps no room for a blob that comes as a stream, or not at all', async () => {
    const held = createHeldAnswers(SPAN_MAX_BYTES)
    const reads = [
      () => ({
        sizeBytes: 1,
        mimeType: 'text/plain',
        bytes: (async function* () {
          yield Buffer.from('x')
        })()
      }),
      () => {
        throw new Error('the disk is gone')
      }
    ]
    for (const read of reads) {
      await using server = await serve(read, { held })
      const client = server.ask()
      await client.toArray()
      assert.equal(held.bytes, 0)
    }
  })
})
