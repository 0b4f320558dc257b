import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import { databaseOf, migrate, migrationsFolder } from '../../migrations/index.ts'
import { silentLog } from '../../node/index.ts'
import { openStore, type Store } from '../store.ts'
import { startGateway } from '../testing/fixtures.ts'

const SECRET = 'a-value-that-stands-in-no-file'

async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'warren-sealing-'))
  try {
    await work(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const open = (dataDir: string): Promise<Store> =>
  openStore({ dataDir, client: 'better-sqlite3', maxMb: 64, apiKeys: [], namespaces: [], log: silentLog() })

/** Every file in the folder as one text of bytes. */
async function allBytes(folder: string): Promise<Buffer> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter(entry => entry.isFile())
  return Buffer.concat(await Promise.all(files.map(({ parentPath, name }) => readFile(join(parentPath, name)))))
}

/** A database as it was before values were sealed. */
async function oldDatabase(folder: string): Promise<Sqlite.Database> {
  const early = join(folder, 'early')
  await mkdir(early)
  const [first] = (await readdir(migrationsFolder)).filter(name => name.endsWith('initial_schema.sql'))
  await writeFile(join(early, first!), await readFile(join(migrationsFolder, first!)))
  const database = new Sqlite(join(folder, 'gateway.sqlite'))
  database.pragma('journal_mode = WAL')
  await migrate(databaseOf(database), { folder: early })
  await rm(early, { recursive: true })
  return database
}

const name = (key: string) => ({ namespace: 'alice', key: `ns::alice::${key}` })

describe('the master key', () => {
  it('is made once, for its user only, by whichever of many gateways starts first', () =>
    withFolder(async folder => {
      const stores = await Promise.all(Array.from({ length: 6 }, () => open(folder)))
      assert.equal((await stat(join(folder, 'master.key'))).mode & 0o777, 0o600)
      assert.deepEqual(
        (await readdir(folder)).filter(file => file.startsWith('master')),
        ['master.key']
      )
      const purpose = { kind: 'value', namespace: 'alice', name: 'a' } as const
      const sealed = stores[0]!.sealer.seal(Buffer.from('v'), purpose)
      for (const { sealer } of stores) assert.equal(sealer.open(sealed, purpose)?.toString(), 'v')
      await Promise.all(stores.map(store => store.close()))
    }))

  it('stops the start when it is lost, wrong or no key, and is not replaced', () =>
    withFolder(async folder => {
      const path = join(folder, 'master.key')
      await (await open(folder)).close()
      const right = await readFile(path, 'utf8')
      await rm(path)
      await assert.rejects(open(folder), { code: 'MASTER_KEY_MISSING', message: /backup/ })
      await assert.rejects(stat(path), { code: 'ENOENT' })
      await writeFile(path, `${'0'.repeat(64)}\n`)
      await assert.rejects(open(folder), { code: 'MASTER_KEY_WRONG', message: /gateway\.sqlite/ })
      for (const text of ['', right.slice(0, 40), right.slice(1), `${right}x`]) {
        await writeFile(path, text)
        await assert.rejects(open(folder), { code: 'MASTER_KEY_INVALID' })
      }
      await writeFile(path, right.trim())
      await (await open(folder)).close()
    }))
})

describe('values at rest', () => {
  it('are in no file as they were given, nor are the CIDs of blobs', () =>
    withFolder(async folder => {
      const running = await startGateway({ dataDir: folder })
      await running.ask('/v1/storage/put?key=a', { method: 'POST', body: SECRET })
      const content = { value: null, cid: SECRET, sizeBytes: 70_000 }
      await running.store.values.put(name('b'), { content, expiresAtMs: null, condition: null })
      assert.equal((await running.store.values.get(name('b')))?.cid, SECRET)
      assert.equal((await allBytes(folder)).includes(SECRET), false)
      await running[Symbol.asyncDispose]()
      assert.equal((await allBytes(folder)).includes(SECRET), false)
    }))

  it('cannot be moved to another key or namespace, changed, or given unsealed: 500, and nothing of them', () =>
    withFolder(async folder => {
      await using running = await startGateway({ dataDir: folder })
      const database = new Sqlite(join(folder, 'gateway.sqlite'))
      const put = (key: string) => running.ask(`/v1/storage/put?key=${key}`, { method: 'POST', body: SECRET })
      const refused = async (key: string, namespace = 'alice') => {
        const answer = await running.ask(`/v1/storage/get?key=${key}`, {
          headers: { 'X-API-Key': `${namespace}-key` }
        })
        const text = await answer.text()
        assert.deepEqual([answer.status, JSON.parse(text).code], [500, 'VALUE_UNREADABLE'], key)
        assert.equal(text.includes(SECRET), false)
      }
      for (const key of ['moved', 'given', 'changed', 'plain', 'reference']) await put(key)
      const run = (sql: string, ...parameters: unknown[]) =>
        assert.equal(database.prepare(sql).run(...parameters).changes, 1)
      run("UPDATE kv_storage SET key = 'ns::alice::elsewhere' WHERE key = 'ns::alice::moved'")
      await refused('elsewhere')
      run("UPDATE kv_storage SET namespace = 'bob', key = 'ns::bob::given' WHERE key = 'ns::alice::given'")
      await refused('given', 'bob')
      run("UPDATE kv_storage SET sealed = CAST(sealed || x'00' AS BLOB) WHERE key = 'ns::alice::changed'")
      await refused('changed')
      run("UPDATE kv_storage SET sealed = ?, form = 0 WHERE key = 'ns::alice::plain'", Buffer.from(SECRET))
      await refused('plain')
      run("UPDATE kv_storage SET sealed_cid = 'bafy', sealed = NULL WHERE key = 'ns::alice::reference'")
      await refused('reference')
      assert.equal((await put('changed')).status, 201)
      assert.equal(await (await running.ask('/v1/storage/get?key=changed')).text(), SECRET)
      database.close()
    }))

  it('from before are sealed at the start, deleted ones too are in no file any more, and etags are given', () =>
    withFolder(async folder => {
      const database = await oldDatabase(folder)
      const insert = database.prepare(`INSERT INTO kv_storage
        (namespace, key, value, cid, size_bytes, created_at_ms, updated_at_ms) VALUES ('alice', ?, ?, ?, ?, 0, 0)`)
      for (let index = 0; index < 250; index += 1) {
        insert.run(name(`v${index}`).key, Buffer.from(`${SECRET} ${index}`.repeat(40)), null, 1)
      }
      insert.run(name('blob').key, null, `bafy-${SECRET}`, 70_000)
      insert.run(name('gone').key, Buffer.from(SECRET), null, 1)
      insert.run(name('empty').key, Buffer.alloc(0), null, 0)
      database.prepare('DELETE FROM kv_storage WHERE key = ?').run(name('gone').key)
      database.close()
      assert.ok((await allBytes(folder)).includes(SECRET))

      // Two at once, as after an upgrade.
      const [store, other] = await Promise.all([open(folder), open(folder)])
      for (const index of [0, 100, 249]) {
        const row = await other.values.get(name(`v${index}`))
        assert.equal(row?.value?.toString(), `${SECRET} ${index}`.repeat(40))
        assert.match(row?.etag ?? '', /^[0-9a-f]{24}$/)
      }
      assert.equal((await store.values.get(name('blob')))?.cid, `bafy-${SECRET}`)
      assert.equal((await store.values.get(name('empty')))?.value?.byteLength, 0)
      await Promise.all([store.close(), other.close()])
      const again = await open(folder)
      assert.equal((await allBytes(folder)).includes(SECRET), false)
      assert.equal((await again.values.get(name('v7')))?.value?.toString(), `${SECRET} 7`.repeat(40))
      await again.close()
    }))
})
