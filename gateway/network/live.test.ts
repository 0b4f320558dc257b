import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { WebSocket } from 'ws'
import {
  CHAIN,
  eventually,
  type RunningGateway,
  refusalOf,
  type StartOptions,
  startChain,
  startGateway
} from '../testing/fixtures.ts'
import type { NetworkView } from './hosts.types.ts'

const PATH = '/v1/network/ws'

/** A socket that keeps what it is told from the first byte on. */
function open(
  running: RunningGateway,
  options: { query?: string; origin?: string; autoPong?: boolean; headers?: Record<string, string> } = {}
) {
  const { query = '', ...rest } = options
  const socket = new WebSocket(`${running.url.replace('http', 'ws')}${PATH}${query}`, rest)
  const messages: string[] = []
  const closed = new Promise<number>(resolve => socket.once('close', resolve))
  socket.on('message', (data: Buffer) => messages.push(data.toString()))
  socket.on('error', () => {})
  return {
    socket,
    messages,
    closed,
    opened: once(socket, 'open'),
    view: (at: number) => eventually(async () => messages[at]).then(text => JSON.parse(text) as NetworkView),
    async [Symbol.asyncDispose]() {
      socket.terminate()
      if (socket.readyState !== socket.CLOSED) await closed
    }
  }
}

async function metric(running: RunningGateway, line: RegExp): Promise<number> {
  const text = await (await fetch(`${running.url}/metrics`)).text()
  return Number(line.exec(text)?.[1] ?? 0)
}

const OPEN = /^warren_gateway_sockets\{[^}]*\} (\d+)$/m
const REQUESTS = /^warren_gateway_request_seconds_count\{[^}]*status="101"[^}]*\} (\d+)$/m
const closesWith = (code: number) =>
  new RegExp(`^warren_gateway_socket_closes_total\\{[^}]*code="${code}"[^}]*\\} (\\d+)$`, 'm')

describe('the picture, pushed', function () {
  this.timeout(30_000)

  async function startWithChain(options: StartOptions = {}) {
    const chain = await startChain()
    const running = await startGateway({ inventory: [CHAIN], ...options, environment: chain.environment })
    return {
      chain,
      running,
      async [Symbol.asyncDispose]() {
        await running[Symbol.asyncDispose]()
        await chain[Symbol.asyncDispose]()
      }
    }
  }

  it('is what /v1/network/hosts answers, at once, and again for everybody when it has changed', async () => {
    await using both = await startWithChain()
    await using one = open(both.running)
    await using two = open(both.running)
    const { at, ...facts } = await one.view(0)
    assert.ok(!Number.isNaN(Date.parse(at)))
    const answered = (await (await fetch(`${both.running.url}/v1/network/hosts`)).json()) as NetworkView
    assert.deepEqual({ ...facts, at: answered.at }, answered)
    assert.equal((await two.view(0)).hosts.find(host => host.name === 'chain')?.state, 'up')
    both.chain.fail()
    for (const { view } of [one, two]) {
      const chain = (await view(1)).hosts.find(host => host.name === 'chain')
      assert.deepEqual([chain?.state, chain?.reason], ['down', 'its RPC answers 500'])
    }
    assert.deepEqual([one.messages.length, two.messages.length], [2, 2])
  })

  it('comes as HTML for the page', async () => {
    await using running = await startGateway()
    await using page = open(running, { query: '?as=html', origin: running.url })
    const text = await eventually(async () => page.messages[0])
    assert.equal(text, await (await fetch(`${running.url}/v1/network/hosts?as=html`)).text())
  })

  it('is kept from a reader that does not read', async () => {
    const heavy = Array.from({ length: 20 }, (_, index) => ({ ...CHAIN, name: `c${index}`, site: 'x'.repeat(2 ** 20) }))
    await using both = await startWithChain({ inventory: heavy })
    // The picture is made and cached: the chain fails after it.
    await (await fetch(`${both.running.url}/v1/network/hosts`)).arrayBuffer()
    await using slow = open(both.running)
    await slow.opened
    slow.socket.pause()
    both.chain.fail()
    await eventually(async () => (await metric(both.running, closesWith(1013))) === 1)
    slow.socket.resume()
    assert.equal(await slow.closed, 1013)
  })
})

describe('the sockets of a gateway', function () {
  this.timeout(30_000)

  it('are counted, limited, and free again when they close', async () => {
    await using running = await startGateway({ socketLimits: { socketsMax: 1 } })
    {
      await using first = open(running)
      await first.opened
      assert.equal(await metric(running, OPEN), 1)
      const refused = await refusalOf(running, PATH)
      assert.deepEqual([refused.status, refused.code, refused.headers['retry-after']], [503, 'SOCKETS_FULL', '30'])
    }
    await eventually(async () => (await metric(running, OPEN)) === 0)
    await using next = open(running)
    await next.opened
    // Each was a request that is over: it does not count among those under way.
    await eventually(async () => (await metric(running, REQUESTS)) === 2)
  })

  it('are so many from one address, and more from another', async () => {
    const by = (address: string) => ({ 'X-Forwarded-For': address })
    await using running = await startGateway({ socketLimits: { addressMax: 1 } })
    {
      await using first = open(running, { headers: by('2001:db8::1') })
      await first.opened
      const refused = await refusalOf(running, PATH, by('2001:db8::2'))
      assert.deepEqual([refused.status, refused.code, refused.headers['retry-after']], [429, 'SOCKET_LIMIT', '30'])
      await using other = open(running, { headers: by('2001:db8:0:1::1') })
      await other.opened
    }
    await eventually(async () => (await metric(running, OPEN)) === 0)
    await using next = open(running, { headers: by('2001:db8::2') })
    await next.opened
  })

  it('are for the gateway’s own page and for programs, not for pages of others', async () => {
    await using running = await startGateway()
    for (const origin of ['https://elsewhere.example', 'http://127.0.0.1:1', 'null']) {
      const { status, code } = await refusalOf(running, PATH, { Origin: origin })
      assert.deepEqual([status, code], [403, 'ORIGIN_FORBIDDEN'], origin)
    }
    await using own = open(running, { origin: running.url })
    await own.opened
  })

  it('are at their path only; every other offer is answered and its connection ended', async () => {
    await using running = await startGateway()
    const unknown = await refusalOf(running, '/v1/nowhere')
    assert.deepEqual([unknown.status, unknown.code, unknown.headers.connection], [404, 'NOT_FOUND', 'close'])
    assert.equal((await refusalOf(running, PATH, { 'Sec-WebSocket-Version': '7' })).status, 426)
    assert.equal((await refusalOf(running, PATH, { 'Sec-WebSocket-Key': 'short' })).status, 400)
    assert.equal((await refusalOf(running, '/v1/storage/list')).status, 401)
    // Offers of another protocol are ignored, as curl --http2 expects.
    assert.equal((await refusalOf(running, '/health', { Upgrade: 'h2c' })).status, 200)
    const plain = await fetch(running.url + PATH)
    assert.deepEqual([plain.status, plain.headers.get('upgrade')], [426, 'websocket'])
  })

  it('survive an offer on a connection that waits for another answer, and one that is reset', async () => {
    await using running = await startGateway()
    const offer = `GET ${PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`
    const hasty = connect(running.port, '127.0.0.1')
    hasty.on('error', () => {})
    hasty.write(`GET /v1/network/hosts HTTP/1.1\r\nHost: x\r\n\r\n${offer}`)
    hasty.resume()
    await once(hasty, 'close')
    const gone = connect(running.port, '127.0.0.1')
    await once(gone, 'connect')
    gone.write(offer)
    gone.resetAndDestroy()
    assert.equal((await fetch(`${running.url}/ready`)).status, 200)
  })

  it('take nothing', async () => {
    await using running = await startGateway()
    await using talker = open(running)
    await talker.opened
    talker.socket.send('hello')
    assert.equal(await talker.closed, 1008)
    await using shouter = open(running)
    await shouter.opened
    shouter.socket.send('x'.repeat(1000))
    assert.equal(await shouter.closed, 1009)
  })

  it('are cut when pings stay unanswered', async () => {
    await using running = await startGateway({ socketLimits: { pingMs: 500 } })
    await using alive = open(running)
    await using dead = open(running, { autoPong: false })
    assert.equal(await dead.closed, 1006)
    assert.equal(alive.socket.readyState, WebSocket.OPEN)
  })

  it('are closed with 1001 when the gateway stops', async () => {
    const running = await startGateway()
    const polite = open(running)
    await polite.opened
    await running[Symbol.asyncDispose]()
    assert.equal(await polite.closed, 1001)
  })

  it('do not hold up a gateway that stops: neither who ignores the close nor who only connected', async () => {
    const running = await startGateway()
    const deaf = open(running)
    const silent = connect(running.port, '127.0.0.1')
    const ended = once(silent, 'close')
    await Promise.all([deaf.opened, once(silent, 'connect')])
    deaf.socket.pause()
    running.gateway.drain()
    const late = await refusalOf(running, PATH)
    assert.deepEqual([late.status, late.code], [503, 'STOPPING'])
    await running[Symbol.asyncDispose]()
    silent.resume()
    await ended
    deaf.socket.terminate()
  })
})
