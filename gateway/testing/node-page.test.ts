/** A node's own page, in a real browser. It is here because the driver of browsers is. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNode, readNodeConfig, silentLog } from '../../node/index.ts'
import { startBrowser } from './browser.ts'
import { eventually } from './fixtures.ts'

describe('the page of a node', function () {
  this.timeout(60_000)
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-node-page-'))
  })
  after(() => rm(folder, { recursive: true, force: true }))

  async function start(name: string, more: Record<string, string> = {}) {
    const config = readNodeConfig({
      WARREN_OFFLINE: '1',
      DATA_DIR: join(folder, name),
      NODE_ID: name,
      NODE_SHARDS: '0-255,512-767',
      REPLICATION_FACTOR: '1',
      REPLICATION_QUORUM: '1',
      P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0',
      ...more
    })
    const node = await createNode({ config: { ...config, port: 0 }, log: silentLog() })
    await node.start()
    return { node, url: `http://127.0.0.1:${node.httpPort()}/`, [Symbol.asyncDispose]: () => node.stop() }
  }

  it('is given to browsers, and the list of routes to programs', async () => {
    await using one = await start('who-asks')
    const plain = await fetch(one.url)
    assert.equal(((await plain.json()) as { name: string }).name, 'warren')
    const page = await fetch(one.url, { headers: { accept: 'text/html,*/*;q=0.8' } })
    assert.match(page.headers.get('content-type') ?? '', /text\/html/)
    assert.match(page.headers.get('content-security-policy') ?? '', /default-src 'none'/)
    assert.match(page.headers.get('vary') ?? '', /accept/i)
  })

  it('shows state, shards and blobs as they change, and says when the node is gone', async function () {
    await using browser = await startBrowser()
    if (browser === null) return this.skip()
    const name = 'page-node'
    const one = await start(name)
    try {
      const page = await browser.open(one.url)
      const text = async (id: string) =>
        (await page.evaluate(`document.getElementById('${id}')?.textContent`)) as string
      await eventually(async () => (await text('state')) === 'healthy', 30_000)
      assert.equal(await text('name'), name)
      assert.equal(await text('owned'), '512 of 1024 shards')
      assert.equal(await page.evaluate("document.querySelectorAll('#shards i').length"), 2)
      assert.equal(await page.evaluate("document.querySelectorAll('#shards i')[1].style.left"), '50%')
      assert.equal(await text('blobs'), '0')
      let stored = 0
      for (let n = 0; stored === 0; n++) {
        const answer = await fetch(`${one.url}store`, { method: 'POST', body: `blob ${n}` })
        if (answer.status === 201) stored += 1
      }
      await eventually(async () => (await text('blobs')) === '1', 30_000)
      assert.match(await text('live'), /^Live: last told at/)
      await one.node.stop()
      await eventually(async () => /^Not live: /.test(await text('live')), 30_000)
      assert.equal(await page.evaluate("document.body.classList.contains('stale')"), true)
    } finally {
      await one.node.stop()
    }
  })
})
