/** The browser client in a real browser, by its example page. It is here because the driver of browsers is. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startExample, startLiar, startRelayProcess, startStorageNode } from '../../client/testing.ts'
import { cidOf } from '../../node/index.ts'
import { type Page, startBrowser } from './browser.ts'
import { eventually } from './fixtures.ts'

const MIB = 1024 * 1024
const WAIT_MS = 30_000

describe('the example page of the browser client', function () {
  this.timeout(90_000)
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-browser-client-'))
  })
  after(() => rm(folder, { recursive: true, force: true }))

  const text = async (page: Page, id: string) =>
    ((await page.evaluate(`document.getElementById('${id}')?.textContent`)) ?? '') as string
  const press = (page: Page, form: string) => page.evaluate(`document.getElementById('${form}').requestSubmit()`)
  /** Once the page knows so many nodes. */
  const knows = (page: Page, count: number) =>
    eventually(async () => (await page.evaluate(`document.querySelectorAll('#nodes tr').length`)) === count, WAIT_MS)

  it('stores a picked file on two nodes, shows where it is, and reads it back verified', async function () {
    await using browser = await startBrowser()
    if (browser === null) {
      console.log('      skipped: no chromium here (apt-get install chromium)')
      return this.skip()
    }
    await using relay = await startRelayProcess()
    await using one = await startStorageNode('alpha', relay)
    await using two = await startStorageNode('beta', relay)
    await using example = await startExample(relay)
    const bytes = randomBytes(2 * MIB + 1)
    const path = join(folder, 'picked.bin')
    await writeFile(path, bytes)

    const page = await browser.open(example.url)
    await knows(page, 2)
    await page.pick('file', path)
    const cid = await cidOf([bytes])
    // Nodes that have not met yet acknowledge nothing that is to be on both.
    await eventually(async () => {
      await press(page, 'store')
      await eventually(async () => /disks|:/.test(await text(page, 'stored')), WAIT_MS)
      return (await text(page, 'stored')).startsWith(cid)
    }, WAIT_MS)
    const where = await text(page, 'where')
    for (const { nodeId, peerId } of [one, two]) assert.ok(where.includes(`${nodeId} (${peerId})`), where)

    await press(page, 'retrieve')
    await eventually(async () => (await text(page, 'retrieved')).startsWith('Verified:'), WAIT_MS)
    assert.match(await text(page, 'retrieved'), new RegExp(`${bytes.byteLength} bytes hash to ${cid}`))
    const kept = await page.evaluate("document.querySelector('#save a').download")
    assert.equal(kept, cid)
  })

  it('shows no byte of what a node altered', async function () {
    await using browser = await startBrowser()
    if (browser === null) {
      console.log('      skipped: no chromium here (apt-get install chromium)')
      return this.skip()
    }
    const bytes = randomBytes(MIB)
    const altered = Buffer.from(bytes)
    altered[MIB - 1] = altered[MIB - 1]! ^ 1
    await using relay = await startRelayProcess()
    await using _liar = await startLiar(relay, { bytes: () => altered })
    await using example = await startExample(relay)
    const page = await browser.open(example.url)
    await knows(page, 1)
    await page.evaluate(`document.getElementById('cid').value = '${await cidOf([bytes])}'`)
    await press(page, 'retrieve')
    await eventually(async () => (await text(page, 'retrieved')).startsWith('CID_MISMATCH:'), WAIT_MS)
    assert.equal(await page.evaluate("document.querySelectorAll('#save a').length"), 0)
  })
})
