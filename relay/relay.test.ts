import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createNetworkNode, createReflectorClient, detectNatKind, ephemeralIdentity, silentLog } from '../node/index.ts'
import { type RelayConfigError, readConfig } from './config.ts'
import { createRelay, type Relay } from './relay.ts'

const PROGRAM = fileURLToPath(new URL('main.ts', import.meta.url))

async function until<T>(fact: () => Promise<T> | T, what: string): Promise<T> {
  const end = performance.now() + 20_000
  for (;;) {
    const value = await fact()
    if (value) return value
    if (performance.now() > end) throw new Error(`still not: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 25))
  }
}

describe('a relay', function () {
  this.timeout(60_000)
  let folder: string
  const running: Relay[] = []

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-relay-'))
  })
  afterEach(async () => {
    await Promise.all(running.splice(0).map(relay => relay.stop()))
    await rm(folder, { recursive: true, force: true })
  })

  async function start(name: string, env: Record<string, string> = {}): Promise<Relay> {
    const config = readConfig({
      DATA_DIR: join(folder, name),
      PORT: '0',
      RELAY_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/0/ws',
      P2P_REFLECTOR_PORTS: '0,0',
      ...env
    })
    const relay = await createRelay(config, silentLog())
    await relay.start()
    running.push(relay)
    return relay
  }
  const get = (relay: Relay, path: string) => fetch(`http://127.0.0.1:${relay.httpPort()}${path}`)

  it('answers health, peers, readiness and metrics in the seed’s shapes', async () => {
    const relay = await start('a')
    for (const path of ['/', '/health']) {
      const response = await get(relay, path)
      assert.equal(response.status, 200)
      assert.equal(response.headers.get('access-control-allow-origin'), '*')
      const body = (await response.json()) as Record<string, unknown>
      assert.equal(body.status, 'healthy')
      assert.equal(body.nodeId, 'relay')
      assert.equal(body.isRelay, true)
      assert.equal(body.storedBlobs, 0)
      assert.equal(body.peerId, relay.peerId)
      assert.deepEqual(body.p2p, { connected: 0, replicating: 0, relay: 0 })
    }
    assert.deepEqual(await (await get(relay, '/ready')).json(), { ready: true })
    assert.match(await (await get(relay, '/metrics')).text(), /warren_relay_reservations\{role="relay"\} 0/)
    const missing = await get(relay, '/nothing')
    assert.equal(missing.status, 404)
    assert.deepEqual(await missing.json(), { error: 'Not found' })
    assert.equal((await fetch(`http://127.0.0.1:${relay.httpPort()}/`, { method: 'POST' })).status, 405)
  })

  it('keeps its key, readable by its owner only', async () => {
    const first = await start('a')
    const { mode } = await stat(join(folder, 'a', 'relay-key.json'))
    assert.equal(mode & 0o777, 0o600)
    await running.pop()?.stop()
    assert.equal((await start('a')).peerId, first.peerId)
  })

  it('starts while the other relay is absent and finds it when it comes', async () => {
    const first = await start('a')
    const [address] = first.addresses() as [string]
    await running.pop()?.stop()

    const second = await start('b', { RELAY_BOOTSTRAP_PEERS: address })
    const peersOf = async (relay: Relay) => ((await (await get(relay, '/peers')).json()) as { count: number }).count
    assert.equal((await get(second, '/ready')).status, 200)
    assert.equal(await peersOf(second), 0)
    await start('a', { RELAY_LISTEN_ADDRESSES: address.replace(/\/p2p\/.*/, '') })
    await until(async () => (await peersOf(second)) > 0, 'the relays met')
  })

  it('reports every problem of its configuration at once', () => {
    assert.throws(
      () =>
        readConfig({
          RELAY_LISTEN_ADDRESSES: 'nonsense',
          RELAY_BOOTSTRAP_PEERS: '/ip4/11.0.0.1/tcp/4001',
          RELAY_MAX_RESERVATIONS: '-1',
          P2P_REFLECTOR_PORTS: '4003,http',
          P2P_REFLECTOR_ADDRESSES: 'here',
          PORT: '99999',
          LOG_LEVEL: 'loud'
        }),
      (error: RelayConfigError) => {
        const named = [
          'RELAY_LISTEN_ADDRESSES',
          'RELAY_BOOTSTRAP_PEERS',
          'RELAY_MAX_RESERVATIONS',
          'P2P_REFLECTOR_PORTS',
          'P2P_REFLECTOR_ADDRESSES',
          'PORT',
          'LOG_LEVEL'
        ]
        assert.equal(error.problems.length, named.length)
        for (const name of named) assert.match(error.message, new RegExp(name))
        return true
      }
    )
  })

  it('reflects on two ports unless told otherwise, and not at all when told so', () => {
    assert.deepEqual(readConfig({}).reflector, { ports: [4003, 4004], hosts: [] })
    assert.deepEqual(readConfig({ P2P_REFLECTOR_PORTS: '' }).reflector.ports, [])
    assert.throws(() => readConfig({ P2P_REFLECTOR_PORTS: '4003,4004,4005' }), { code: 'RELAY_CONFIG' })
    assert.throws(() => readConfig({ P2P_REFLECTOR_PORTS: '4003,53' }), { code: 'RELAY_CONFIG' })
  })

  it('tells its peers of the reflector, and only the permitted where it sees whom', async () => {
    const relay = await start('a')
    const [one, other] = await Promise.all(
      [0, 1].map(async () => {
        const identity = await ephemeralIdentity()
        const node = await createNetworkNode({
          role: 'client',
          identity,
          bootstrap: relay.addresses(),
          log: silentLog()
        })
        await node.start()
        return { node, peerId: identity.peerId }
      })
    )
    try {
      const signal = AbortSignal.timeout(20_000)
      const clients = [one!, other!].map(({ node }) =>
        createReflectorClient(node.libp2p, { isRelay: id => id === relay.peerId })
      )
      const places = await until(async () => {
        const found = await Promise.all(clients.map(each => each.places({ signal })))
        return found.every(list => list.length === 1) ? found[0] : null
      }, 'both know the reflector')
      assert.equal(places![0]!.host, '127.0.0.1')
      assert.equal(places![0]!.ports.length, 2)
      const kind = await detectNatKind({ reflectors: places!, signal })
      assert.equal(kind.allocation, 'preserving')
      assert.match(await (await get(relay, '/metrics')).text(), /warren_reflector_answered\{role="relay"\} [1-9]/)
      const consent = await clients[0]!.consent(relay.peerId, other!.peerId, signal)
      assert.equal(await consent.address(), null)
      const others = await clients[1]!.consent(relay.peerId, one!.peerId, signal)
      assert.equal(await consent.address(), '127.0.0.1')
      assert.equal(await others.address(), '127.0.0.1')
      consent.end()
      others.end()
    } finally {
      await Promise.all([one!.node.stop(), other!.node.stop()])
    }
  })

  it('has a place again as soon as the peer that reserved it is gone', async () => {
    const relay = await start('a', { RELAY_MAX_RESERVATIONS: '1' })
    const reserved = async (): Promise<number> => {
      const body = (await (await get(relay, '/health')).json()) as { p2p: { relay: number } }
      return body.p2p.relay
    }
    for (const turn of ['first', 'second']) {
      const node = await createNetworkNode({
        role: 'node',
        identity: await ephemeralIdentity(),
        relays: relay.addresses(),
        log: silentLog()
      })
      await node.start()
      try {
        const isReachable = () => node.libp2p.getMultiaddrs().some(address => String(address).includes('p2p-circuit'))
        await until(isReachable, `the ${turn} peer has its reservation`)
      } finally {
        await node.stop()
      }
      await until(async () => (await reserved()) === 0, 'its place is free')
    }
  })

  it('as a process prints one ready line and ends with 0 on SIGTERM', async () => {
    const child = spawn(process.execPath, [PROGRAM], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env.PATH,
        DATA_DIR: folder,
        PORT: '0',
        RELAY_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0',
        P2P_REFLECTOR_PORTS: ''
      }
    })
    const lines: string[] = []
    const reader = createInterface({ input: child.stdout }).on('line', line => lines.push(line))
    await once(reader, 'line', { signal: AbortSignal.timeout(20_000) })
    const ready = JSON.parse(lines[0]!) as { ready: boolean; peerId: string; addresses: string[] }
    assert.equal(ready.ready, true)
    assert.ok(ready.addresses[0]?.endsWith(`/p2p/${ready.peerId}`))
    child.kill('SIGTERM')
    const [code] = await once(child, 'exit')
    assert.equal(code, 0)
    assert.equal(lines.length, 1)
  })
})
