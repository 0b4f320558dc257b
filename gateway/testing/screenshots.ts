/**
 * `make screenshots`: the page of a node, and the example page of the browser client with a stored and a verified file,
 * as PNG under `reports/screenshots/`. Needs Chromium; exit code 3 where there is none.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import {
  eventually,
  type LoopbackNode,
  type RelayProcess,
  startExample,
  startRelayProcess,
  startStorageNode
} from '../../client/testing.ts'
import { type Browser, type Page, startBrowser } from './browser.ts'

const ROOT = join(import.meta.dirname, '../..')
const FOLDER = join(ROOT, 'reports/screenshots')
const WINDOW = { width: 1000, height: 900 }
const EXIT_SKIPPED = 3

async function shoot(page: Page, name: string): Promise<void> {
  const path = join(FOLDER, `${name}.png`)
  await writeFile(path, await page.screenshot(WINDOW))
  console.log(relative(process.cwd(), path))
}

const says = (page: Page, id: string, what: RegExp): Promise<boolean> =>
  eventually(
    async () => what.test(String(await page.evaluate(`document.getElementById('${id}')?.textContent`))),
    `${id} says ${what}`
  )

async function examplePage(browser: Browser, relay: RelayProcess): Promise<void> {
  await using example = await startExample(relay)
  const page = await browser.open(example.url)
  await says(page, 'state', /knows 2 nodes/)
  await page.pick('file', join(ROOT, 'README.md'))
  await eventually(async () => {
    await page.evaluate("document.getElementById('store').requestSubmit()")
    await says(page, 'stored', /:/)
    return await page.evaluate("document.getElementById('stored').className === 'good'")
  }, 'a file is stored on both nodes')
  await page.evaluate("document.getElementById('retrieve').requestSubmit()")
  await says(page, 'retrieved', /^Verified/)
  await says(page, 'nodes', /direct/)
  await shoot(page, 'browser-client')
}

async function nodePage(browser: Browser, node: LoopbackNode): Promise<void> {
  const page = await browser.open(node.url)
  await says(page, 'blobs', /^1$/)
  await shoot(page, 'node')
}

await using browser = await startBrowser()
if (browser === null) {
  console.error('No screenshots: no chromium here (apt-get install chromium).')
  process.exitCode = EXIT_SKIPPED
} else {
  await mkdir(FOLDER, { recursive: true })
  await using relay = await startRelayProcess()
  await using alpha = await startStorageNode('alpha', relay)
  await using _beta = await startStorageNode('beta', relay)
  await examplePage(browser, relay)
  await nodePage(browser, alpha)
}
