import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { ethereumWallet, startAuthGateway } from '../testing/wallets.ts'
import { newNonce, seal, unseal } from './secrets.ts'

describe('secrets', () => {
  it('are in no log line, no error, no metric and, in the clear, not in the database', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'warren-secrets-'))
    let told = ''
    const stream = new Writable({
      write(chunk, _, done) {
        told += chunk
        done()
      }
    })
    const secrets: string[] = []
    try {
      await using running = await startAuthGateway({
        dataDir,
        log: pino({ level: 'trace' }, stream),
        environment: { GATEWAY_API_KEYS: 's3cret-seeded:seeded' }
      })
      const answers: string[] = []
      const wallet = ethereumWallet()
      const first = await running.login(wallet, 'quiet')
      const { body: second } = await running.post('/v1/auth/refresh', { refresh_token: first.refresh_token })
      const { body: key } = await running.post('/v1/auth/api-key', await running.proofOf(wallet, 'quiet'))
      const { body: token } = await running.post('/v1/auth/token', '', { 'X-API-Key': 's3cret-seeded' })
      const given = [second.access_token, second.refresh_token, key.api_key, token.access_token].map(String)
      secrets.push('s3cret-seeded', first.access_token, first.refresh_token, ...given)
      // Every way in which each of them can be wrong, or in the wrong place.
      for (const secret of secrets) {
        for (const headers of [
          { Authorization: `Bearer ${secret}` },
          { Authorization: `Bearer ${secret}x` },
          { Authorization: `Basic ${secret}` },
          { 'X-API-Key': `${secret}x` }
        ] as Array<Record<string, string>>) {
          for (const path of ['/v1/storage/list?namespace=other', '/v1/storage/get?key=none', '/v1/auth/token']) {
            const answer = await fetch(running.url + path, { headers })
            answers.push(await answer.text())
          }
        }
        for (const path of ['verify', 'register', 'api-key', 'refresh', 'logout', 'challenge']) {
          for (const name of ['refresh_token', 'signature', 'wallet', 'nonce', 'namespace', 'message', 'plan']) {
            const { body } = await running.post(`/v1/auth/${path}`, { [name]: `${secret}x`, [`${name}2`]: secret })
            answers.push(JSON.stringify(body))
          }
          answers.push(JSON.stringify((await running.post(`/v1/auth/${path}`, `{"${secret}`)).body))
        }
        const login = await running.get(`/v1/auth/login?callback=http://evil.example/${encodeURIComponent(secret)}`)
        answers.push(JSON.stringify(login.body))
      }
      const metrics = await (await fetch(`${running.url}/metrics`)).text()
      await running.store.requests.flush()
      const files = await Promise.all(
        (await readdir(dataDir))
          .filter(name => name.startsWith('gateway.sqlite'))
          .map(name => readFile(join(dataDir, name)))
      )
      const database = Buffer.concat(files)
      assert.ok(told.includes('/v1/auth/verify'), 'the log was listened to')
      assert.ok(database.includes('/v1/auth/verify'), 'the database was read')
      for (const secret of secrets) {
        for (const [where, text] of Object.entries({ log: told, answers: answers.join('\n'), metrics })) {
          assert.ok(!text.includes(secret), `${secret} in the ${where}`)
        }
        assert.ok(!database.includes(secret), `${secret} in the database`)
      }
    } finally {
      await rm(dataDir, { recursive: true, force: true })
    }
  })

  it('sealed for one are opened for no other, and not when a byte has changed', () => {
    const secret = Buffer.alloc(32, 1)
    const sealed = seal(secret, 'ak_key:ns', 'ns wallet')
    assert.equal(unseal(secret, sealed, 'ns wallet'), 'ak_key:ns')
    assert.notDeepEqual(seal(secret, 'ak_key:ns', 'ns wallet'), sealed)
    assert.equal(unseal(secret, sealed, 'ns other'), null)
    assert.equal(unseal(Buffer.alloc(32, 2), sealed, 'ns wallet'), null)
    assert.equal(unseal(secret, Buffer.alloc(0), 'ns wallet'), null)
    assert.equal(unseal(secret, sealed.subarray(0, -1), 'ns wallet'), null)
    for (let index = 0; index < sealed.byteLength; index += 1) {
      const changed = Buffer.from(sealed)
      changed[index]! ^= 1
      assert.equal(unseal(secret, changed, 'ns wallet'), null, String(index))
    }
  })

  it('that are nonces are 43 letters and digits, and never one twice', () => {
    const nonces = Array.from({ length: 1_000 }, newNonce)
    assert.equal(new Set(nonces).size, 1_000)
    for (const nonce of nonces) assert.match(nonce, /^[A-Za-z0-9]{43}$/)
  })
})
