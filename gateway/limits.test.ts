import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type ClientRequest, createServer, type IncomingMessage, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import Koa, { type Context } from 'koa'
import { silentLog } from '../node/index.ts'
import { AUTH_REQUESTS_MAX, CALLER_REQUESTS_MAX, REQUESTS_MAX } from './constants.ts'
import { ApiKeyMissingError } from './errors.ts'
import { createFailures } from './failures.ts'
import { type BodyOptions, bodyOf, createConcurrencyLimit, wholeBodyOf } from './middleware/limits.ts'
import { ALICE, BOB, eventually, type RunningGateway, startGateway } from './testing/fixtures.ts'

const KIB = 1024

describe('limits on bodies', () => {
  let running: RunningGateway
  before(async () => {
    running = await startGateway({ environment: { MAX_BLOB_SIZE_MB: '1' } })
  })
  after(() => running[Symbol.asyncDispose]())

  /** A request by hand: its head, and whether the server asked for the body. */
  function send(headers: Record<string, string>, body: (write: (chunk: Buffer) => boolean, end: () => void) => void) {
    return new Promise<{ status: number; code: string; continued: boolean }>((resolve, reject) => {
      let continued = false
      const outgoing = request(`${running.url}/v1/storage/put?key=big`, {
        method: 'POST',
        headers: { 'X-API-Key': ALICE, ...headers }
      })
      outgoing.on('continue', () => {
        continued = true
      })
      outgoing.on('response', async incoming => {
        const chunks: Buffer[] = []
        for await (const chunk of incoming) chunks.push(chunk as Buffer)
        const { code } = JSON.parse(Buffer.concat(chunks).toString()) as { code: string }
        resolve({ status: incoming.statusCode ?? 0, code, continued })
        outgoing.destroy()
      })
      // The server may close while the client still writes; then the answer is there already.
      outgoing.on('error', reject)
      body(
        chunk => outgoing.write(chunk),
        () => outgoing.end()
      )
    })
  }

  it('refuses by Content-Length before the body is read', async () => {
    const answer = await send({ 'Content-Length': String(2 ** 40) }, write => write(Buffer.alloc(1)))
    assert.deepEqual([answer.status, answer.code], [413, 'BODY_TOO_LARGE'])
  })

  it('refuses without asking for the body when the caller waits to be asked', async () => {
    const large = { 'Content-Length': String(2 ** 40), Expect: '100-continue' }
    const answer = await send(large, () => {})
    assert.deepEqual(answer, { status: 413, code: 'BODY_TOO_LARGE', continued: false })
    const stranger = await send({ ...large, 'X-API-Key': 'nobody' }, () => {})
    assert.deepEqual(stranger, { status: 401, code: 'API_KEY_INVALID', continued: false })
  })

  it('cuts a chunked body at the limit', async () => {
    // Without a network the value cannot be kept; what counts here is that the JSON form is cut at its own limit.
    const answer = await new Promise<{ status: number; code: string }>((resolve, reject) => {
      const outgoing = request(`${running.url}/v1/storage/put`, { method: 'POST', headers: { 'X-API-Key': ALICE } })
      let stopped = false
      outgoing.on('response', async incoming => {
        stopped = true
        const chunks: Buffer[] = []
        for await (const chunk of incoming) chunks.push(chunk as Buffer)
        resolve({
          status: incoming.statusCode ?? 0,
          ...(JSON.parse(Buffer.concat(chunks).toString()) as { code: string })
        })
        outgoing.destroy()
      })
      outgoing.on('error', error => (stopped ? undefined : reject(error)))
      const chunk = Buffer.alloc(64 * KIB, 0x20)
      const pump = () => {
        while (!stopped && outgoing.write(chunk));
        if (!stopped) outgoing.once('drain', pump)
      }
      pump()
    })
    assert.deepEqual([answer.status, answer.code], [413, 'BODY_TOO_LARGE'])
  })

  it('asks for the body of a caller that waits and may store', async () => {
    const answer = await new Promise<{ status: number; continued: boolean }>((resolve, reject) => {
      let continued = false
      const outgoing = request(`${running.url}/v1/storage/put?key=polite`, {
        method: 'POST',
        headers: { 'X-API-Key': ALICE, Expect: '100-continue', 'Content-Length': '2' }
      })
      outgoing.on('continue', () => {
        continued = true
        outgoing.end('ok')
      })
      outgoing.on('response', incoming => {
        incoming.resume()
        resolve({ status: incoming.statusCode ?? 0, continued })
      })
      outgoing.on('error', reject)
      outgoing.flushHeaders()
    })
    assert.deepEqual(answer, { status: 201, continued: true })
  })
})

describe('a large value where no node is', () => {
  it('is refused, and its caller can write all of it', async () => {
    await using running = await startGateway()
    const sizeBytes = 8 * 1024 * KIB
    const outgoing = request(`${running.url}/v1/storage/put?key=big`, {
      method: 'POST',
      headers: { 'X-API-Key': ALICE, 'Content-Length': sizeBytes }
    })
    const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>
    // As much as a refusal still reads.
    const written = new Promise<void>((resolve, reject) => {
      outgoing.write(Buffer.alloc(sizeBytes), error => (error ? reject(error) : resolve()))
    })
    const [[incoming]] = await Promise.all([answered, written])
    incoming.resume()
    assert.equal(incoming.statusCode, 503)
    outgoing.destroy()
  })
})

describe('a full database', () => {
  it('takes no more values, and wallets log in all the same', async () => {
    await using running = await startGateway({
      environment: { GATEWAY_DATABASE_MAX_MB: '2', GATEWAY_AUTH_RATE_PER_MINUTE: '0' }
    })
    const put = async (key: string, sizeBytes: number) =>
      (await running.ask(`/v1/storage/put?key=${key}`, { method: 'PUT', body: Buffer.alloc(sizeBytes) })).status
    for (const sizeBytes of [60_000, 3_000, 1]) {
      let count = 0
      let status = 201
      while (status === 201 && count < 1_000) {
        status = await put(`${sizeBytes}-${count}`, sizeBytes)
        count += 1
      }
      assert.equal(status, 507)
    }
    for (let index = 0; index < 100; index += 1) {
      const body = JSON.stringify({ wallet: `0x${String(index).padStart(40, '0')}` })
      const challenge = await fetch(`${running.url}/v1/auth/challenge`, { method: 'POST', body })
      assert.equal(challenge.status, 200, await challenge.text())
    }
    // What is deleted makes room again.
    for (const key of ['60000-0', '60000-1']) {
      assert.equal((await running.ask(`/v1/storage/delete?key=${key}`, { method: 'DELETE' })).status, 200)
    }
    assert.equal(await put('again', 60_000), 201)
  })
})

describe('places for requests', () => {
  it('are free again when a request is refused, though its caller is slow to send the rest', async () => {
    const app = new Koa()
    app.use(createFailures(silentLog()))
    app.use(createConcurrencyLimit(1))
    app.use(context => {
      if (context.method === 'POST') throw new ApiKeyMissingError()
      context.body = 'welcome'
    })
    const server = createServer(app.callback()).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const outgoing = request({ port, host: '127.0.0.1', method: 'POST', headers: { 'Content-Length': 10 } })
    outgoing.on('error', () => {}).flushHeaders()
    const [refused] = (await once(outgoing, 'response')) as [IncomingMessage]
    assert.equal(refused.statusCode, 401)
    const next = await fetch(`http://127.0.0.1:${port}/`)
    assert.deepEqual([next.status, await next.text()], [200, 'welcome'])
    outgoing.destroy()
    server.closeAllConnections()
    server.close()
  })

  it('are left for others by a caller who takes all it can', async () => {
    await using running = await startGateway()
    const slow = Array.from({ length: CALLER_REQUESTS_MAX }, () => {
      const outgoing = request(`${running.url}/v1/storage/put?key=slow`, {
        method: 'PUT',
        headers: { 'X-API-Key': ALICE, 'Content-Length': 10, Expect: '100-continue' }
      })
      outgoing.on('error', () => {}).flushHeaders()
      return outgoing
    })
    await Promise.all(slow.map(outgoing => once(outgoing, 'continue')))
    const next = await running.ask('/v1/storage/list')
    assert.deepEqual([next.status, ((await next.json()) as { code: string }).code], [429, 'RATE_LIMITED'])
    assert.equal((await running.ask('/v1/storage/list', { headers: { 'X-API-Key': BOB } })).status, 200)
    for (const outgoing of slow) outgoing.destroy()
    await eventually(async () => (await running.ask('/v1/storage/list')).status === 200)
  })

  it('are given back by every request that is answered', async () => {
    await using running = await startGateway()
    for (let left = CALLER_REQUESTS_MAX + 1; left > 0; left -= 64) {
      const answers = await Promise.all(Array.from({ length: 64 }, () => running.ask('/v1/storage/list')))
      for (const answer of answers) {
        await answer.arrayBuffer()
        assert.equal(answer.status, 200)
      }
    }
  })

  it('are left for others by strangers who are slow to say who they are', async () => {
    await using running = await startGateway({ environment: { GATEWAY_AUTH_RATE_PER_MINUTE: '0' } })
    const slow = Array.from({ length: AUTH_REQUESTS_MAX }, () => {
      const outgoing = request(`${running.url}/v1/auth/challenge`, {
        method: 'POST',
        // The server asks for the body when the request has its place.
        headers: { 'Content-Length': 10, Expect: '100-continue' }
      })
      outgoing.on('error', () => {}).flushHeaders()
      return outgoing
    })
    await Promise.all(slow.map(outgoing => once(outgoing, 'continue')))
    const next = await fetch(`${running.url}/v1/auth/challenge`, { method: 'POST', body: '{}' })
    assert.deepEqual([next.status, ((await next.json()) as { code: string }).code], [503, 'OVERLOADED'])
    assert.equal((await running.ask('/v1/storage/list')).status, 200)
    for (const outgoing of slow) outgoing.destroy()
    await eventually(
      async () => (await fetch(`${running.url}/v1/auth/challenge`, { method: 'POST', body: '{}' })).status === 400
    )
  })
})

describe('a body', () => {
  const readers: Record<string, (context: Context, options: BodyOptions) => Promise<Buffer>> = {
    'piece by piece': async (context, options) => {
      const pieces: Buffer[] = []
      for await (const piece of bodyOf(context, options)) pieces.push(piece)
      return Buffer.concat(pieces)
    },
    whole: wholeBodyOf
  }
  for (const [how, read] of Object.entries(readers)) {
    /** What the reader says of the body that `send` sends: its text, or the code of the error. */
    async function told(
      length: number,
      send: (outgoing: ClientRequest) => void,
      more: Partial<BodyOptions> = {}
    ): Promise<string> {
      const said = Promise.withResolvers<string>()
      const server = createServer(async (incoming, response) => {
        const context = { req: incoming, res: response } as unknown as Context
        await read(context, { maxBytes: 10, idleTimeoutMs: 50, ...more }).then(
          body => said.resolve(body.toString()),
          error => said.resolve((error as { code: string }).code)
        )
        response.end()
      }).listen(0, '127.0.0.1')
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      const outgoing = request({ port, host: '127.0.0.1', method: 'POST', headers: { 'Content-Length': length } })
      outgoing.on('error', () => {})
      send(outgoing)
      try {
        return await said.promise
      } finally {
        outgoing.destroy()
        server.closeAllConnections()
        server.close()
      }
    }

    it(`read ${how} is what was sent, in however many pieces`, async () => {
      assert.equal(await told(10, outgoing => outgoing.end('0123456789')), '0123456789')
      assert.equal(await told(0, outgoing => outgoing.end()), '')
      const pieces = told(4, outgoing => outgoing.write('01', () => setImmediate(() => outgoing.end('23'))))
      assert.equal(await pieces, '0123')
    })

    it(`read ${how} is given up when no byte comes, when its caller leaves, and over its limit`, async () => {
      assert.equal(await told(5, outgoing => outgoing.flushHeaders()), 'BODY_STALLED')
      assert.equal(await told(5, outgoing => outgoing.write('0')), 'BODY_STALLED')
      assert.equal(await told(5, outgoing => outgoing.write('0', () => outgoing.destroy())), 'CALLER_GONE')
      assert.equal(await told(11, outgoing => outgoing.flushHeaders()), 'BODY_TOO_LARGE')
    })

    it(`read ${how} is given up when all of it takes too long, though no pause does`, async () => {
      const trickle = (outgoing: ClientRequest) => {
        let left = 10
        const timer = setInterval(() => {
          outgoing.write('0')
          left -= 1
          if (left === 0) outgoing.end()
        }, 100)
        outgoing.once('close', () => clearInterval(timer)).once('finish', () => clearInterval(timer))
      }
      assert.equal(await told(10, trickle, { idleTimeoutMs: 60_000, timeoutMs: 300 }), 'BODY_STALLED')
    })
  }
})

describe('requests that come before their turn on a connection', () => {
  it('give their places back when it ends, also by an upgrade that did not wait for its turn', async () => {
    await using running = await startGateway()
    const { hostname, port } = new URL(running.url)
    const ask = 'GET /health HTTP/1.1\r\nHost: gateway\r\n'
    for (let at = 0; at <= REQUESTS_MAX; at += 64) {
      const socket = connect(Number(port), hostname)
      socket.on('error', () => {})
      socket.end(`${`${ask}\r\n`.repeat(65)}${ask}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`)
      socket.resume()
      await once(socket, 'close')
    }
    const headers = { 'X-API-Key': ALICE, 'Content-Length': '1', Expect: '100-continue' }
    const held = request(`${running.url}/v1/storage/put?key=held`, { method: 'PUT', headers })
    held.on('error', () => {}).flushHeaders()
    await once(held, 'continue')
    assert.equal((await fetch(`${running.url}/health`)).status, 200)
    held.end('0')
    assert.equal(((await once(held, 'response'))[0] as IncomingMessage).statusCode, 201)
  })
})
