import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cidOf } from './blobs/cid.ts'
import { shardOf } from './blobs/shards.ts'
import { readConfig, SETTINGS } from './config.ts'
import { eventually } from './net/testing.ts'
import { startNode } from './testing.ts'

const MIB = 1024 * 1024

/** Every file below a folder. */
async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name))
}

describe('what the first implementation of ByteCave got wrong', function () {
  this.timeout(30_000)

  it('K33: /health reads no blob, so that asking it costs nothing', async () => {
    await using peer = await startNode()
    for (let i = 0; i < 3; i += 1) await fetch(`${peer.url}/store`, { method: 'POST', body: randomBytes(1000) })
    const health = async () => {
      const { uptime: _, ...rest } = (await (await fetch(`${peer.url}/health`)).json()) as Record<string, unknown>
      return rest
    }
    const before = await health()
    assert.equal(before.storedBlobs, 3)
    // Whoever looked at one of them would find it gone, and set it aside.
    await rename(join(peer.dataDir, 'blobs'), join(peer.dataDir, 'elsewhere'))
    assert.deepEqual(await health(), before)
    assert.equal(peer.node.store.stats().quarantinedBlobs, 0)
  })

  it('K35: the shard of a blob follows from the CID of its bytes, and a foreign one is not kept', async () => {
    const shards = new Set<number>()
    for (let i = 0; i < 400; i += 1) shards.add(shardOf(await cidOf([Buffer.from(`blob ${i}`)]), 16))
    assert.deepEqual(
      [...shards].sort((a, b) => a - b),
      Array.from({ length: 16 }, (_, i) => i)
    )
    await using peer = await startNode({ SHARD_COUNT: '2', NODE_SHARDS: '0' })
    const seen = new Set<number>()
    while (seen.size < 2) {
      const body = randomBytes(100)
      const shard = shardOf(await cidOf([body]), 2)
      const answer = await fetch(`${peer.url}/store?local=1`, { method: 'POST', body })
      assert.equal(answer.status, shard === 0 ? 201 : 403)
      await answer.arrayBuffer()
      seen.add(shard)
    }
    for (const cid of peer.node.store.list()) assert.equal(shardOf(cid, 2), 0)
  })

  it('K35: NODE_SHARDS that nobody set are all of SHARD_COUNT', () => {
    const { shards } = readConfig({ WARREN_OFFLINE: '1', SHARD_COUNT: '16' })
    assert.deepEqual(shards, [{ start: 0, end: 15 }])
  })

  it('K37: a blob of exactly the limit is taken, in base64 too, and one byte more is not', async () => {
    await using peer = await startNode({ MAX_BLOB_SIZE_MB: '1' })
    for (const [size, status] of [
      [MIB, 201],
      [MIB + 1, 413]
    ] as const) {
      const bytes = randomBytes(size)
      const plain = await fetch(`${peer.url}/store`, { method: 'POST', body: bytes })
      assert.equal(plain.status, status)
      const json = JSON.stringify({ ciphertext: randomBytes(size).toString('base64'), mimeType: 'image/png' })
      const headers = { 'content-type': 'application/json' }
      const inJson = await fetch(`${peer.url}/store`, { method: 'POST', headers, body: json })
      assert.equal(inJson.status, status)
      await Promise.all([plain.arrayBuffer(), inJson.arrayBuffer()])
    }
  })

  it('K37: uploads at one time never fill more than the quota together', async () => {
    await using peer = await startNode({ MAX_STORAGE_MB: '2', MAX_BLOB_SIZE_MB: '1' })
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => fetch(`${peer.url}/store`, { method: 'POST', body: randomBytes(MIB) }))
    )
    const statuses = await Promise.all(answers.map(async answer => (await answer.arrayBuffer()) && answer.status))
    assert.equal(statuses.filter(status => status === 201).length, 2)
    assert.ok(statuses.every(status => status === 201 || status === 507))
    const { totalSizeBytes, reservedBytes } = peer.node.store.stats()
    assert.deepEqual([totalSizeBytes, reservedBytes], [2 * MIB, 0])
  })

  it('K37: HEAD tells what GET would, and no metadata on disk can be changed unnoticed', async () => {
    await using peer = await startNode()
    const stored = await fetch(`${peer.url}/store`, { method: 'POST', body: randomBytes(1234) })
    const { cid } = (await stored.json()) as { cid: string }
    const head = await fetch(`${peer.url}/retrieve/${cid}`, { method: 'HEAD' })
    const get = await fetch(`${peer.url}/retrieve/${cid}`)
    assert.equal(head.status, 200)
    for (const name of ['content-length', 'content-type', 'etag', 'accept-ranges']) {
      assert.equal(head.headers.get(name), get.headers.get(name), name)
    }
    await get.arrayBuffer()
    const path = join(peer.dataDir, 'blobs', cid, 'meta.json')
    const meta = await readFile(path, 'utf8')
    await writeFile(path, meta.replace('application/octet-stream', 'text/html'))
    assert.notEqual(await readFile(path, 'utf8'), meta)
    const changed = await fetch(`${peer.url}/retrieve/${cid}`)
    assert.equal(changed.status, 500)
    assert.equal(((await changed.json()) as { error: string }).error, 'INTEGRITY_CHECK_FAILED')
  })

  it('K38: nothing a client stored is on the disk in plain', async () => {
    await using peer = await startNode()
    const secret = randomBytes(64).toString('hex')
    await fetch(`${peer.url}/store`, { method: 'POST', body: secret.repeat(1000) })
    const files = await filesBelow(peer.dataDir)
    assert.ok(files.some(path => path.endsWith('/data')))
    for (const path of files) assert.ok(!(await readFile(path)).includes(secret), path)
  })

  it('K38: the ports of the README are those of the code', async () => {
    const text = await readFile(new URL('./README.md', import.meta.url), 'utf8')
    const written = (name: string) => new RegExp(`^\\| \`${name}\` +\\| (\\S+) +\\|`, 'm').exec(text)?.[1]
    for (const name of ['PORT', 'P2P_LISTEN_ADDRESSES']) assert.equal(written(name), SETTINGS.get(name)?.fallback, name)
    assert.equal(written('PORT'), '5001')
  })

  it('K38: a port that is taken ends the start with its name, and other ports start beside it', async () => {
    const taken = createServer().listen(0, '0.0.0.0')
    await once(taken, 'listening')
    const { port } = taken.address() as { port: number }
    const folder = await mkdtemp(join(tmpdir(), 'warren-ports-'))
    try {
      const child = spawn(process.execPath, [fileURLToPath(new URL('./main.ts', import.meta.url))], {
        cwd: folder,
        env: {
          PATH: process.env.PATH,
          WARREN_OFFLINE: '1',
          PORT: String(port),
          P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0'
        },
        stdio: ['ignore', 'ignore', 'pipe']
      })
      let text = ''
      child.stderr.on('data', data => {
        text += data
      })
      assert.deepEqual(await once(child, 'close'), [1, null])
      assert.match(text, new RegExp(`PORT ${port} is taken`))
      await using beside = await startNode()
      assert.equal((await fetch(`${beside.url}/health`)).status, 200)
    } finally {
      taken.close()
      await rm(folder, { recursive: true })
    }
  })
})

describe('a data directory', () => {
  it('is that of one node at a time, under whatever name, and free again when that ends', async () => {
    const peer = await startNode()
    try {
      const link = `${peer.dataDir}-link`
      await symlink(peer.dataDir, link)
      for (const dataDir of [peer.dataDir, link]) {
        await assert.rejects(startNode({ DATA_DIR: dataDir }), { code: 'DATA_DIR_TAKEN' })
      }
      await rm(link)
      await peer.stop()
      const again = await startNode({ DATA_DIR: peer.dataDir })
      await again.stop()
    } finally {
      await peer[Symbol.asyncDispose]()
    }
  })
})

describe('the log of a node', function () {
  this.timeout(30_000)

  it('is in logs/bytecave.log too, with a line of every peer that connects', async () => {
    await using other = await startNode()
    const dataDir = await mkdtemp(join(tmpdir(), 'warren-log-'))
    const child = spawn(process.execPath, [fileURLToPath(new URL('./main.ts', import.meta.url))], {
      env: {
        PATH: process.env.PATH,
        WARREN_OFFLINE: '1',
        ENV_FILE: 'none',
        DATA_DIR: dataDir,
        LISTEN_FDS: '1',
        P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0',
        P2P_BOOTSTRAP_PEERS: other.node.addresses().join()
      },
      stdio: ['ignore', 'pipe', 'ignore', (await handedSocket()).fd]
    })
    try {
      await once(child.stdout!, 'data')
      const text = () => readFile(join(dataDir, 'logs', 'bytecave.log'), 'utf8').catch(() => '')
      const connected = async () => (await text()).split('\n').filter(line => line.includes('Peer connected'))
      await eventually(async () => (await connected()).length > 0, 'the peer is in the log')
      const line = JSON.parse((await connected())[0]!) as Record<string, unknown>
      assert.deepEqual([line.msg, line.peer, line.direct], ['Peer connected', other.node.peerId, true])
    } finally {
      child.kill('SIGTERM')
      await once(child, 'exit')
      await rm(dataDir, { recursive: true })
    }
  })

  it('tells by a metric how many lines a full disk cost', async function () {
    const dataDir = await mkdtemp(join(tmpdir(), 'warren-log-'))
    const path = join(dataDir, 'full.log')
    await symlink('/dev/full', path).catch(() => this.skip())
    const { fd, port, close } = await handedSocket()
    const child = spawn(process.execPath, [fileURLToPath(new URL('./main.ts', import.meta.url))], {
      env: {
        PATH: process.env.PATH,
        WARREN_OFFLINE: '1',
        ENV_FILE: 'none',
        DATA_DIR: dataDir,
        LOG_FILE: path,
        LISTEN_FDS: '1',
        P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0'
      },
      stdio: ['ignore', 'pipe', 'ignore', fd]
    })
    try {
      await once(child.stdout!, 'data')
      close()
      const lost = async () => {
        const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
        return Number(/^warren_log_lines_dropped_total\{.*\} (\d+)$/m.exec(text)?.[1] ?? 0)
      }
      await eventually(async () => (await lost()) > 0, 'lost lines are counted')
    } finally {
      child.kill('SIGTERM')
      await once(child, 'exit')
      await rm(dataDir, { recursive: true })
    }
  })
})

/** A listening socket for a child; `close` leaves it to the child, else it is closed here when the test process ends. */
async function handedSocket(): Promise<{ fd: number; port: number; close: () => void }> {
  const server = createServer().listen(0, '127.0.0.1').unref()
  await once(server, 'listening')
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle
  const { port } = server.address() as { port: number }
  return { fd, port, close: () => server.close() }
}
