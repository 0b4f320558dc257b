import assert from 'node:assert/strict'
import Sqlite from 'better-sqlite3'
import { databaseOf } from './database.ts'
import { readMigrations } from './files.ts'
import { migrate, migrationsFolder } from './index.ts'

describe("the gateway's migrations", () => {
  /** A database with all of them applied. */
  const open = async () => {
    const connection = new Sqlite(':memory:')
    connection.pragma('foreign_keys = ON')
    await migrate(databaseOf(connection), { folder: migrationsFolder })
    const columns = (table: string) =>
      (connection.pragma(`table_info(${table})`) as { name: string }[]).map(({ name }) => name)
    return { connection, columns }
  }

  it('make the promised tables', async () => {
    const { columns } = await open()
    assert.deepEqual(columns('namespaces'), ['id', 'name', 'created_at'])
    assert.deepEqual(columns('api_keys'), [
      ...['id', 'key_hash', 'name', 'namespace_id', 'scopes', 'created_at', 'last_used_at']
    ])
    assert.deepEqual(columns('namespace_ownership'), ['namespace_id', 'owner_type', 'owner_id', 'created_at'])
    assert.deepEqual(columns('kv_storage'), [
      ...['namespace', 'key', 'sealed', 'sealed_cid', 'size_bytes', 'created_at_ms', 'updated_at_ms'],
      ...['form', 'etag', 'expires_at_ms']
    ])
    assert.deepEqual(columns('request_logs'), [
      ...['id', 'method', 'path', 'status_code', 'bytes_out', 'duration_ms', 'ip', 'api_key_id', 'created_at']
    ])
    assert.deepEqual(columns('schema_migrations'), ['version', 'applied_at', 'name', 'checksum'])
  })

  it('seed the namespace default', async () => {
    const { connection } = await open()
    assert.deepEqual(connection.prepare('SELECT name FROM namespaces').pluck().all(), ['default'])
  })

  it('keep a value or a reference to a blob, never both or none', async () => {
    const { connection } = await open()
    const put = connection.prepare(`INSERT OR REPLACE INTO kv_storage
      (namespace, key, sealed, sealed_cid, size_bytes, created_at_ms, updated_at_ms) VALUES ('n', ?, ?, ?, 1, 0, 0)`)
    put.run('inline', Buffer.from('x'), null)
    put.run('empty', Buffer.alloc(0), null)
    put.run('blob', null, 'bafy')
    assert.throws(() => put.run('both', Buffer.from('x'), 'bafy'), /CHECK/)
    assert.throws(() => put.run('none', null, null), /CHECK/)
    put.run('inline', Buffer.from('y'), null)
    assert.equal(connection.prepare('SELECT count(*) FROM kv_storage').pluck().get(), 3)
  })

  it('forget the keys of a namespace with it, but keep the log', async () => {
    const { connection } = await open()
    connection.exec(`INSERT INTO namespaces (id, name) VALUES (9, 'nine');
      INSERT INTO api_keys (id, key_hash, namespace_id) VALUES (1, '${'0'.repeat(64)}', 9);
      INSERT INTO namespace_ownership (namespace_id, owner_type, owner_id) VALUES (9, 'api_key', '1');
      INSERT INTO request_logs (method, path, status_code, api_key_id) VALUES ('GET', '/', 200, 1);
      DELETE FROM namespaces WHERE id = 9`)
    assert.equal(connection.prepare('SELECT count(*) FROM api_keys').pluck().get(), 0)
    assert.equal(connection.prepare('SELECT count(*) FROM namespace_ownership').pluck().get(), 0)
    assert.equal(connection.prepare('SELECT api_key_id FROM request_logs').pluck().get(), null)
  })

  it('have names of three digits, without gaps, and say first why', async () => {
    const files = await readMigrations(migrationsFolder)
    for (const [index, file] of files.entries()) {
      assert.match(file.name, new RegExp(`^${String(index + 1).padStart(3, '0')}_[a-z_]+\\.sql$`))
      assert.match(file.sql, /^-- \S/)
    }
  })
})
