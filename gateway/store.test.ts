import assert from 'node:assert/strict'
import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import knexFactory, { type Knex } from 'knex'
import { silentLog } from '../node/index.ts'
import { hashKey, readConfig } from './config.ts'
import { createRequestLog } from './store/request-log.ts'
import { createKnexDriver } from './store/sqlite.ts'
import { createStatements } from './store/statements.ts'
import { prefixEnd } from './store/values.ts'
import { openStore, type Store } from './store.ts'
import { eventually, startGateway } from './testing/fixtures.ts'

async function withDatabase(work: (folder: string, look: () => Knex) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'warren-store-'))
  let knex: Knex | undefined
  try {
    await work(folder, () => {
      knex ??= knexFactory({
        client: 'better-sqlite3',
        connection: { filename: join(folder, 'gateway.sqlite') },
        useNullAsDefault: true
      })
      return knex
    })
  } finally {
    await knex?.destroy()
    await rm(folder, { recursive: true, force: true })
  }
}

function open(dataDir: string, apiKeys: string): Promise<Store> {
  const config = readConfig({ GATEWAY_API_KEYS: apiKeys })
  return openStore({
    dataDir,
    client: 'better-sqlite3',
    maxMb: 64,
    apiKeys: config.apiKeys,
    namespaces: [],
    log: silentLog()
  })
}

describe('the store', () => {
  it('keeps keys as hashes, and those no longer listed stop to work', () =>
    withDatabase(async folder => {
      const first = await open(folder, 'old-secret:one,kept-secret:one')
      assert.equal((await first.apiKeys.find(hashKey('old-secret')))?.namespace, 'one')
      await first.close()
      const second = await open(folder, 'kept-secret:two')
      assert.equal(await second.apiKeys.find(hashKey('old-secret')), null)
      assert.equal((await second.apiKeys.find(hashKey('kept-secret')))?.namespace, 'two')
      assert.equal((await second.apiKeys.find(hashKey('kept-secret:two')))?.namespace, 'two')
      assert.equal(await second.apiKeys.find(hashKey('kept-secret:one')), null)
      await second.close()
      const file = await readFile(join(folder, 'gateway.sqlite'))
      assert.ok(!file.includes('secret'))
    }))

  it('reads apps while somebody else writes', () =>
    withDatabase(async (folder, look) => {
      const store = await open(folder, 'secret:one')
      await store.apps.add('one', { appId: 'app', name: 'Name', publicKey: 'key' })
      const writer = await look().client.acquireConnection()
      await look().raw('BEGIN IMMEDIATE').connection(writer)
      assert.deepEqual(
        (await store.apps.list('one')).map(({ appId }) => appId),
        ['app']
      )
      assert.equal((await store.apps.get('one', 'app')).name, 'Name')
      await assert.rejects(store.apps.get('two', 'app'), { code: 'APP_NOT_FOUND' })
      await look().raw('ROLLBACK').connection(writer)
      look().client.releaseConnection(writer)
      await store.close()
    }))

  it('says of SQL that fails no value that was bound to it: errors are logged', () =>
    withDatabase(async (folder, look) => {
      const store = await open(folder, '')
      await look().raw('DROP TABLE api_keys')
      const { message } = await store.apiKeys.seed([{ namespace: 'private', hashes: ['bound'] }], []).then(
        () => assert.fail('it did not fail'),
        (error: Error) => error
      )
      assert.match(message, /no such table: .*api_keys/)
      assert.doesNotMatch(message, /private|bound|'/)
      await store.close()
    }))

  it('is for its own user only, also where an older file was not', () =>
    withDatabase(async folder => {
      const dataDir = join(folder, 'new')
      const modes = async (...names: string[]) =>
        await Promise.all(names.map(async name => (await stat(join(dataDir, name))).mode & 0o777))
      const made = await open(dataDir, 'secret:one')
      assert.deepEqual(
        await modes('', 'gateway.sqlite', 'gateway.sqlite-wal', 'gateway.sqlite-shm'),
        [0o700, 0o600, 0o600, 0o600]
      )
      await made.close()
      await chmod(join(dataDir, 'gateway.sqlite'), 0o644)
      const again = await open(dataDir, 'secret:one')
      assert.deepEqual(await modes('gateway.sqlite', 'gateway.sqlite-wal'), [0o600, 0o600])
      await again.close()
    }))

  it('is durable and keeps its promises by the settings of each of its connections', () =>
    withDatabase(async folder => {
      const opened = new Set<Sqlite.Database>()
      const { exec } = Sqlite.prototype
      Sqlite.prototype.exec = function (sql) {
        opened.add(this)
        return exec.call(this, sql)
      }
      const store = await open(folder, '').finally(() => {
        Sqlite.prototype.exec = exec
      })
      try {
        assert.ok((await store.sizeBytes()) > 0)
        const settings = [...opened].map(connection =>
          ['journal_mode', 'synchronous', 'foreign_keys', 'trusted_schema', 'max_page_count'].map(name =>
            connection.pragma(name, { simple: true })
          )
        )
        const FULL = 2
        const expected = ['wal', FULL, 1, 0, (64 * 1024 * 1024) / 4096]
        // The one that writes, and the one that reads.
        assert.deepEqual(settings, [expected, expected])
        assert.deepEqual(
          [...opened].map(connection => connection.pragma('query_only', { simple: true })).sort(),
          [0, 1]
        )
      } finally {
        await store.close()
      }
    }))

  it('holds values under internal names only', async () => {
    await withDatabase(async (folder, look) => {
      await using running = await startGateway({ dataDir: folder })
      await running.ask('/v1/storage/put?key=name', { method: 'POST', body: 'v' })
      assert.deepEqual(await look()('kv_storage').pluck('key'), ['ns::alice::name'])
    })
  })
})

describe('the request log', () => {
  it('has one row a request, with the key that asked and when it was last used', () =>
    withDatabase(async (folder, look) => {
      await using running = await startGateway({ dataDir: folder })
      await running.ask('/v1/storage/exists?key=a', { headers: { 'X-Forwarded-For': '203.0.113.9, 10.0.0.1' } })
      await fetch(`${running.url}/v1/storage/list`)
      const rows = await eventually(async () => {
        await running.store.requests.flush()
        const found = await look()('request_logs').orderBy('status_code')
        return found.length === 2 ? found : null
      })
      assert.deepEqual(
        rows.map(row => [row.method, row.path, row.status_code, row.ip, row.api_key_id !== null]),
        [
          ['GET', '/v1/storage/exists', 200, '203.0.113.9', true],
          ['GET', '/v1/storage/list', 401, '127.0.0.1', false]
        ]
      )
      assert.ok(rows.every(row => row.bytes_out > 100))
      assert.equal((await look()('api_keys').whereNotNull('last_used_at')).length, 1)
    }))

  it('keeps what was asked with a key that has gone before the row is written, and what others asked', () =>
    withDatabase(async (folder, look) => {
      const store = await open(folder, 'secret:one,kept:two')
      const [gone, kept] = await Promise.all(['secret', 'kept'].map(key => store.apiKeys.find(hashKey(key))))
      assert.ok(gone && kept)
      const row = { method: 'GET', statusCode: 200, bytesOut: 1, durationMs: 1, ip: '::1' }
      store.requests.add({ ...row, path: '/gone', apiKeyId: gone.id })
      store.requests.add({ ...row, path: '/kept', apiKeyId: kept.id })
      await store.apiKeys.seed(readConfig({ GATEWAY_API_KEYS: 'kept:two' }).apiKeys, [])
      await store.requests.close()
      assert.equal(store.requests.dropped, 0)
      const rows = await look()('request_logs').orderBy('id')
      assert.deepEqual(
        rows.map(found => [found.path, found.api_key_id]),
        [
          ['/gone', null],
          ['/kept', kept.id]
        ]
      )
      await store.close()
    }))

  it('drops and counts what the queue cannot hold, and keeps the newest rows', () =>
    withDatabase(async (folder, look) => {
      const store = await open(folder, '')
      const { batch } = createStatements(createKnexDriver(look()))
      const durable = new Set<boolean | undefined>()
      const counted: typeof batch = (statements, options) => {
        durable.add(options?.isDurable)
        return batch(statements, options)
      }
      const requests = createRequestLog(
        { batch: counted },
        {
          onError: error => assert.fail(String(error)),
          queueMaxRows: 10,
          keepRows: 4
        }
      )
      const row = { method: 'GET', statusCode: 200, bytesOut: 1, durationMs: 1, ip: '::1', apiKeyId: null }
      for (let index = 0; index < 12; index += 1) requests.add({ ...row, path: `/${index}` })
      await requests.close()
      assert.equal(requests.dropped, 2)
      // No request waits for the disk because of its log.
      assert.deepEqual([...durable], [false])
      assert.deepEqual(await look()('request_logs').orderBy('id').pluck('path'), ['/6', '/7', '/8', '/9'])
      await store.close()
    }))
})

describe('the end of a prefix', () => {
  it('is the next text after all that begin with it', () => {
    assert.equal(prefixEnd('ab'), 'ac')
    assert.equal(prefixEnd('a\u{10ffff}'), 'b')
    assert.equal(prefixEnd('\ud7ff'), '\ue000')
    assert.equal(prefixEnd('\u{10ffff}'), null)
    assert.equal(prefixEnd(''), null)
  })
})
