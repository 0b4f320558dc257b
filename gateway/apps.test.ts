import assert from 'node:assert/strict'
import { type AuthGateway, ethereumWallet, startAuthGateway } from './testing/wallets.ts'

describe('apps', () => {
  let running: AuthGateway
  before(async () => {
    running = await startAuthGateway()
  })
  after(() => running[Symbol.asyncDispose]())

  const ask = async (path: string, method = 'GET', body?: unknown, key = 'alice-key') => {
    const answer = await fetch(running.url + path, {
      method,
      headers: { 'X-API-Key': key },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) })
    })
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
  }

  it('are added, listed, read, changed and removed', async () => {
    const added = await ask('/v1/apps', 'POST', { name: 'Chat', public_key: '0x04' })
    assert.equal(added.status, 201)
    const { app_id: id } = added.body
    assert.deepEqual(added.body, { app_id: id, name: 'Chat', public_key: '0x04', namespace: 'alice' })
    const read = await ask(`/v1/apps/${id}`)
    assert.deepEqual(Object.keys(read.body), ['app_id', 'name', 'public_key', 'namespace', 'created_at'])
    assert.deepEqual((await ask('/v1/apps')).body, { items: [read.body], count: 1 })
    assert.deepEqual((await ask(`/v1/apps/${id}`, 'PUT', { name: 'Talk' })).body, { status: 'ok' })
    assert.deepEqual((await ask(`/v1/apps/${id}`)).body, { ...read.body, name: 'Talk' })
    assert.deepEqual((await ask(`/v1/apps/${id}`, 'DELETE')).body, { status: 'ok' })
    assert.deepEqual((await ask('/v1/apps')).body, { items: [], count: 0 })
  })

  it('that are not there are 404, for every method', async () => {
    for (const [method, body] of [['GET'], ['PUT', { name: 'x' }], ['DELETE']] as Array<[string, unknown]>) {
      const answer = await ask('/v1/apps/app_none', method, body)
      assert.deepEqual([answer.status, answer.body.error], [404, 'app not found'], method)
    }
  })

  it('of one namespace are nobody else’s to see, change or remove', async () => {
    const { body } = await ask('/v1/apps', 'POST', { name: 'Mine', public_key: 'k' })
    const path = `/v1/apps/${body.app_id}`
    for (const [method, change] of [['GET'], ['PUT', { name: 'x' }], ['DELETE']] as Array<[string, unknown]>) {
      assert.equal((await ask(path, method, change, 'bob-key')).status, 404, method)
    }
    assert.deepEqual((await ask('/v1/apps', 'GET', undefined, 'bob-key')).body, { items: [], count: 0 })
    assert.equal((await ask(`${path}?namespace=bob`)).status, 403)
    const { access_token } = await running.login(ethereumWallet(), 'alice')
    assert.equal((await running.get(path, access_token)).status, 403)
    assert.equal((await ask(path)).body.name, 'Mine')
  })

  it('that a wallet registers are among them', async () => {
    const wallet = ethereumWallet()
    const { body } = await running.post('/v1/auth/register', {
      ...(await running.proofOf(wallet, 'shop')),
      name: 'Till'
    })
    const { access_token } = await running.login(wallet, 'shop')
    const listed = (await running.get('/v1/apps', access_token)).body.items as Array<Record<string, unknown>>
    assert.deepEqual([listed.length, listed[0]?.app_id, listed[0]?.name], [1, body.client_id, 'Till'])
  })

  it('need a body that makes sense', async () => {
    for (const [method, path, body, error] of [
      ['POST', '/v1/apps', 'x', 'invalid body: expected {name, public_key}'],
      ['POST', '/v1/apps', {}, 'invalid body: expected {name, public_key}'],
      ['POST', '/v1/apps', { name: 'x' }, 'invalid body: expected {name, public_key}'],
      ['POST', '/v1/apps', { name: 5, public_key: 'k' }, "invalid 'name': expected a text of 1 to 128 characters"],
      ['POST', '/v1/apps', { name: '', public_key: 'k' }, "invalid 'name': expected a text of 1 to 128 characters"],
      [
        'POST',
        '/v1/apps',
        { name: 'a\u0007', public_key: 'k' },
        "invalid 'name': expected a text of 1 to 128 characters"
      ],
      [
        'POST',
        '/v1/apps',
        { name: 'x', public_key: 'k'.repeat(1025) },
        "invalid 'public_key': expected a text of 1 to 1024 characters"
      ],
      ['PUT', '/v1/apps/app_x', {}, 'no fields to update'],
      ['PUT', '/v1/apps/app_x', { color: 'red' }, 'no fields to update']
    ] as Array<[string, string, unknown, string]>) {
      const answer = await ask(path, method, body)
      assert.deepEqual([answer.status, answer.body.error], [400, error], JSON.stringify(body))
    }
  })

  it('are a thousand in a namespace at most, however they come', async () => {
    const wallet = ethereumWallet()
    const { access_token } = await running.login(wallet, 'full')
    for (let i = 0; i < 1000; i += 1)
      await running.store.apps.add('full', { appId: `app_${i}`, name: 'x', publicKey: 'k' })
    const add = await running.post(
      '/v1/apps',
      { name: 'x', public_key: 'k' },
      { Authorization: `Bearer ${access_token}` }
    )
    assert.deepEqual([add.status, add.body.code], [403, 'APPS_FULL'])
    assert.equal((await running.post('/v1/auth/register', await running.proofOf(wallet, 'full'))).status, 403)
  })
})
