import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Browser, startBrowser } from './browser.ts'
import { eventually } from './fixtures.ts'
import { type AuthGateway, ethereumWallet, startAuthGateway } from './wallets.ts'

describe('the login page in a browser', function () {
  this.timeout(60_000)
  let browser: Browser | null = null
  let running: AuthGateway
  const received: string[] = []
  const callback = createServer((request, response) => {
    let body = ''
    request.on('data', chunk => {
      body += chunk
    })
    request.on('end', () => {
      if (request.method === 'POST') received.push(body)
      response.end('<title>done</title>')
    })
  })

  before(async function () {
    browser = await startBrowser()
    if (browser === null) return this.skip()
    callback.listen(0, '127.0.0.1')
    await once(callback, 'listening')
    running = await startAuthGateway()
  })
  after(async () => {
    await browser?.[Symbol.asyncDispose]()
    await running?.[Symbol.asyncDispose]()
    callback.close()
    callback.closeAllConnections()
  })

  it('asks the wallet to sign, and posts a key to the callback that opens the namespace', async () => {
    const { port } = callback.address() as AddressInfo
    const query = new URLSearchParams({ callback: `http://127.0.0.1:${port}/cb`, namespace: 'paged', state: 's-1' })
    const page = await (browser as Browser).open(`${running.url}/v1/auth/login?${query}`)
    const wallet = ethereumWallet()
    await eventually(async () => (await page.evaluate("document.readyState === 'complete'")) === true)

    // Without a wallet it says so.
    await page.evaluate("document.getElementById('connect').click()")
    await eventually(async () =>
      /no wallet in this browser/.test(String(await page.evaluate("document.getElementById('status').textContent")))
    )

    // The wallet's answers are made out here; the page waits for them as for a person.
    await page.evaluate(`(() => {
      window.asked = null
      window.ethereum = {
        request({ method, params }) {
          if (method === 'eth_requestAccounts') return Promise.resolve(['${wallet.address}'])
          return new Promise(resolve => { window.asked = params; window.sign = resolve })
        }
      }
      document.getElementById('connect').click()
      return true
    })()`)
    const [hex, address] = (await eventually(async () => await page.evaluate('window.asked'))) as [string, string]
    assert.equal(address, wallet.address)
    const nonce = Buffer.from(hex.slice(2), 'hex').toString()
    assert.match(nonce, /^[A-Za-z0-9]{43}$/)
    await page.evaluate(`window.sign('${await wallet.sign(nonce)}'), true`)
    const form = new URLSearchParams(await eventually(async () => received[0]))
    assert.deepEqual(
      [form.get('namespace'), form.get('wallet'), form.get('plan'), form.get('state')],
      ['paged', wallet.id, 'free', 's-1']
    )
    const key = form.get('api_key') as string
    assert.equal((await running.get('/v1/storage/list', key)).status, 200)
  })
})
