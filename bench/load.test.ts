import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { firstFile, numbered } from './files.ts'
import { load } from './load.ts'

async function serve(listener: RequestListener): Promise<{ port: number; server: Server } & AsyncDisposable> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    server,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    }
  }
}

describe('the load of a benchmark', () => {
  it('sends whole bodies, no two alike, no more at once than asked', async () => {
    const seen = new Set<string>()
    const sizes = new Set<number>()
    let now = 0
    let most = 0
    const three = Promise.withResolvers<void>()
    await using server = await serve(async (req, res) => {
      now += 1
      most = Math.max(most, now)
      if (now === 3) three.resolve()
      const hash = createHash('sha256')
      let bytes = 0
      for await (const piece of req) {
        hash.update(piece)
        bytes += piece.length
      }
      seen.add(hash.digest('hex'))
      sizes.add(bytes)
      await three.promise
      now -= 1
      res.end('{}')
    })
    await load({ port: server.port, count: 20, atOnce: 3, request: { do: 'put', path: '/store', bytes: 300_000 } })
    assert.equal(seen.size, 20)
    assert.deepEqual([...sizes], [300_000])
    assert.equal(most, 3)
  })

  it('reads every path in turn on kept connections', async () => {
    const asked: string[] = []
    let connections = 0
    await using server = await serve((req, res) => {
      asked.push(req.url ?? '')
      res.setHeader('content-length', 700_000)
      res.end(Buffer.alloc(700_000))
    })
    server.server.on('connection', () => {
      connections += 1
    })
    const request = { do: 'get', paths: ['/a', '/b', '/c'], bytes: 700_000 } as const
    await load({ port: server.port, count: 12, atOnce: 2, request: { ...request, paths: [...request.paths] } })
    assert.deepEqual([...asked].sort().join(''), '/a'.repeat(4) + '/b'.repeat(4) + '/c'.repeat(4))
    assert.equal(connections, 2)
  })

  it('sends the files of a seed, each once, as bodies and as the file of a form', async () => {
    const bytes = 200_000
    const due = Array.from({ length: 6 }, (_, index) => numbered(firstFile('a', bytes), index).toString('hex'))
    for (const isForm of [false, true]) {
      const seen: string[] = []
      await using server = await serve(async (req, res) => {
        const whole = new Response(Buffer.concat(await req.toArray()), {
          headers: { 'content-type': req.headers['content-type']! }
        })
        const file = isForm ? ((await whole.formData()).get('file') as File) : whole
        seen.push(Buffer.from(await file.arrayBuffer()).toString('hex'))
        res.end('{}')
      })
      const request = { do: 'put', path: '/store', bytes, seed: 'a', isForm } as const
      await load({ port: server.port, count: 6, atOnce: 2, request })
      assert.deepEqual(seen.sort(), due.toSorted())
    }
  })

  it('reads answers that come in chunks, and asks by POST where that is wanted', async () => {
    const asked: string[] = []
    await using server = await serve((req, res) => {
      asked.push(`${req.method} ${req.headers['content-length']}`)
      for (let piece = 0; piece < 7; piece += 1) res.write(Buffer.alloc(100_000))
      res.end()
    })
    const read = (bytes: number) =>
      load({
        port: server.port,
        count: 3,
        atOnce: 1,
        request: { do: 'get', method: 'POST', paths: ['/cat'], bytes }
      })
    await read(700_000)
    assert.deepEqual(asked, ['POST 0', 'POST 0', 'POST 0'])
    await assert.rejects(read(700_001), /700000 bytes where 700001 are due/)
  })

  it('counts no answer that is an error or has another length', async () => {
    await using server = await serve((req, res) => {
      res.statusCode = req.url === '/busy' ? 503 : 200
      res.end('short')
    })
    const read = (path: string) =>
      load({ port: server.port, count: 1, atOnce: 1, request: { do: 'get', paths: [path], bytes: 6 } })
    await assert.rejects(read('/busy'), /answered 503: short/)
    await assert.rejects(read('/'), /5 bytes where 6 are due/)
  })

  it('fails when the server hangs up in the middle of an answer', async () => {
    await using server = await serve((_req, res) => {
      res.setHeader('content-length', 100_000)
      res.write(Buffer.alloc(50_000), () => res.destroy())
    })
    const request = { do: 'get', paths: ['/'], bytes: 100_000 } as const
    await assert.rejects(
      load({ port: server.port, count: 1, atOnce: 1, request: { ...request, paths: ['/'] } }),
      /closed the connection|ECONNRESET/
    )
  })
})
