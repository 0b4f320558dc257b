import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { ephemeralIdentity } from '../node/index.ts'
import { eventually, sendOver, startRelayPeer, startTestRelay } from './testing.ts'

const PROGRAM = fileURLToPath(new URL('main.ts', import.meta.url))
/** Longest wait of a client between two tries, and its look at its reservation, and some for a busy machine. */
const RESERVED_WITHIN_MS = 30_000

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

describe('reservations', function () {
  this.timeout(90_000)
  let dataDir: string
  let child: ChildProcess | undefined

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-relay-'))
  })
  afterEach(async () => {
    child?.kill('SIGKILL')
    await rm(dataDir, { recursive: true, force: true })
  })

  async function startProcess(port: number): Promise<string> {
    child = spawn(process.execPath, [PROGRAM], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: {
        PATH: process.env.PATH,
        DATA_DIR: dataDir,
        PORT: '0',
        RELAY_LISTEN_ADDRESSES: `/ip4/127.0.0.1/tcp/${port}`,
        P2P_REFLECTOR_PORTS: ''
      }
    })
    const [line] = await once(createInterface({ input: child.stdout! }), 'line', {
      signal: AbortSignal.timeout(20_000)
    })
    return (JSON.parse(line as string) as { addresses: string[] }).addresses[0]!
  }

  it('are there again after the relay was killed and came back with its key and its default limits', async () => {
    const port = await freePort()
    const address = await startProcess(port)
    await using target = await startRelayPeer(address)
    await using other = await startRelayPeer(address)
    await using source = await startRelayPeer(address, { role: 'client' })
    const bothReserved = () => target.reserved() && other.reserved()
    await eventually(bothReserved, 'both reserved')
    child!.kill('SIGKILL')
    await once(child!, 'exit')
    await eventually(() => !target.reserved() && !other.reserved(), 'both know that it is gone')
    assert.equal(await startProcess(port), address)
    await eventually(bothReserved, 'both reserved again', RESERVED_WITHIN_MS)
    await eventually(() => source.network.anchors().every(({ connected }) => connected), 'the source is back')
    await sendOver(await source.circuitTo(target.peerId), 1000)
    assert.equal(target.received(), 1000)
  })

  it('are there again when a client came back with its key, and outlive what became of its old one', async () => {
    await using relay = await startTestRelay()
    const identity = await ephemeralIdentity()
    const first = await startRelayPeer(relay.address, { identity })
    await eventually(first.reserved, 'it reserved')
    await first[Symbol.asyncDispose]()
    await eventually(async () => (await relay.metric('warren_relay_reservations')) === 0, 'its place is free')
    await using second = await startRelayPeer(relay.address, { identity })
    await using source = await startRelayPeer(relay.address, { role: 'client' })
    await eventually(second.reserved, 'it reserved again')
    await sendOver(await source.circuitTo(identity.peerId), 1000)
    assert.equal(second.received(), 1000)
  })
})
