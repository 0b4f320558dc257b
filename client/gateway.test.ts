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
})
