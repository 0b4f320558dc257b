import assert from 'node:assert/strict'
import { type RunningGateway, startGateway } from '../testing/fixtures.ts'

const ALLOWED = 'https://app.example/after'

describe('the login page', () => {
  let running: RunningGateway
  before(async () => {
    running = await startGateway({ environment: { GATEWAY_LOGIN_CALLBACKS: `${ALLOWED},http://intra.example/` } })
  })
  after(() => running[Symbol.asyncDispose]())

  const open = (query: Record<string, string>) =>
    fetch(`${running.url}/v1/auth/login?${new URLSearchParams(query)}`, { redirect: 'manual' })

  it('is served for a callback on loopback or on the list, with scripts of its own origin only', async () => {
    for (const [callback, by, action] of [
      ['http://127.0.0.1:4001/cb', 'post', 'http://127.0.0.1:4001'],
      ['http://localhost:4001/cb?x=1', 'post', 'http://localhost:4001'],
      ['http://[::1]:4001/', 'post', 'http://[::1]:4001'],
      [ALLOWED, 'fragment', "'none'"],
      [`${ALLOWED}?tab=1`, 'fragment', "'none'"],
      ['http://intra.example', 'fragment', "'none'"]
    ] as Array<[string, string, string]>) {
      const answer = await open({ callback })
      assert.equal(answer.status, 200, callback)
      assert.match(answer.headers.get('content-type') ?? '', /^text\/html/)
      const policy = answer.headers.get('content-security-policy') ?? ''
      assert.equal(
        policy,
        `default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action ${action}; frame-ancestors 'none'`
      )
      assert.equal(answer.headers.get('cache-control'), 'no-store')
      assert.equal(answer.headers.get('referrer-policy'), 'no-referrer')
      const text = await answer.text()
      assert.ok(text.includes(`data-by="${by}"`))
      assert.ok(text.includes(`data-callback="${new URL(callback).href}"`))
    }
  })

  it('loads nothing from elsewhere, has no inline script and no inline style', async () => {
    const text = await (await open({ callback: 'http://127.0.0.1:1/' })).text()
    const loaded = [...text.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, url]) => url as string)
    assert.deepEqual(loaded.sort(), ['/v1/auth/login.css', '/v1/auth/login.js'])
    assert.doesNotMatch(text, /<script(?![^>]* src=)|<style|\son[a-z]+=|style=|javascript:/i)
    const script = await fetch(`${running.url}/v1/auth/login.js`)
    assert.match(script.headers.get('content-type') ?? '', /^text\/javascript/)
    assert.equal(script.headers.get('x-content-type-options'), 'nosniff')
    assert.doesNotMatch(await script.text(), /https?:\/\/|innerHTML|eval\(|document\.write/)
    const style = await fetch(`${running.url}/v1/auth/login.css`)
    assert.match(style.headers.get('content-type') ?? '', /^text\/css/)
    assert.doesNotMatch(await style.text(), /url\(|@import/)
  })

  it('is not served without a callback, nor for one that nobody has allowed', async () => {
    const none = await fetch(`${running.url}/v1/auth/login`)
    assert.deepEqual([none.status, ((await none.json()) as { error: string }).error], [400, "missing 'callback'"])
    for (const callback of [
      'https://evil.example/',
      'http://evil.example:4001/',
      'https://127.0.0.1:4001/',
      'http://127.0.0.1/',
      'http://127.0.0.1:80/',
      'http://127.0.0.1:4001@evil.example/',
      'http://user@127.0.0.1:4001/',
      'http://user:pass@localhost:4001/',
      'http://127.0.0.1.evil.example:4001/',
      'http://localhost.evil.example:4001/',
      'http://evil.example#http://127.0.0.1:4001/',
      'http://127.0.0.1:4001/#x',
      'http://127.0.0.1:4001/#',
      'http://127.0.0.1:4001\\@evil.example/',
      'http://127.0.0.2:4001/',
      'http://0.0.0.0:4001/',
      'http://10.0.0.1:4001/',
      '//evil.example/',
      '/relative',
      'javascript:alert(1)',
      'javascript://127.0.0.1:4001/%0aalert(1)',
      'data:text/html,x',
      'file:///etc/passwd',
      'ftp://127.0.0.1:21/',
      'https://app.example/',
      'https://app.example/after/',
      'https://app.example/after/../other',
      'https://app.example:444/after',
      'http://app.example/after',
      'https://app.example.evil.example/after',
      'https://app.example/AFTER',
      `http://127.0.0.1:4001/${'x'.repeat(1100)}`,
      'not a url'
    ]) {
      const answer = await open({ callback })
      const { code } = (await answer.json()) as { code: string }
      assert.deepEqual([answer.status, code], [400, 'CALLBACK_FORBIDDEN'], callback)
      assert.equal(answer.headers.get('location'), null)
    }
  })

  it('shows what it is given as text (the seed’s K17)', async () => {
    const callback = `http://127.0.0.1:4001/?a="><script>alert(1)</script>&b='x`
    const state = `"><img src=x onerror=alert(1)>'&amp;`
    const text = await (await open({ callback, state })).text()
    assert.ok(!text.includes('<script>alert'))
    assert.ok(!text.includes('<img'))
    assert.ok(text.includes('data-state="&quot;&gt;&lt;img src=x onerror=alert(1)&gt;&#39;&amp;amp;"'))
    for (const namespace of ['"><script>', 'a b', 'ns::x']) {
      assert.equal((await open({ callback: 'http://127.0.0.1:1/', namespace })).status, 400, namespace)
    }
    assert.equal((await open({ callback: 'http://127.0.0.1:1/', state: 'x'.repeat(513) })).status, 400)
  })
})
