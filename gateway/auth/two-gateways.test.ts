import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DB_CLIENTS } from '../config.ts'
import { driverMissing } from '../testing/fixtures.ts'
import { type AuthGateway, ethereumWallet, startAuthGateway } from '../testing/wallets.ts'

// Both in this process, each with connections and memory of its own. `gateway/two-gateways.test.ts` has two processes.
for (const client of DB_CLIENTS) {
  describe(`two gateways on one data directory, ${client}`, () => {
    let dataDir: string
    let one: AuthGateway
    let two: AuthGateway
    before(async function () {
      const missing = driverMissing(client)
      if (missing !== null) return this.skip()
      dataDir = await mkdtemp(join(tmpdir(), 'warren-two-'))
      const start = (NODE_ID: string) => startAuthGateway({ dataDir, environment: { NODE_ID, DB_CLIENT: client } })
      one = await start('one')
      two = await start('two')
    })
    after(async () => {
      await one?.[Symbol.asyncDispose]()
      await two?.[Symbol.asyncDispose]()
      if (dataDir !== undefined) await rm(dataDir, { recursive: true, force: true })
    })

    const whoami = async (running: AuthGateway, token: string) => (await running.get('/v1/auth/whoami', token)).status

    it('have one JWKS, and take each other’s nonces and tokens', async () => {
      const [a, b] = await Promise.all([one, two].map(async running => (await running.get('/v1/auth/jwks')).body))
      assert.deepEqual(a, b)
      const wallet = ethereumWallet()
      const { status, body } = await two.post('/v1/auth/verify', await one.proofOf(wallet, 'shared'))
      assert.equal(status, 200)
      assert.equal(await whoami(one, body.access_token as string), 200)
    })

    it('let a nonce be used once, by a hundred requests at both', async () => {
      const proof = await one.proofOf(ethereumWallet(), 'raced')
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, index) => (index % 2 === 0 ? one : two).post('/v1/auth/verify', proof))
      )
      assert.equal(answers.filter(({ status }) => status === 200).length, 1)
      assert.equal(answers.filter(({ status }) => status === 400).length, 99)
    })

    it('know of a logout at the other with the next request, again and again', async () => {
      const wallet = ethereumWallet()
      for (let round = 0; round < 20; round += 1) {
        const [here, there] = round % 2 === 0 ? [one, two] : [two, one]
        const { access_token, refresh_token } = await here.login(wallet, 'left')
        // Both have it in memory.
        assert.deepEqual([await whoami(here, access_token), await whoami(there, access_token)], [200, 200])
        if (round % 3 === 0) {
          await there.post('/v1/auth/logout', { all: true }, { Authorization: `Bearer ${access_token}` })
        } else {
          await there.post('/v1/auth/logout', { refresh_token })
        }
        assert.deepEqual(
          [await whoami(here, access_token), await whoami(there, access_token)],
          [401, 401],
          String(round)
        )
      }
    })

    it('know of a refresh token that was used at the other', async () => {
      const { refresh_token, access_token } = await one.login(ethereumWallet(), 'reused')
      const { body } = await two.post('/v1/auth/refresh', { refresh_token })
      assert.equal(await whoami(one, body.access_token as string), 200)
      assert.equal((await one.post('/v1/auth/refresh', { refresh_token })).status, 401)
      assert.deepEqual([await whoami(two, access_token), await whoami(two, body.access_token as string)], [401, 401])
    })

    it('know of a key that the other has taken off its list', async () => {
      const ask = (running: AuthGateway) => running.ask('/v1/storage/list')
      assert.deepEqual([(await ask(one)).status, (await ask(two)).status], [200, 200])
      await one.store.apiKeys.seed([], [])
      assert.deepEqual([(await ask(one)).status, (await ask(two)).status], [401, 401])
      await two.store.apiKeys.seed(one.config.apiKeys, [])
      assert.deepEqual([(await ask(one)).status, (await ask(two)).status], [200, 200])
    })

    it('know at once who owns what was claimed at the other', async () => {
      const { access_token } = await one.login(ethereumWallet(), 'fresh')
      assert.equal((await two.get('/v1/storage/list', access_token)).status, 200)
      const late = await two.login(ethereumWallet(), 'fresh')
      assert.equal((await one.get('/v1/storage/list', late.access_token)).status, 403)
    })
  })
}
