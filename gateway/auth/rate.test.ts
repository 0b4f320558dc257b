import assert from 'node:assert/strict'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import type { Context } from 'koa'
import { NONCES_MAX } from '../constants.ts'
import { countedAddress } from '../middleware/request-log.ts'
import { type AuthGateway, ethereumWallet, startAuthGateway } from '../testing/wallets.ts'
import { createRateLimit } from './rate.ts'

describe('a rate limit', () => {
  it('lets so many through, then one for each that flows in, and says when', () => {
    const rate = createRateLimit({ limit: 60, periodMs: 60_000, callersMax: 10 })
    const burst = Array.from({ length: 62 }, () => rate.take('a', 0))
    assert.deepEqual(burst.slice(0, 60), Array(60).fill(0))
    assert.deepEqual(burst.slice(60), [1, 1])
    assert.equal(rate.take('b', 0), 0)
    assert.equal(rate.take('a', 999), 1)
    assert.equal(rate.take('a', 1_000), 0)
    assert.equal(rate.take('a', 1_000), 1)
    assert.equal(rate.take('a', 3_600_000), 0)
    // A clock that goes back gives nothing.
    assert.equal(Array.from({ length: 60 }, () => rate.take('a', 0)).filter(waitS => waitS === 0).length, 59)
  })

  it('says how long the wait is when little flows in', () => {
    const rate = createRateLimit({ limit: 1, periodMs: 60_000, callersMax: 10 })
    assert.deepEqual([rate.take('a', 0), rate.take('a', 0), rate.take('a', 45_000)], [0, 60, 15])
  })

  it('remembers a bounded number of callers, and none with the limit 0', () => {
    const rate = createRateLimit({ limit: 1, periodMs: 1_000, callersMax: 100 })
    for (let i = 0; i < 10_000; i += 1) rate.take(`caller ${i}`, 0)
    assert.equal(rate.size, 100)
    const none = createRateLimit({ limit: 0, periodMs: 1_000, callersMax: 100 })
    for (let i = 0; i < 1_000; i += 1) assert.equal(none.take('a', 0), 0)
    assert.equal(none.size, 0)
  })
})

describe('rates of a gateway', () => {
  const challenge = (running: AuthGateway, headers: Record<string, string> = {}) =>
    running.post('/v1/auth/challenge', { wallet: ethereumWallet().address }, headers)

  it('are 120 a minute of an address by default', async () => {
    await using running = await startAuthGateway({ environment: { GATEWAY_AUTH_RATE_PER_MINUTE: '' } })
    const startedMs = performance.now()
    const answers = await Promise.all(Array.from({ length: 300 }, () => running.post('/v1/auth/refresh', {})))
    const flowed = Math.ceil((performance.now() - startedMs) / 500)
    const through = answers.filter(({ status }) => status === 400).length
    assert.ok(through >= 120 && through <= 120 + flowed, `${through} of 300`)
    const { body, headers } = answers.find(({ status }) => status === 429) as (typeof answers)[0]
    assert.deepEqual([body.code, headers.get('retry-after')], ['RATE_LIMITED', '1'])
  })

  it('are of an address over all public paths of logins, and of nothing else', async () => {
    await using running = await startAuthGateway({ environment: { GATEWAY_AUTH_RATE_PER_MINUTE: '1' } })
    assert.equal((await challenge(running)).status, 200)
    for (const path of ['challenge', 'verify', 'register', 'api-key', 'refresh', 'logout']) {
      assert.equal((await running.post(`/v1/auth/${path}`, {})).status, 429, path)
    }
    assert.equal((await running.ask('/v1/storage/list')).status, 200)
    assert.equal((await running.get('/v1/auth/jwks')).status, 200)
    // A proxy on this machine tells who asks, by the last entry; what a caller has written before it counts for nothing.
    assert.equal((await challenge(running, { 'X-Forwarded-For': '198.51.100.7' })).status, 200)
    assert.equal((await challenge(running, { 'X-Forwarded-For': '203.0.113.9, 127.0.0.1' })).status, 429)
  })

  it('count one customer’s IPv6 network as one, and believe no proxy they are told not to', async () => {
    await using running = await startAuthGateway({ environment: { GATEWAY_AUTH_RATE_PER_MINUTE: '2' } })
    const from = async (ip: string) => (await challenge(running, { 'X-Forwarded-For': ip })).status
    assert.deepEqual([await from('2001:db8::1'), await from('2001:db8::2'), await from('2001:db8::3')], [200, 200, 429])
    assert.equal(await from('2001:db8:0:1::1'), 200)
    await using deaf = await startAuthGateway({
      environment: { GATEWAY_AUTH_RATE_PER_MINUTE: '2', GATEWAY_TRUST_PROXY: 'never' }
    })
    const statuses: number[] = []
    for (const ip of ['198.51.100.1', '198.51.100.2', '198.51.100.3']) {
      statuses.push((await challenge(deaf, { 'X-Forwarded-For': ip })).status)
    }
    assert.deepEqual(statuses, [200, 200, 429])
  })

  it('believe by default only a proxy on this machine', () => {
    const from = (remoteAddress: string) =>
      ({ socket: { remoteAddress }, get: () => '198.51.100.1' }) as unknown as Context
    assert.equal(countedAddress(from('203.0.113.5'), 'loopback'), '203.0.113.5')
    assert.equal(countedAddress(from('127.0.0.1'), 'loopback'), '198.51.100.1')
    assert.equal(countedAddress(from('::ffff:127.0.0.1'), 'loopback'), '198.51.100.1')
    assert.equal(countedAddress(from('203.0.113.5'), 'always'), '198.51.100.1')
    assert.equal(countedAddress(from('127.0.0.1'), 'never'), '127.0.0.1')
  })

  it('are of one identity, whatever it presents and wherever from, and never another’s', async () => {
    await using running = await startAuthGateway({
      environment: { GATEWAY_RATE_PER_SECOND: '5', GATEWAY_API_KEYS: 'a:alice,b:bob' }
    })
    const ask = async (key: string) =>
      (await fetch(`${running.url}/v1/storage/list`, { headers: { 'X-API-Key': key } })).status
    const burst = await Promise.all(Array.from({ length: 40 }, () => ask('a')))
    assert.ok(burst.filter(status => status === 200).length >= 5)
    assert.ok(burst.includes(429))
    assert.ok(burst.every(status => status === 200 || status === 429))
    assert.equal(await ask('b'), 200)
    assert.equal(await ask('wrong'), 401)
  })

  it('keep challenges of a wallet bounded, without putting out those of another address', async () => {
    await using running = await startAuthGateway()
    const wallet = ethereumWallet()
    const asked = async (ip: string) => {
      const { body } = await running.post(
        '/v1/auth/challenge',
        { wallet: wallet.address, namespace: 'flooded' },
        { 'X-Forwarded-For': ip }
      )
      return body.nonce as string
    }
    const mine = await asked('198.51.100.1')
    const flood: string[] = []
    for (let i = 0; i < 140; i += 1) flood.push(await asked('203.0.113.66'))
    const verify = async (nonce: string) =>
      await running.post('/v1/auth/verify', {
        wallet: wallet.address,
        nonce,
        signature: await wallet.sign(nonce),
        namespace: 'flooded'
      })
    assert.equal((await verify(mine)).status, 200)
    assert.equal((await verify(flood[0] as string)).status, 400)
    assert.equal((await verify(flood.at(-1) as string)).status, 200)
  })

  it('end where the gateway has as many challenges as it keeps, and go on when some of them are over', async () => {
    await using running = await startAuthGateway()
    const database = new Sqlite(join(running.config.dataDir, 'gateway.sqlite'))
    try {
      database
        .prepare(
          `WITH RECURSIVE each (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM each WHERE n < ?)
           INSERT INTO nonces (namespace, wallet, nonce, expires_at) SELECT 'n', 'w' || n, 'x', '9999' FROM each`
        )
        .run(NONCES_MAX)
      const { status, body } = await challenge(running)
      assert.deepEqual([status, body.code], [503, 'CHALLENGES_FULL'])
      // From the middle: what counts is how many there are, not how far their numbers go.
      database.prepare("UPDATE nonces SET expires_at = '2000' WHERE id = ?").run(NONCES_MAX / 2)
      assert.equal((await challenge(running)).status, 200)
      assert.equal((await challenge(running)).status, 503)
    } finally {
      database.close()
    }
  })
})
