import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { kvLoad } from './kv-load.ts'

async function serve(listener: RequestListener) {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    }
  }
}

describe('the load on a key-value store', () => {
  it('puts to every path in turn, with its headers, no two values alike, as JSON where that is asked for', async () => {
    const seen: string[] = []
    const values = new Set<string>()
    await using server = await serve(async (req, res) => {
      const pieces: Buffer[] = []
      for await (const piece of req) pieces.push(piece as Buffer)
      const { value } = JSON.parse(Buffer.concat(pieces).toString()) as { value: string }
      values.add(value)
      seen.push(`${req.url} ${req.headers['x-api-key']} ${Buffer.from(value, 'base64').length}`)
      res.end('{}')
    })
    const headers = { 'x-api-key': 'key' }
    const json: [string, string] = ['{"value":"', '"}']
    const request = { do: 'put' as const, paths: ['/a', '/b'], bytes: 30, json }
    await kvLoad({ port: server.port, count: 4, atOnce: 1, request, headers })
    assert.deepEqual(seen, ['/a key 30', '/b key 30', '/a key 30', '/b key 30'])
    assert.equal(values.size, 4)
  })

  it('counts from when a request was due, also the wait for a connection', async () => {
    await using server = await serve((_req, res) => {
      setTimeout(() => res.end('{}'), 20)
    })
    const order = { port: server.port, count: 6, atOnce: 1, request: { do: 'put' as const, paths: ['/'], bytes: 1 } }
    const { latenciesMs } = await kvLoad({ ...order, perSecond: 1000 })
    // One connection, 20 ms each, all due within 5 ms: the last waited for the five before it, on any machine.
    assert.equal(latenciesMs.length, 6)
    assert.ok((latenciesMs.at(-1) as number) > 90, String(latenciesMs))
    assert.deepEqual((await kvLoad(order)).latenciesMs, [])
  })

  it('counts no answer that is an error or has another length', async () => {
    await using server = await serve((req, res) => {
      res.statusCode = req.url === '/busy' ? 503 : 200
      res.end('short')
    })
    const read = (path: string) =>
      kvLoad({ port: server.port, count: 1, atOnce: 1, request: { do: 'get', paths: [path], bytes: 6 } })
    await assert.rejects(read('/busy'), /answered 503: short/)
    const put = { do: 'put' as const, paths: ['/busy'], bytes: 6 }
    await assert.rejects(kvLoad({ port: server.port, count: 1, atOnce: 1, request: put }), /answered 503: short/)
    await assert.rejects(read('/'), /5 bytes where 6 are due/)
  })
})
