import assert from 'node:assert/strict'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import { type AuthGateway, ethereumWallet, solanaWallet, startAuthGateway } from '../testing/wallets.ts'

describe('a namespace', () => {
  let running: AuthGateway
  before(async () => {
    running = await startAuthGateway()
  })
  after(() => running[Symbol.asyncDispose]())

  const storage = ['list', 'get?key=a', 'exists?key=a'].map(path => `/v1/storage/${path}`)

  it('that nobody has is the wallet’s that logs in first, and nobody else’s', async () => {
    const [first, second] = [ethereumWallet(), ethereumWallet()]
    const mine = await running.login(first, 'claimed')
    const put = await fetch(`${running.url}/v1/storage/put?key=a`, {
      method: 'POST',
      body: 'secret',
      headers: { Authorization: `Bearer ${mine.access_token}` }
    })
    assert.equal(put.status, 201)
    const { access_token, refresh_token } = await running.login(second, 'claimed')
    assert.equal((await running.get('/v1/auth/whoami', access_token)).status, 200)
    for (const path of storage) {
      const { status, body } = await running.get(path, access_token)
      assert.deepEqual(
        [status, body],
        [403, { error: 'forbidden: not an owner of namespace', code: 'NOT_OWNER' }],
        path
      )
    }
    // Neither register nor a key (the seed's K2) nor a refresh changes that.
    for (const path of ['/v1/auth/register', '/v1/auth/api-key']) {
      const { status, body } = await running.post(path, await running.proofOf(second, 'claimed'))
      assert.deepEqual([status, body.code], [403, 'NOT_OWNER'], path)
    }
    const byToken = await running.post('/v1/auth/api-key', {}, { Authorization: `Bearer ${access_token}` })
    assert.equal(byToken.status, 403)
    const { body } = await running.post('/v1/auth/refresh', { refresh_token })
    assert.equal((await running.get('/v1/storage/list', body.access_token as string)).status, 403)
    assert.equal((await running.get('/v1/storage/get?key=a', mine.access_token)).status, 200)
  })

  it('of a configured key, or of the gateway itself, is no wallet’s', async () => {
    for (const namespace of ['alice', 'bob', 'default', undefined]) {
      const wallet = ethereumWallet()
      const { access_token, namespace: got } = await running.login(wallet, namespace)
      assert.equal(got, namespace ?? 'default')
      assert.equal((await running.get('/v1/storage/list', access_token)).status, 403, namespace)
      for (const path of ['/v1/auth/register', '/v1/auth/api-key']) {
        assert.equal((await running.post(path, await running.proofOf(wallet, namespace))).status, 403)
      }
    }
  })

  it('whose last key was taken off the list is not free: its data are still there', async () => {
    await using own = await startAuthGateway({ environment: { GATEWAY_API_KEYS: 'old-key:old' } })
    const headers = { 'X-API-Key': 'old-key' }
    await fetch(`${own.url}/v1/storage/put?key=a`, { method: 'POST', body: 'left behind', headers })
    await own.store.apiKeys.seed([], [])
    const { access_token } = await own.login(ethereumWallet(), 'old')
    assert.equal((await own.get('/v1/storage/get?key=a', access_token)).status, 403)
  })

  it('is one wallet’s when twenty claim it at once', async () => {
    const proofs = await Promise.all(Array.from({ length: 20 }, () => running.proofOf(ethereumWallet(), 'rushed')))
    const answers = await Promise.all(proofs.map(proof => running.post('/v1/auth/register', proof)))
    assert.deepEqual(answers.map(({ status }) => status).sort(), [201, ...Array.from({ length: 19 }, () => 403)])
  })

  it('is another one in another case, and is not to be had by names inside', async () => {
    const upper = await running.login(ethereumWallet(), 'Alice')
    assert.equal((await running.get('/v1/storage/list', upper.access_token)).status, 200)
    for (const asked of ['alice', 'ALICE', 'ns::alice', '']) {
      const { status, body } = await running.get(`/v1/storage/list?namespace=${asked}`, upper.access_token)
      assert.deepEqual([status, body.code], [403, 'NAMESPACE_MISMATCH'], asked)
    }
  })

  it('is kept by its owner in whatever case the wallet is written (the seed’s K9)', async () => {
    const wallet = ethereumWallet()
    await running.login({ ...wallet, address: wallet.address.toLowerCase() }, 'cased')
    const again = await running.login({ ...wallet, address: `0x${wallet.address.slice(2).toUpperCase()}` }, 'cased')
    assert.equal((await running.get('/v1/storage/list', again.access_token)).status, 200)
  })

  it('is lost at once when the owner’s row goes', async () => {
    const wallet = solanaWallet()
    const { access_token } = await running.login(wallet, 'lost')
    const { body } = await running.post('/v1/auth/api-key', {}, { Authorization: `Bearer ${access_token}` })
    const key = body.api_key as string
    for (const credential of [access_token, key]) {
      assert.equal((await running.get('/v1/storage/list', credential)).status, 200)
    }
    const database = new Sqlite(join(running.config.dataDir, 'gateway.sqlite'))
    database.exec(
      "DELETE FROM namespace_ownership WHERE namespace_id = (SELECT id FROM namespaces WHERE name = 'lost')"
    )
    database.close()
    for (const credential of [access_token, key]) {
      assert.equal((await running.get('/v1/storage/list', credential)).status, 403)
    }
  })

  it('gives a wallet no more than a hundred of its kind', async () => {
    const wallet = ethereumWallet()
    await running.store.auth.transaction(async rows => {
      for (let index = 0; index < 100; index += 1) await rows.claim(`many-${index}`, wallet.id)
    })
    const { status, body } = await running.post('/v1/auth/verify', await running.proofOf(wallet, 'many-100'))
    assert.deepEqual([status, body.code], [403, 'NAMESPACES_FULL'])
    assert.equal((await running.login(wallet, 'many-99')).namespace, 'many-99')
    // What was refused has left nothing behind.
    assert.equal((await running.login(ethereumWallet(), 'many-100')).namespace, 'many-100')
  })
})
