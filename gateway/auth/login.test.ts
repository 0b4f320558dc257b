import assert from 'node:assert/strict'
import { createHash, createPublicKey, type JsonWebKey, verify } from 'node:crypto'
import { type AuthGateway, ethereumWallet, solanaWallet, startAuthGateway } from '../testing/wallets.ts'

/** The published vector: Hardhat's first account and a nonce of the bytes 0 to 31. */
const HARDHAT = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80'

describe('a wallet', () => {
  let running: AuthGateway
  before(async () => {
    running = await startAuthGateway()
  })
  after(() => running[Symbol.asyncDispose]())

  it('gets a challenge of 43 letters and digits that ends after five minutes', async () => {
    const wallet = ethereumWallet()
    const before = Date.now()
    const { status, body, headers } = await running.post('/v1/auth/challenge', {
      wallet: wallet.address,
      purpose: 'login',
      namespace: 'fresh'
    })
    assert.equal(status, 200)
    assert.deepEqual(Object.keys(body), ['wallet', 'namespace', 'nonce', 'purpose', 'expires_at'])
    assert.deepEqual([body.wallet, body.namespace, body.purpose], [wallet.id, 'fresh', 'login'])
    assert.match(body.nonce as string, /^[A-Za-z0-9]{43}$/)
    assert.equal(Buffer.from(body.nonce as string, 'base64url').byteLength, 32)
    const endsMs = Date.parse(body.expires_at as string)
    assert.ok(endsMs >= before + 300_000 && endsMs <= Date.now() + 300_000)
    assert.equal(headers.get('cache-control'), 'no-store')
  })

  it('makes no namespace by a challenge', async () => {
    const wallet = ethereumWallet()
    for (let i = 0; i < 3; i += 1) await running.nonceOf(wallet, `idle-${i}`)
    const other = ethereumWallet()
    const { namespace } = await running.login(other, 'idle-1')
    assert.equal(
      (await running.get('/v1/storage/list', (await running.login(other, namespace)).access_token)).status,
      200
    )
  })

  it('logs in with the signed nonce, in every spelling of its address and signature', async () => {
    const wallet = ethereumWallet(HARDHAT)
    const spellings: Array<[(address: string) => string, (signature: string) => string]> = [
      [address => address, signature => signature],
      [address => address.toLowerCase(), signature => signature.slice(2)],
      [address => `0x${address.slice(2).toUpperCase()}`, signature => `0x${signature.slice(2).toUpperCase()}`],
      [address => address.slice(2), signature => withV(signature, 0)],
      [address => address.slice(2).toLowerCase(), signature => withV(signature, 27)]
    ]
    for (const [address, signature] of spellings) {
      // A challenge for one spelling is good for another.
      const nonce = await running.nonceOf({ ...wallet, address: address(wallet.address) }, 'spelt')
      const { status, body } = await running.post('/v1/auth/verify', {
        wallet: wallet.address,
        nonce,
        signature: signature(await wallet.sign(nonce)),
        namespace: 'spelt'
      })
      assert.equal(status, 200, JSON.stringify(body))
      assert.deepEqual(Object.keys(body), [
        ...['access_token', 'token_type', 'expires_in', 'refresh_token', 'subject', 'namespace', 'nonce'],
        'signature_verified'
      ])
      assert.deepEqual(
        [body.token_type, body.expires_in, body.subject, body.namespace, body.nonce, body.signature_verified],
        ['Bearer', 900, wallet.id, 'spelt', nonce, true]
      )
    }
  })

  it('of Solana logs in with its Ed25519 signature', async () => {
    const wallet = solanaWallet()
    const login = await running.login(wallet, 'sol')
    assert.equal(login.subject, wallet.address)
    const { body } = await running.get('/v1/auth/whoami', login.access_token)
    assert.deepEqual([body.subject, body.namespace], [wallet.address, 'sol'])
    assert.equal((await running.get('/v1/storage/list', login.access_token)).status, 200)
  })

  it('gets a token that anybody can check by the JWKS, with the seed’s claims', async () => {
    const { access_token, subject } = await running.login(ethereumWallet(), 'claims')
    const [header, payload, signature] = access_token.split('.') as [string, string, string]
    const { alg, typ, kid } = JSON.parse(Buffer.from(header, 'base64url').toString())
    const { body, headers } = await running.get('/v1/auth/jwks')
    const [jwk] = body.keys as Array<Record<string, string>>
    assert.deepEqual(Object.keys(jwk!), ['kty', 'use', 'alg', 'kid', 'n', 'e'])
    assert.deepEqual([alg, typ, kid], ['RS256', 'JWT', jwk!.kid])
    assert.equal(headers.get('cache-control'), 'public, max-age=300')
    const { e, kty, n } = jwk!
    assert.equal(kid, createHash('sha256').update(JSON.stringify({ e, kty, n })).digest('base64url'))
    const key = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' })
    assert.ok(verify('sha256', Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url')))
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString())
    assert.deepEqual(
      [claims.iss, claims.aud, claims.sub, claims.namespace],
      [...['debros-gateway', 'gateway', subject, 'claims']]
    )
    assert.equal(claims.exp - claims.iat, 900)
    assert.equal(typeof claims.jti, 'string')
    const both = await Promise.all(
      ['/v1/auth/jwks', '/.well-known/jwks.json'].map(async path => await (await fetch(running.url + path)).text())
    )
    assert.equal(both[0], both[1])
  })

  it('is told by whoami how it is known', async () => {
    const login = await running.login(ethereumWallet(), 'known')
    const { body } = await running.get('/v1/auth/whoami', login.access_token)
    assert.deepEqual(Object.keys(body), [
      ...['authenticated', 'method', 'subject', 'issuer', 'audience', 'issued_at', 'not_before', 'expires_at'],
      'namespace'
    ])
    assert.deepEqual(
      [body.authenticated, body.method, body.subject, body.namespace],
      [...[true, 'jwt', login.subject, 'known']]
    )
    const byKey = await (await running.ask('/v1/auth/whoami')).json()
    assert.deepEqual(byKey, { authenticated: true, method: 'api_key', api_key: 'alice-key', namespace: 'alice' })
  })

  it('uses the storage of its namespace with its token', async () => {
    const { access_token } = await running.login(ethereumWallet(), 'stored')
    const headers = { Authorization: `Bearer ${access_token}` }
    const put = await fetch(`${running.url}/v1/storage/put?key=a`, { method: 'POST', body: 'mine', headers })
    assert.equal(put.status, 201)
    assert.equal(await (await fetch(`${running.url}/v1/storage/get?key=a`, { headers })).text(), 'mine')
    assert.equal((await running.ask('/v1/storage/get?key=a')).status, 404)
  })

  it('registers an app, by its public key', async () => {
    const wallet = ethereumWallet(HARDHAT)
    const { status, body } = await running.post('/v1/auth/register', {
      ...(await running.proofOf(wallet, 'apps')),
      name: 'Chat'
    })
    assert.equal(status, 201)
    const app = body.app as Record<string, string>
    assert.match(app.app_id as string, /^app_[A-Za-z0-9_-]{16}$/)
    assert.deepEqual(body, {
      client_id: app.app_id,
      app: {
        app_id: app.app_id,
        name: 'Chat',
        public_key:
          '0x048318535b54105d4a7aae60c08fc45f9687181b4fdfc625bd1a753fa7397fed753547f11ca8696646f2f3acb08e31016afac23e630c5d11f59f61fef57b0d2aa5',
        namespace: 'apps',
        wallet: wallet.id
      },
      signature_verified: true
    })
  })

  it('gets one API key a namespace, the same when it asks again', async () => {
    const wallet = ethereumWallet()
    const first = await running.post('/v1/auth/api-key', { ...(await running.proofOf(wallet, 'keyed')), plan: 'pro' })
    assert.equal(first.status, 200)
    assert.match(first.body.api_key as string, /^ak_[A-Za-z0-9_-]{24}:keyed$/)
    assert.deepEqual(first.body, { api_key: first.body.api_key, namespace: 'keyed', plan: 'pro', wallet: wallet.id })
    const again = await running.post('/v1/auth/api-key', await running.proofOf(wallet, 'keyed'))
    assert.deepEqual(again.body, first.body)
    const { access_token } = await running.login(wallet, 'keyed')
    const byToken = await running.post('/v1/auth/api-key', {}, { Authorization: `Bearer ${access_token}` })
    assert.deepEqual(byToken.body, first.body)
    const list = await fetch(`${running.url}/v1/storage/list`, {
      headers: { 'X-API-Key': first.body.api_key as string }
    })
    assert.equal(list.status, 200)
  })

  it('gets another API key when it asks for one, and the old one ends with its tokens', async () => {
    const wallet = ethereumWallet()
    const ask = async (more: object) =>
      (await running.post('/v1/auth/api-key', { ...(await running.proofOf(wallet, 'leaky')), ...more })).body
        .api_key as string
    const old = await ask({})
    const { body } = await running.post('/v1/auth/token', '', { 'X-API-Key': old })
    const list = async (credential: string) => (await running.get('/v1/storage/list', credential)).status
    assert.deepEqual([await list(old), await list(body.access_token as string)], [200, 200])
    const next = await ask({ rotate: true })
    assert.notEqual(next, old)
    assert.deepEqual([await list(old), await list(body.access_token as string), await list(next)], [401, 401, 200])
    assert.equal(await ask({}), next)
  })

  it('changes an API key for a token that opens the key’s namespace and does not name the key', async () => {
    const { status, body } = await running.post('/v1/auth/token', '', { 'X-API-Key': 'alice-key' })
    assert.equal(status, 200)
    assert.deepEqual(Object.keys(body), ['access_token', 'token_type', 'expires_in', 'namespace'])
    assert.equal(body.namespace, 'alice')
    const token = body.access_token as string
    assert.ok(
      !Buffer.from(token.split('.')[1] as string, 'base64url')
        .toString()
        .includes('alice-key')
    )
    assert.equal((await running.get('/v1/storage/list', token)).status, 200)
    assert.equal((await running.get('/v1/auth/whoami', token)).body.method, 'jwt')
    // A token does not make another one.
    assert.equal((await running.post('/v1/auth/token', '', { Authorization: `Bearer ${token}` })).status, 401)
    const { access_token } = await running.login(ethereumWallet(), 'no-key')
    assert.equal((await running.post('/v1/auth/token', '', { Authorization: `Bearer ${access_token}` })).status, 401)
    assert.equal((await running.post('/v1/auth/token', '')).status, 401)
    assert.equal((await running.post('/v1/auth/token', '', { 'X-API-Key': 'wrong' })).status, 401)
  })
})

function withV(signature: string, base: 0 | 27): string {
  const v = (Number.parseInt(signature.slice(-2), 16) - 27 + base).toString(16).padStart(2, '0')
  return signature.slice(0, -2) + v
}
