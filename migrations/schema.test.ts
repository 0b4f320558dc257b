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
    assert.deepEqual(columns('apps'), [
      ...['id', 'namespace_id', 'app_id', 'name', 'public_key', 'wallet', 'created_at']
    ])
    assert.deepEqual(columns('nonces'), [
      ...['id', 'namespace', 'wallet', 'nonce', 'purpose', 'ip', 'created_at', 'expires_at', 'used_at']
    ])
    assert.deepEqual(columns('subscriptions'), ['id', 'namespace_id', 'app_id', 'topic', 'endpoint', 'created_at'])
    assert.deepEqual(columns('refresh_tokens'), [
      ...['id', 'namespace_id', 'subject', 'token_hash', 'family', 'audience', 'created_at', 'expires_at', 'revoked_at']
    ])
    assert.deepEqual(columns('audit_events'), [
      ...['id', 'namespace_id', 'actor', 'action', 'resource', 'ip', 'metadata', 'created_at']
    ])
    assert.deepEqual(columns('wallet_api_keys'), [
      ...['namespace_id', 'wallet', 'api_key_id', 'plan', 'sealed_key', 'created_at']
    ])
    assert.deepEqual(columns('revoked_tokens'), ['id', 'expires_at'])
    assert.deepEqual(columns('subject_epochs'), ['namespace_id', 'subject', 'epoch'])
    assert.deepEqual(columns('schema_migrations'), ['version', 'applied_at', 'name', 'checksum'])
  })

  it('seed the namespace default', async () => {
    const { connection } = await open()
    assert.deepEqual(connection.prepare('SELECT name FROM namespaces').pluck().all(), ['default'])
  })

  it('count every change that may end somebody’s access, and no other', async () => {
    const { connection } = await open()
    const revision = () => connection.prepare('SELECT revision FROM auth_revision').pluck().get() as number
    const counted: Array<[string, number]> = [
      ["INSERT INTO namespaces (id, name) VALUES (9, 'nine')", 0],
      [`INSERT INTO api_keys (id, key_hash, namespace_id) VALUES (1, '${'0'.repeat(64)}', 9)`, 0],
      ["UPDATE api_keys SET last_used_at = 'now'", 0],
      ['UPDATE api_keys SET namespace_id = namespace_id', 0],
      ['UPDATE api_keys SET namespace_id = 1', 1],
      ["INSERT INTO namespace_ownership (namespace_id, owner_type, owner_id) VALUES (9, 'wallet', 'w')", 1],
      ['DELETE FROM namespace_ownership', 1],
      ["INSERT INTO revoked_tokens VALUES ('jti', '2026')", 1],
      ['DELETE FROM revoked_tokens', 0],
      ["INSERT INTO subject_epochs VALUES (9, 's', 1)", 1],
      ['UPDATE subject_epochs SET epoch = 2', 1],
      ['DELETE FROM api_keys', 1]
    ]
    for (const [sql, by] of counted) {
      const before = revision()
      connection.exec(sql)
      assert.equal(revision() - before, by, sql)
    }
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
