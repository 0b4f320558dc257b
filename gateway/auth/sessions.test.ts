import assert from 'node:assert/strict'
import { hashKey } from '../config.ts'
import { type AuthGateway, ethereumWallet, type Login, startAuthGateway } from '../testing/wallets.ts'

describe('a session', () => {
  let running: AuthGateway
  before(async () => {
    running = await startAuthGateway({ environment: { GATEWAY_API_KEYS: 'alice-key:alice,bob-key:bob' } })
  })
  after(() => running[Symbol.asyncDispose]())

  const refresh = (refresh_token: string, more: Record<string, unknown> = {}) =>
    running.post('/v1/auth/refresh', { refresh_token, ...more })
  const whoami = async (token: string) => (await running.get('/v1/auth/whoami', token)).status

  it('goes on by refresh, each time with a new refresh token', async () => {
    const first = await running.login(ethereumWallet(), 'rotated')
    const { status, body } = await refresh(first.refresh_token)
    assert.equal(status, 200)
    assert.deepEqual(Object.keys(body), [
      ...['access_token', 'token_type', 'expires_in', 'refresh_token', 'subject', 'namespace']
    ])
    assert.deepEqual([body.subject, body.namespace], [first.subject, 'rotated'])
    assert.notEqual(body.refresh_token, first.refresh_token)
    assert.notEqual(body.access_token, first.access_token)
    assert.deepEqual(await Promise.all([first.access_token, body.access_token as string].map(whoami)), [200, 200])
    assert.equal((await refresh(body.refresh_token as string, { namespace: 'rotated' })).status, 200)
  })

  it('ends whole when a refresh token is used twice, access tokens too, and no other session with it', async () => {
    const wallet = ethereumWallet()
    const other = await running.login(wallet, 'stolen')
    const first = await running.login(wallet, 'stolen')
    const second = (await refresh(first.refresh_token)).body as unknown as Login
    const third = (await refresh(second.refresh_token)).body as unknown as Login
    assert.equal((await refresh(first.refresh_token)).status, 401)
    for (const { refresh_token, access_token } of [first, second, third]) {
      const { status, body } = await refresh(refresh_token)
      assert.deepEqual([status, body.error], [401, 'invalid or expired refresh token'])
      assert.equal(await whoami(access_token), 401)
    }
    assert.equal(await whoami(other.access_token), 200)
    assert.equal((await refresh(other.refresh_token)).status, 200)
  })

  it('gives one of fifty refreshes at once a new token, and that one has ended as well', async () => {
    const { refresh_token, access_token } = await running.login(ethereumWallet(), 'racing')
    const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(refresh_token)))
    const good = answers.filter(({ status }) => status === 200)
    assert.equal(good.length, 1)
    assert.ok(answers.every(({ status }) => status === 200 || status === 401))
    assert.equal((await refresh(good[0]?.body.refresh_token as string)).status, 401)
    assert.equal(await whoami(access_token), 401)
  })

  it('is not refreshed for another namespace, nor by its access token', async () => {
    const { refresh_token, access_token } = await running.login(ethereumWallet(), 'namely')
    assert.equal((await refresh(refresh_token, { namespace: 'alice' })).status, 401)
    assert.equal((await refresh(access_token)).status, 401)
    assert.equal(await whoami(refresh_token), 401)
    assert.equal((await refresh(refresh_token)).status, 200)
  })

  it('is refreshed for thirty days and not a second more', async () => {
    const { auth } = running.store
    const use = async (ms: number) => {
      const { refresh_token } = await running.login(ethereumWallet(), 'month')
      const now = new Date(Date.now() + ms).toISOString()
      return await auth.transaction(transaction => transaction.useRefresh(hashKey(refresh_token), null, now))
    }
    const dayMs = 24 * 3600 * 1000
    assert.equal((await use(30 * dayMs - 10_000)).used, true)
    assert.deepEqual(await use(30 * dayMs + 1_000), { used: false, row: null })
  })

  it('ends by logout, at once', async () => {
    const { refresh_token, access_token } = await running.login(ethereumWallet(), 'left')
    assert.equal(await whoami(access_token), 200)
    const { status, body } = await running.post('/v1/auth/logout', { refresh_token })
    assert.deepEqual([status, body], [200, { status: 'ok', revoked: 1 }])
    assert.equal(await whoami(access_token), 401)
    assert.equal((await refresh(refresh_token)).status, 401)
    assert.deepEqual((await running.post('/v1/auth/logout', { refresh_token })).body, { status: 'ok', revoked: 0 })
    assert.deepEqual((await running.post('/v1/auth/logout', { refresh_token: 'x' })).body, { status: 'ok', revoked: 0 })
  })

  it('that has ended stays so while others end', async () => {
    const first = await running.login(ethereumWallet(), 'first')
    await running.post('/v1/auth/logout', { refresh_token: first.refresh_token })
    for (let count = 0; count < 2; count += 1) {
      const { refresh_token } = await running.login(ethereumWallet(), 'others')
      // Each throws away what is over of those before it.
      await running.post('/v1/auth/logout', { refresh_token })
      assert.equal(await whoami(first.access_token), 401)
    }
  })

  it('ends everywhere by logout from all, in that namespace only, and a new one begins', async () => {
    const wallet = ethereumWallet()
    const sessions = [await running.login(wallet, 'all-of-it'), await running.login(wallet, 'all-of-it')]
    const elsewhere = await running.login(wallet, 'not-this')
    const stranger = await running.login(ethereumWallet(), 'not-his')
    const [one] = sessions as [Login]
    const logout = await running.post('/v1/auth/logout', { all: true }, { Authorization: `Bearer ${one.access_token}` })
    assert.deepEqual([logout.status, logout.body], [200, { status: 'ok', revoked: 'all' }])
    for (const { refresh_token, access_token } of sessions) {
      assert.equal(await whoami(access_token), 401)
      assert.equal((await refresh(refresh_token)).status, 401)
    }
    assert.equal(await whoami(elsewhere.access_token), 200)
    assert.equal(await whoami(stranger.access_token), 200)
    const again = await running.login(wallet, 'all-of-it')
    assert.equal(await whoami(again.access_token), 200)
    // The seed's K10: a public path that never looked at its token. An ended token and a key are none.
    for (const credential of [one.access_token, 'alice-key', 'wrong']) {
      const answer = await running.post('/v1/auth/logout', { all: true }, { Authorization: `Bearer ${credential}` })
      assert.deepEqual([answer.status, answer.body.code], [401, 'JWT_REQUIRED'])
    }
  })

  it('got with an API key ends by logout from all, and with its key', async () => {
    const token = async () =>
      (await running.post('/v1/auth/token', '', { 'X-API-Key': 'alice-key' })).body.access_token as string
    const [one, two] = [await token(), await token()]
    assert.equal((await running.post('/v1/auth/logout', { all: true }, { Authorization: `Bearer ${one}` })).status, 200)
    assert.deepEqual([await whoami(one), await whoami(two)], [401, 401])
    const three = await token()
    assert.equal(await whoami(three), 200)
    assert.equal((await running.ask('/v1/storage/list')).status, 200)
    await running.store.apiKeys.seed([], [])
    assert.equal(await whoami(three), 401)
    assert.equal((await running.ask('/v1/storage/list')).status, 401)
  })
})
