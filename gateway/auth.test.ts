import assert from 'node:assert/strict'
import { NAMESPACE_PATTERN } from './config.ts'
import { type RunningGateway, startGateway } from './testing/fixtures.ts'
import { startAuthGateway } from './testing/wallets.ts'

/** Rows of the table of routes that anybody may ask, on purpose. */
const PUBLIC = [
  '/',
  '/docs',
  '/openapi.json',
  '/health',
  '/v1/health',
  '/status',
  '/v1/status',
  '/v1/version',
  '/ready',
  '/metrics',
  '/v1/network/hosts',
  '/v1/network/ws',
  '/v1/auth/challenge',
  '/v1/auth/verify',
  '/v1/auth/register',
  '/v1/auth/api-key',
  '/v1/auth/refresh',
  '/v1/auth/logout',
  '/v1/auth/jwks',
  '/.well-known/jwks.json',
  '/v1/auth/login',
  '/v1/auth/login.js',
  '/v1/auth/login.css'
]

describe('who may ask', () => {
  let running: RunningGateway
  before(async () => {
    running = await startAuthGateway({ environment: { GATEWAY_API_KEYS: 'Key-1:team,odd:key:other,bare' } })
  })
  after(() => running[Symbol.asyncDispose]())

  const list = (headers: Record<string, string>) => fetch(`${running.url}/v1/storage/list`, { headers })

  it('is decided by the first credential, in each form it may have', async () => {
    for (const headers of [
      { Authorization: 'Bearer Key-1' },
      { Authorization: 'bearer Key-1:team' },
      { Authorization: 'ApiKey Key-1' },
      { Authorization: 'Key-1' },
      { 'X-API-Key': 'Key-1' },
      { 'X-API-Key': 'Key-1:team' },
      { 'X-API-Key': 'odd:key' },
      { 'X-API-Key': 'odd:key:other' },
      { 'X-API-Key': 'bare' },
      { Authorization: 'Bearer', 'X-API-Key': 'Key-1' },
      { Authorization: 'Basic cHJveHk6eA==', 'X-API-Key': 'Key-1' },
      { Authorization: 'Bearer Key-1', 'X-API-Key': 'wrong' }
    ]) {
      assert.equal((await list(headers as Record<string, string>)).status, 200, JSON.stringify(headers))
    }
  })

  it('is refused without a credential, with the header RFC 6750 asks for', async () => {
    for (const headers of [{}, { Authorization: '' }, { Authorization: 'Bearer' }, { Authorization: 'Bearer   ' }]) {
      const answer = await list(headers as Record<string, string>)
      assert.equal(answer.status, 401)
      assert.equal(answer.headers.get('www-authenticate'), 'Bearer realm="gateway", charset="UTF-8"')
      assert.deepEqual(await answer.json(), { error: 'missing API key', code: 'API_KEY_MISSING' })
    }
  })

  it('is refused with a wrong one', async () => {
    for (const headers of [
      { Authorization: 'Bearer wrong' },
      { Authorization: 'Bearer key-1' },
      { Authorization: 'Bearer Key-1:other' },
      { Authorization: 'Bearer Key-1 team' },
      { Authorization: 'Bearer a.b.c' },
      { Authorization: 'Basic S2V5LTE6' },
      { Authorization: `Bearer ${'x'.repeat(5000)}` },
      { Authorization: 'Bearer wrong', 'X-API-Key': 'Key-1' },
      { 'X-API-Key': 'team' },
      { 'X-API-Key': "' OR 1=1 --" }
    ]) {
      const answer = await list(headers as Record<string, string>)
      assert.equal(answer.status, 401, JSON.stringify(headers))
      assert.equal(answer.headers.get('www-authenticate'), 'Bearer error="invalid_token"')
      assert.deepEqual(await answer.json(), { error: 'invalid API key', code: 'API_KEY_INVALID' })
    }
  })

  it('is nobody’s business on the public paths, and on those only', async () => {
    const open = running.gateway.routes.filter(route => PUBLIC.includes(route.path))
    assert.deepEqual([...new Set(open.map(route => route.path))].sort(), [...PUBLIC].sort())
    for (const { path, method } of running.gateway.routes) {
      const { status } = await fetch(running.url + path, { method })
      assert.equal(status === 401, !PUBLIC.includes(path), `${method} ${path}: ${status}`)
    }
  })

  it('is answered to every OPTIONS with the CORS headers, and to errors too', async () => {
    const answer = await fetch(`${running.url}/v1/storage/put`, { method: 'OPTIONS' })
    assert.equal(answer.status, 204)
    assert.equal(answer.headers.get('access-control-allow-origin'), '*')
    // What a page may send, and what it may read: all that the storage's conditions and times to live take and answer.
    for (const [name, expected] of [
      ['allow-methods', 'GET, PUT, POST, DELETE, OPTIONS'],
      ['allow-headers', 'Content-Type, Authorization, X-API-Key, If-Match, If-None-Match, X-TTL-Seconds'],
      ['expose-headers', 'ETag, X-Expires-At, Content-Range, Accept-Ranges']
    ]) {
      assert.equal(answer.headers.get(`access-control-${name}`), expected)
    }
    assert.equal(answer.headers.get('access-control-max-age'), '600')
    assert.equal((await list({})).headers.get('access-control-allow-origin'), '*')
  })

  it('leaves unknown paths and methods to 404 and 405 in JSON', async () => {
    const unknown = await fetch(`${running.url}/v1/nowhere`)
    assert.deepEqual([unknown.status, ((await unknown.json()) as { code: string }).code], [404, 'NOT_FOUND'])
    const wrong = await fetch(`${running.url}/v1/storage/put`, { method: 'DELETE' })
    assert.deepEqual([wrong.status, ((await wrong.json()) as { code: string }).code], [405, 'METHOD_NOT_ALLOWED'])
    assert.match(wrong.headers.get('allow') ?? '', /POST/)
  })
})

describe('a gateway without required keys', () => {
  it('serves strangers its own namespace, and still refuses a wrong key', async () => {
    await using running = await startGateway({
      environment: { GATEWAY_REQUIRE_AUTH: 'false', GATEWAY_NAMESPACE: 'commons', GATEWAY_API_KEYS: 'k:private' }
    })
    const at = (path: string, key?: string, init: RequestInit = {}) =>
      fetch(running.url + path, { ...init, headers: key === undefined ? {} : { 'X-API-Key': key } })
    assert.equal((await at('/v1/storage/put?key=a', undefined, { method: 'POST', body: 'common' })).status, 201)
    assert.equal(await (await at('/v1/storage/get?key=a')).text(), 'common')
    assert.equal((await at('/v1/storage/get?key=a', 'k')).status, 404)
    assert.equal((await at('/v1/storage/get?key=a&namespace=private')).status, 403)
    assert.equal((await at('/v1/storage/get?key=a', 'wrong')).status, 401)
  })
})

describe('a namespace', () => {
  it('has a name without a colon', () => {
    for (const name of ['a', 'A-1_b', 'x'.repeat(64)]) assert.ok(NAMESPACE_PATTERN.test(name), name)
    for (const name of ['', '-a', 'a:b', 'a b', 'ä', 'x'.repeat(65), 'a\n'])
      assert.ok(!NAMESPACE_PATTERN.test(name), name)
  })
})
