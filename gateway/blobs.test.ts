import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { generousEnvironment, silentLog } from '../node/index.ts'
import { connectNetwork } from './network/connect.ts'
import type { NetworkView } from './network/hosts.types.ts'
import type { NetworkPort } from './network/port.ts'
import { ALICE, BOB, eventually, type RunningGateway, startGateway } from './testing/fixtures.ts'

const NODE_MAIN = fileURLToPath(new URL('../node/main.ts', import.meta.url))
const MIB = 1024 * 1024
const NODES = 3

interface NodeProcess {
  process: ChildProcess
  name: string
  peerId: string
  address: string
}

async function startNode(folder: string, name: string, bootstrap: readonly string[]): Promise<NodeProcess> {
  const child = spawn(process.execPath, [NODE_MAIN], {
    env: {
      ...generousEnvironment('node'),
      PATH: process.env.PATH,
      WARREN_OFFLINE: '1',
      NODE_ID: name,
      PORT: '0',
      DATA_DIR: join(folder, name),
      P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0',
      P2P_BOOTSTRAP_PEERS: bootstrap.join(','),
      LOG_LEVEL: 'fatal'
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const [line] = (await once(createInterface(child.stdout as NodeJS.ReadableStream), 'line')) as [string]
  const { peerId, addresses } = JSON.parse(line) as { peerId: string; addresses: string[] }
  return { process: child, name, peerId, address: addresses[0] as string }
}

describe('values over 64 KiB, on real nodes', function () {
  this.timeout(60_000)
  let folder: string
  let network: NetworkPort
  let running: RunningGateway
  let aheadMs = 0
  const nodes: NodeProcess[] = []

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-gateway-blobs-'))
    for (let index = 0; index < NODES; index += 1) {
      nodes.push(
        await startNode(
          folder,
          `node-${index}`,
          nodes.map(node => node.address)
        )
      )
    }
    const environment = {
      ...generousEnvironment('node'),
      NODE_ID: 'gw',
      MAX_BLOB_SIZE_MB: '8',
      GATEWAY_BOOTSTRAP_PEERS: nodes.map(node => node.address).join(',')
    }
    const { readConfig } = await import('./config.ts')
    const config = readConfig({ ...environment, DATA_DIR: folder })
    network = (await connectNetwork({ config, log: silentLog() })) as NetworkPort
    const inventory = nodes.map(({ name, peerId }) => ({
      name,
      role: 'node',
      peerId,
      site: 'rack',
      nat: null,
      natKind: null,
      control: null
    }))
    running = await startGateway({ environment, network, inventory, nowMs: () => Date.now() + aheadMs })
    await eventually(async () => {
      const members = (await network.observeNodes()).filter(node => node.state === 'up').length
      return members === NODES
    }, 30_000)
  })
  after(async () => {
    await running?.[Symbol.asyncDispose]()
    await network?.close()
    for (const node of nodes) node.process.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  })

  const value = randomBytes(3 * MIB + 7)

  it('are stored as blobs, streamed back whole, in part and as JSON', async () => {
    const stored = await running.ask('/v1/storage/put?key=big', { method: 'POST', body: value })
    assert.equal(stored.status, 201)
    const { cid, ...rest } = (await stored.json()) as { cid: string }
    assert.match(cid, /^bafybei/)
    assert.deepEqual(rest, { status: 'ok', key: 'big', size: value.byteLength })

    const whole = await running.ask('/v1/storage/get?key=big')
    assert.equal(whole.headers.get('content-length'), String(value.byteLength))
    assert.ok(value.equals(Buffer.from(await whole.arrayBuffer())))
    const part = await running.ask('/v1/storage/get?key=big', { headers: { Range: 'bytes=1000000-1000999' } })
    assert.equal(part.status, 206)
    assert.ok(value.subarray(1_000_000, 1_001_000).equals(Buffer.from(await part.arrayBuffer())))
    const head = await running.ask('/v1/storage/get?key=big', { method: 'HEAD' })
    assert.deepEqual([head.status, head.headers.get('content-length')], [200, String(value.byteLength)])
    const json = await running.ask('/v1/storage/get?key=big', { headers: { Accept: 'application/json' } })
    assert.ok(value.equals(Buffer.from(((await json.json()) as { value: string }).value, 'base64')))
  })

  it('are cut at the limit when they come in chunks, and leave nothing', async () => {
    let sent = 0
    const body = new ReadableStream({
      pull(controller) {
        if (sent > 12 * MIB) return controller.close()
        sent += 64 * 1024
        controller.enqueue(new Uint8Array(64 * 1024))
      }
    })
    const init = { method: 'POST', body, duplex: 'half' } as RequestInit
    const answer = await running.ask('/v1/storage/put?key=endless', init)
    assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [413, 'BODY_TOO_LARGE'])
    assert.equal((await running.ask('/v1/storage/get?key=endless')).status, 404)
  })

  it('obey conditions before they are uploaded, end in time, and leave no reference behind', async () => {
    const large = Buffer.alloc(70_000, 'x')
    const ask = (what: string, headers: Record<string, string> = {}, init: RequestInit = {}) =>
      running.ask(`/v1/storage/${what}?key=large`, { ...init, headers })
    const put = (body: string | Buffer<ArrayBuffer>, headers: Record<string, string>) =>
      ask('put', headers, { method: 'PUT', body })
    const reference = async () =>
      (await running.store.values.get({ namespace: 'alice', key: 'ns::alice::large' }))?.cid ?? null

    const stored = await put(large, { 'If-None-Match': '*', 'X-TTL-Seconds': '600' })
    assert.equal(stored.status, 201)
    const { cid, expires_at: end } = (await stored.json()) as { cid: string; expires_at: string }
    assert.equal(await reference(), cid)
    const etag = stored.headers.get('etag') ?? ''
    assert.equal((await put(large, { 'If-None-Match': '*' })).status, 412)
    // The answer comes without the body.
    const waits = { 'X-API-Key': ALICE, 'Content-Length': String(4 * MIB), Expect: '100-continue', 'If-Match': '"old"' }
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const sent = request(`${running.url}/v1/storage/put?key=large`, { method: 'PUT', headers: waits }, answer => {
        resolve(answer.statusCode)
        sent.destroy()
      })
      sent.once('continue', () => reject(new Error('the body was asked for'))).once('error', reject)
      sent.flushHeaders()
    })
    assert.equal(status, 412)
    assert.equal((await ask('get', { 'If-None-Match': etag })).status, 304)
    assert.deepEqual(await (await ask('get', { Accept: 'application/json' })).json(), {
      key: 'large',
      value: large.toString('base64'),
      expires_at: end
    })
    aheadMs = 600_000
    assert.equal((await ask('get')).status, 404)
    assert.equal(await running.store.values.sweep(), 1)
    assert.equal((await put(large, { 'If-None-Match': '*' })).status, 201)
    assert.equal((await put('small', { 'If-Match': '*' })).status, 201)
    assert.equal(await reference(), null)
    assert.equal(await (await ask('get')).text(), 'small')
  })

  it('are seen on the page: hosts, their blobs and the paths to them', async () => {
    const view = await eventually(async () => {
      const found = (await (await fetch(`${running.url}/v1/network/hosts`)).json()) as NetworkView
      return found.hosts.some(host => (host.storedBlobs ?? 0) > 0) ? found : null
    })
    assert.deepEqual(
      view.hosts.map(host => [host.name, host.role, host.state]),
      [['gw', 'gateway', 'up'], ...nodes.map(node => [node.name, 'node', 'up'])]
    )
    assert.ok(view.paths.some(path => path.path === 'direct' && [path.a, path.b].includes('gw')))
  })

  it('stay readable when a holder is killed, and are an outage, not a 404, when none is left', async () => {
    const [first, ...others] = nodes as [NodeProcess, ...NodeProcess[]]
    first.process.kill('SIGKILL')
    await once(first.process, 'exit')
    const again = await running.ask('/v1/storage/get?key=big')
    assert.ok(value.equals(Buffer.from(await again.arrayBuffer())))
    await eventually(async () => {
      const view = (await (await fetch(`${running.url}/v1/network/hosts`)).json()) as NetworkView
      return view.hosts.find(host => host.name === first.name)?.state === 'down'
    }, 20_000)
    for (const node of others) {
      node.process.kill('SIGKILL')
      await once(node.process, 'exit')
    }
    const gone = await running.ask('/v1/storage/get?key=big')
    assert.deepEqual([gone.status, ((await gone.json()) as { code: string }).code], [503, 'NETWORK_UNAVAILABLE'])
    // Nobody reads the body of a HEAD, in whichever form: nothing is fetched for it.
    for (const Accept of ['*/*', 'application/json']) {
      const head = await running.ask('/v1/storage/get?key=big', { method: 'HEAD', headers: { Accept } })
      assert.equal(head.status, 200, Accept)
    }
    const stranger = await running.ask('/v1/storage/get?key=big', { headers: { 'X-API-Key': BOB } })
    assert.equal(stranger.status, 404)
  })
})
