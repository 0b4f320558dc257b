import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ACCESS_TOKEN_LIFETIME_S, SIGNING_KEY_ANNOUNCE_MS } from '../constants.ts'
import { replaceWhole } from '../key-files.ts'
import { eventually } from '../testing/fixtures.ts'
import { ethereumWallet, startAuthGateway, testRing } from '../testing/wallets.ts'
import { newClaims, signToken, verifyToken } from './jwt.ts'
import { createKeyFile, type KeyFile } from './key-file.ts'
import {
  activeFrom,
  isRotationDue,
  type KeyRing,
  newKey,
  newRing,
  presentJwks,
  type RingKey,
  signingKey,
  verifyingKeys,
  withNextKey,
  writeRing
} from './key-ring.ts'

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS

describe('signing keys', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-keys-'))
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  const path = () => join(folder, 'auth-keys.json')

  /** What gateways of one folder have: a lock that holds one of them at a time. */
  function gateways(clock: { nowMs: number }) {
    let last: Promise<void> = Promise.resolve()
    const errors: unknown[] = []
    let works = 0
    const open = (): KeyFile =>
      createKeyFile({
        dataDir: folder,
        rotateAfterMs: 90 * DAY_MS,
        exclusively: work => {
          last = last.then(work).then(() => {
            works += 1
          })
          return last
        },
        onError: error => errors.push(error),
        now: () => clock.nowMs
      })
    return { open, errors, works: () => works }
  }

  it('are made once, however many gateways start at one time, for their user only', async () => {
    const { open } = gateways({ nowMs: Date.now() })
    const rings = await Promise.all(Array.from({ length: 4 }, () => open().ring()))
    assert.equal(new Set(rings.map(ring => ring.keys[0]?.kid)).size, 1)
    assert.deepEqual(await readdir(folder), ['auth-keys.json'])
    assert.equal((await stat(path())).mode & 0o777, 0o600)
    assert.equal((await open().ring()).keys[0]?.kid, rings[0]?.keys[0]?.kid)
  })

  it('are not made by who only verifies', async () => {
    const { open } = gateways({ nowMs: Date.now() })
    assert.equal((await open().verifying()).size, 0)
    assert.deepEqual(await readdir(folder), [])
  })

  it('get a successor that is announced before it signs; the old one verifies until its tokens end', async () => {
    const first = (await testRing()).keys[0] as RingKey
    const next = { ...first, kid: 'next', header: 'next', createdAtMs: 1_000_000, activeFromMs: 1_000_000 + 600_000 }
    const ring: KeyRing = { sealingKey: Buffer.alloc(32), keys: [{ ...first, createdAtMs: 0, activeFromMs: 0 }, next] }
    const signs = (ms: number) => signingKey(ring, ms).kid
    const verifies = (ms: number) => verifyingKeys(ring, ms).map(key => key.kid)
    assert.deepEqual([signs(1_000_000), signs(1_599_999), signs(1_600_000)], [first.kid, first.kid, 'next'])
    assert.deepEqual(verifies(1_000_000), [first.kid, 'next'])
    const endMs = 1_600_000 + (ACCESS_TOKEN_LIFETIME_S + 120) * 1000
    assert.deepEqual(verifies(endMs - 1), [first.kid, 'next'])
    assert.deepEqual(verifies(endMs), ['next'])
    assert.equal(isRotationDue(ring, 1_000_000 + 90 * DAY_MS, 90 * DAY_MS), true)
    assert.equal(isRotationDue(ring, 999_999 + 90 * DAY_MS, 90 * DAY_MS), false)
    // One that is waiting is not overtaken by another.
    assert.equal(isRotationDue(ring, 1_599_999, 1), false)
  })

  it('are rotated once by two gateways that find it due at one time, and both know', async () => {
    const clock = { nowMs: Date.now() }
    const ring = await testRing()
    await writeFile(path(), writeRing(ring), { mode: 0o600 })
    const { open, errors, works } = gateways(clock)
    const [one, two] = [open(), open()]
    const old = await one.signing()
    const token = () =>
      signToken(newClaims({ sub: 's', jti: 'j', namespace: 'n', amr: 'wallet', epoch: 0 }, clock.nowMs), old)
    clock.nowMs += 91 * DAY_MS
    assert.deepEqual([(await one.signing()).kid, (await two.signing()).kid], [old.kid, old.kid])
    await eventually(async () => works() === 2)
    const kids = async (file: KeyFile) => (await file.ring()).keys.map(key => key.kid)
    assert.equal((await kids(one)).length, 2)
    assert.deepEqual(await kids(two), await kids(one))
    const more = await newKey(clock.nowMs, activeFrom(clock.nowMs))
    await replaceWhole(path(), writeRing(withNextKey(await two.ring(), more, clock.nowMs)))
    clock.nowMs += 2_000
    for (const each of [one, two]) await each.look()
    assert.deepEqual([(await kids(one)).length, await kids(one)], [3, await kids(two)])
    assert.deepEqual(errors, [])
    const before = token()
    clock.nowMs += SIGNING_KEY_ANNOUNCE_MS
    const now = await one.signing()
    assert.notEqual(now.kid, old.kid)
    assert.notEqual(verifyToken(before, await two.verifying(), clock.nowMs), null)
    clock.nowMs += 18 * MINUTE_MS
    assert.equal((await two.verifying()).has(old.header), false)
    assert.deepEqual(await readdir(folder), ['auth-keys.json'])
    assert.equal((await stat(path())).mode & 0o777, 0o600)
  })

  it('show the public half only', async () => {
    const jwks = presentJwks(await testRing(), Date.now())
    assert.deepEqual(Object.keys(jwks.keys[0] as object), ['kty', 'use', 'alg', 'kid', 'n', 'e'])
    const written = writeRing(await testRing())
    assert.match(written, /BEGIN PRIVATE KEY/)
    assert.ok(!JSON.stringify(jwks).includes('PRIVATE'))
  })

  it('in a damaged file stop the gateway with a word of what to do, and none of what is in it', async () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey
    const pem = weak.export({ format: 'pem', type: 'pkcs8' }) as string
    const ring = JSON.parse(writeRing(await testRing()))
    for (const text of [
      '',
      'secret text',
      '{}',
      JSON.stringify({ ...ring, keys: [] }),
      JSON.stringify({ ...ring, version: 2 }),
      JSON.stringify({ ...ring, sealingKey: 'c2hvcnQ=' }),
      JSON.stringify({ ...ring, keys: [{ ...ring.keys[0], privateKey: pem }] }),
      JSON.stringify({ ...ring, keys: [{ ...ring.keys[0], privateKey: 'secret text' }] }),
      JSON.stringify({ ...ring, keys: [{ ...ring.keys[0], activeFromMs: 'soon' }] })
    ]) {
      await writeFile(path(), text)
      await assert.rejects(gateways({ nowMs: Date.now() }).open().ring(), (error: Error & { code: string }) => {
        assert.equal(error.code, 'KEY_FILE_INVALID')
        assert.match(error.message, /auth-keys\.json is damaged: restore it, or remove it/)
        assert.ok(!error.message.includes('secret'))
        return true
      })
      assert.equal(await readFile(path(), 'utf8'), text)
    }
  })

  it('survive a restart, and so do tokens and sealed keys', async () => {
    const wallet = ethereumWallet()
    const dataDir = await mkdtemp(join(tmpdir(), 'warren-restart-'))
    try {
      const start = () => startAuthGateway({ dataDir })
      let token: string
      let key: unknown
      {
        await using running = await start()
        token = (await running.login(wallet, 'kept')).access_token
        key = (await running.post('/v1/auth/api-key', {}, { Authorization: `Bearer ${token}` })).body.api_key
      }
      await using running = await start()
      assert.equal((await running.get('/v1/auth/whoami', token)).status, 200)
      const again = await running.post('/v1/auth/api-key', {}, { Authorization: `Bearer ${token}` })
      assert.equal(again.body.api_key, key)
    } finally {
      await rm(dataDir, { recursive: true, force: true })
    }
  })

  it('that are removed end all tokens; a wallet’s old API key ends when it asks for one', async () => {
    const wallet = ethereumWallet()
    const dataDir = await mkdtemp(join(tmpdir(), 'warren-leaked-'))
    try {
      let token: string
      let key: string
      {
        await using running = await startAuthGateway({ dataDir })
        token = (await running.login(wallet, 'leaked')).access_token
        const { body } = await running.post('/v1/auth/api-key', {}, { Authorization: `Bearer ${token}` })
        key = body.api_key as string
      }
      await using running = await startAuthGateway({ dataDir, keyFile: writeRing(await newRing(Date.now())) })
      assert.equal((await running.get('/v1/auth/whoami', token)).status, 401)
      assert.equal((await running.get('/v1/storage/list', key)).status, 200)
      const { body } = await running.post('/v1/auth/api-key', await running.proofOf(wallet, 'leaked'))
      assert.notEqual(body.api_key, key)
      assert.equal((await running.get('/v1/storage/list', key)).status, 401)
      assert.equal((await running.get('/v1/storage/list', body.api_key as string)).status, 200)
    } finally {
      await rm(dataDir, { recursive: true, force: true })
    }
  })
})
