import assert from 'node:assert/strict'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import { readConfig } from '../config.ts'
import { ACCESS_TOKEN_LIFETIME_S, CLOCK_SKEW_S, KEY_FILE_LOOK_MS } from '../constants.ts'
import { replaceWhole } from '../key-files.ts'
import { ethereumWallet, startAuthGateway } from '../testing/wallets.ts'
import { createIdentify } from './identify.ts'
import { createKeyFile } from './key-file.ts'
import { newRing, writeRing } from './key-ring.ts'

describe('a token that is known already', () => {
  it('is good no longer than one that is seen for the first time', async () => {
    await using running = await startAuthGateway()
    const { access_token: text, subject } = await running.login(ethereumWallet(), 'remembered')
    let aheadMs = 0
    const now = () => Date.now() + aheadMs
    const { auth, authReader: reader } = running.store
    const identify = createIdentify({
      reader,
      keys: createKeyFile({
        dataDir: running.config.dataDir,
        rotateAfterMs: Number.POSITIVE_INFINITY,
        exclusively: auth.exclusively,
        onError: error => assert.fail(String(error)),
        now
      }),
      now
    })
    const known = async () => (await identify({ text, bearer: true }))?.subject ?? null
    assert.equal(await known(), subject)
    aheadMs = (ACCESS_TOKEN_LIFETIME_S + CLOCK_SKEW_S - 30) * 1000
    assert.equal(await known(), subject)
    aheadMs = (ACCESS_TOKEN_LIFETIME_S + CLOCK_SKEW_S + 1) * 1000
    assert.equal(await known(), null)
    // Nor does it come before its time, where a clock was put back.
    aheadMs = -(CLOCK_SKEW_S + 60) * 1000
    assert.equal(await known(), null)
    aheadMs = 0
    assert.equal(await known(), subject)
  })

  it('is nothing once its key is gone from the file', async () => {
    await using running = await startAuthGateway()
    const { access_token: text, subject } = await running.login(ethereumWallet(), 'rekeyed')
    let aheadMs = 0
    const now = () => Date.now() + aheadMs
    const { auth, authReader: reader } = running.store
    const { dataDir } = running.config
    const identify = createIdentify({
      reader,
      keys: createKeyFile({
        dataDir,
        rotateAfterMs: Number.POSITIVE_INFINITY,
        exclusively: auth.exclusively,
        onError: error => assert.fail(String(error)),
        now
      }),
      now
    })
    const known = async () => (await identify({ text, bearer: true }))?.subject ?? null
    assert.equal(await known(), subject)
    const other = writeRing(await newRing(Date.now()))
    await auth.exclusively(() => replaceWhole(join(dataDir, 'auth-keys.json'), other))
    // So often the file is looked at.
    aheadMs = KEY_FILE_LOOK_MS
    assert.equal(await known(), null)
  })
})

describe('a token', () => {
  it('got with a key opens nothing once the key is of another namespace', async () => {
    await using running = await startAuthGateway({ environment: { GATEWAY_API_KEYS: 'moved:alice,kept:bob' } })
    const { body } = await running.post('/v1/auth/token', {}, { 'X-API-Key': 'moved' })
    const token = body.access_token as string
    assert.equal((await running.get('/v1/storage/list', token)).status, 200)
    await running.store.apiKeys.seed(readConfig({ GATEWAY_API_KEYS: 'moved:bob,kept:bob' }).apiKeys, [])
    for (const path of ['/v1/auth/whoami', '/v1/storage/list']) {
      assert.equal((await running.get(path, token)).status, 401, path)
    }
    assert.equal((await running.ask('/v1/storage/list', { headers: { 'X-API-Key': 'moved' } })).status, 200)
  })

  it('of a namespace that is gone is no token', async () => {
    await using running = await startAuthGateway()
    const { access_token: token } = await running.login(ethereumWallet(), 'going')
    assert.equal((await running.get('/v1/auth/whoami', token)).status, 200)
    const database = new Sqlite(join(running.config.dataDir, 'gateway.sqlite'))
    database.pragma('foreign_keys = ON')
    database.prepare("DELETE FROM namespaces WHERE name = 'going'").run()
    database.close()
    assert.equal((await running.get('/v1/auth/whoami', token)).status, 401)
  })
})
