import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createGatewayClient } from './gateway.ts'

describe('the client of a gateway', () => {
  it('sends a value whole, announces a length it knows, and streams one it does not', async () => {
    const received: Buffer[] = []
    const server = createServer(async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      received.push(Buffer.concat(chunks))
      response.end(JSON.stringify({ status: request.headers['content-length'] ?? 'chunked' }))
    }).listen(0, '127.0.0.1')
    try {
      await once(server, 'listening')
      const { storage } = createGatewayClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
      const value = randomBytes(300_001)
      assert.equal((await storage.put('bytes', value)).status, String(value.byteLength))
      assert.equal((await storage.put('nothing', new Uint8Array())).status, '0')
      assert.equal((await storage.put('text', 'é')).status, '2')
      const stream = async function* () {
        yield value.subarray(0, 7)
        yield value.subarray(7)
      }
      assert.equal((await storage.put('stream', stream())).status, 'chunked')
      assert.deepEqual(received, [value, Buffer.alloc(0), Buffer.from('é'), value])
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })

  it('lists all keys, page by page, or as many as are asked for', async () => {
    const all = Array.from({ length: 2_500 }, (_, index) => `k/${String(index).padStart(4, '0')}`)
    const asked: string[] = []
    const server = createServer((request, response) => {
      const { searchParams } = new URL(request.url ?? '', 'http://gateway')
      asked.push(searchParams.toString())
      const from = Number(searchParams.get('cursor') ?? 0)
      const to = from + Number(searchParams.get('limit') ?? 100)
      response.end(
        JSON.stringify({ keys: all.slice(from, to), ...(to < all.length ? { next_cursor: String(to) } : {}) })
      )
    }).listen(0, '127.0.0.1')
    try {
      await once(server, 'listening')
      const { storage } = createGatewayClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
      assert.deepEqual(await storage.list({ prefix: 'k/' }), all)
      assert.deepEqual(asked, [
        'prefix=k%2F&limit=1000',
        'prefix=k%2F&limit=1000&cursor=1000',
        'prefix=k%2F&limit=1000&cursor=2000'
      ])
      assert.deepEqual(await storage.list({ limit: 1_200 }), all.slice(0, 1_200))
      assert.deepEqual(asked.slice(3), ['limit=1000', 'limit=200&cursor=1000'])
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })
})
