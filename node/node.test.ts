import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cidOf } from './blobs/cid.ts'
import { shardOf } from './blobs/shards.ts'
import { eventually } from './net/testing.ts'
import { startNode, startNodes, type TestNode } from './testing.ts'

const post = (peer: TestNode, body: Uint8Array<ArrayBuffer>, query = '') =>
  fetch(`${peer.url}/store${query}`, { method: 'POST', body })
const read = async (peer: TestNode, cid: string, query = '') => {
  const answer = await fetch(`${peer.url}/retrieve/${cid}${query}`)
  return Buffer.from(await answer.arrayBuffer())
}
const know = (nodes: TestNode[], count = nodes.length) =>
  eventually(() => nodes.every(({ node }) => node.network.members().length >= count), 'nodes know each other')

describe('node', function () {
  this.timeout(60_000)

  it('replicates a blob, is read everywhere, and survives a flipped byte and two lost holders', async () => {
    await using nodes = await startNodes(4)
    await know(nodes)
    const bytes = randomBytes(3 * 1024 * 1024)
    const stored = await post(nodes[0]!, bytes)
    assert.equal(stored.status, 201)
    const { cid, replicas } = (await stored.json()) as { cid: string; replicas: string[] }
    assert.ok(replicas.length >= 2)
    const holders = () => nodes.filter(({ node }) => node.store.has(cid))
    await eventually(() => holders().length === 3, 'three replicas')
    for (const peer of nodes) assert.ok((await read(peer, cid)).equals(bytes))
    const outsider = nodes.find(({ node }) => !node.store.has(cid))!
    const part = await fetch(`${outsider.url}/retrieve/${cid}`, { headers: { range: 'bytes=1000000-1000099' } })
    assert.equal(part.status, 206)
    assert.ok(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(1_000_000, 1_000_100)))
    assert.ok((await read(outsider, cid, '?verify=1')).equals(bytes))

    const hurt = holders()[1]!
    const file = await open(join(hurt.dataDir, 'blobs', cid, 'data'), 'r+')
    await file.write(Buffer.from([1, 2, 3, 4]), 0, 4, 900_000)
    await file.close()
    assert.ok((await read(hurt, cid)).equals(bytes), 'the damaged holder answers with a good copy')
    assert.equal((await readdir(join(hurt.dataDir, 'quarantine'))).length, 1)
    await eventually(() => hurt.node.store.has(cid), 'the copy is replaced')

    const [first, second] = holders()
    await Promise.all([first!.stop(), second!.stop()])
    assert.ok((await read(outsider, cid)).equals(bytes))
  })

  it('never serves damaged bytes when nobody has a good copy', async () => {
    await using peer = await startNode()
    const bytes = randomBytes(3_000_000)
    const { cid } = (await (await post(peer, bytes)).json()) as { cid: string }
    const file = await open(join(peer.dataDir, 'blobs', cid, 'data'), 'r+')
    await file.write(Buffer.from([1, 2, 3, 4]), 0, 4, 2_900_000)
    await file.close()
    // The first chunks are good and leave; the connection is cut before the damaged one.
    await assert.rejects(read(peer, cid))
    assert.equal((await fetch(`${peer.url}/retrieve/${cid}`)).status, 404)
    assert.equal(peer.node.store.stats().storedBlobs, 0)
  })

  it('forwards a foreign shard to its owner and keeps nothing of it', async () => {
    await using lower = await startNode({ NODE_SHARDS: '0-511', REPLICATION_QUORUM: '1' })
    await using upper = await startNode({
      NODE_SHARDS: '512-1023',
      REPLICATION_QUORUM: '1',
      P2P_BOOTSTRAP_PEERS: lower.node.addresses().join()
    })
    await know([lower, upper])
    let bytes = randomBytes(100_000)
    while (shardOf(await cidOf([bytes]), 1024) < 512) bytes = randomBytes(100_000)
    const refused = await post(lower, bytes, '?local=1')
    assert.equal(refused.status, 403)
    assert.equal(((await refused.json()) as { error: string }).error, 'SHARD_MISMATCH')
    const stored = await post(lower, bytes)
    assert.equal(stored.status, 201)
    const { cid } = (await stored.json()) as { cid: string }
    assert.equal(lower.node.store.has(cid), false)
    assert.equal(upper.node.store.has(cid), true)
    assert.deepEqual(await readdir(join(lower.dataDir, 'tmp')), [])
    assert.ok((await read(lower, cid)).equals(bytes))
    await upper.stop()
    const unreachable = await post(lower, Buffer.concat([bytes, Buffer.from('x')]))
    assert.ok([201, 503].includes(unreachable.status))
  })

  it('counts no copy as a replica that is gone from the disk: it is stored anew', async () => {
    await using peer = await startNode()
    const bytes = randomBytes(1000)
    const { cid } = (await (await post(peer, bytes)).json()) as { cid: string }
    const replica = () =>
      peer.node.blobs.putReplica(
        cid,
        'text/plain',
        (async function* () {
          yield bytes
        })(),
        {}
      )
    assert.deepEqual(await replica(), { alreadyStored: true })
    await rm(join(peer.dataDir, 'blobs', cid, 'data'))
    assert.deepEqual(await replica(), { alreadyStored: false })
    assert.ok((await read(peer, cid)).equals(bytes))
  })

  it('does not acknowledge below the quorum, and keeps the blob for repair', async () => {
    await using nodes = await startNodes(2)
    await know(nodes)
    await nodes[1]!.stop()
    const answer = await post(nodes[0]!, randomBytes(1000))
    assert.equal(answer.status, 503)
    assert.equal(((await answer.json()) as { error: string }).error, 'REPLICATION_FAILED')
    assert.equal(nodes[0]!.node.store.stats().storedBlobs, 1)
    assert.equal(nodes[0]!.node.blobs.underReplicated, 1)
  })

  it('gives a newcomer the replicas that were missing', async () => {
    await using first = await startNode()
    const bytes = randomBytes(50_000)
    const { cid } = (await (await post(first, bytes)).json()) as { cid: string }
    await using second = await startNode({ P2P_BOOTSTRAP_PEERS: first.node.addresses().join() })
    await know([first, second])
    await eventually(() => second.node.store.has(cid), 'the newcomer has it', 40_000)
  })

  it('keeps its contract as a process: ready line, inherited socket, SIGTERM', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'warren-node-'))
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const handle = (server as unknown as { _handle: { fd: number } })._handle
    try {
      const child = spawn(process.execPath, [fileURLToPath(new URL('./main.ts', import.meta.url))], {
        env: {
          ...process.env,
          WARREN_OFFLINE: '1',
          DATA_DIR: dataDir,
          LISTEN_FDS: '1',
          LISTEN_PID: '',
          P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0'
        },
        stdio: ['ignore', 'pipe', 'ignore', handle.fd]
      })
      const [line] = (await once(child.stdout!, 'data')) as [Buffer]
      const ready = JSON.parse(String(line)) as { ready: boolean; peerId: string; addresses: string[] }
      assert.equal(ready.ready, true)
      assert.match(ready.addresses[0] ?? '', /^\/ip4\/127\.0\.0\.1\/tcp\/\d+\/p2p\//)
      server.close()
      const health = (await (await fetch(`http://127.0.0.1:${port}/health`)).json()) as { peerId: string }
      assert.equal(health.peerId, ready.peerId)
      child.kill('SIGTERM')
      assert.deepEqual(await once(child, 'exit'), [0, null])
      assert.match(await readFile(join(dataDir, 'keys', 'private.key'), 'utf8'), /PRIVATE KEY/)
    } finally {
      await rm(dataDir, { recursive: true, force: true })
    }
  })

  it('lists every problem of its configuration and exits 1', async () => {
    const child = spawn(process.execPath, [fileURLToPath(new URL('./main.ts', import.meta.url))], {
      env: { PATH: process.env.PATH, PORT: 'x' },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    let text = ''
    child.stderr!.on('data', data => {
      text += data
    })
    const [code] = await once(child, 'exit')
    assert.equal(code, 1)
    for (const name of ['PORT', 'RPC_URL', 'OWNER_ADDRESS']) assert.match(text, new RegExp(`- ${name} `))
  })
})
