import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { text } from 'node:stream/consumers'
import Sqlite from 'better-sqlite3'
import knex from 'knex'
import { type CallbackConnection, databaseOf, type SyncConnection } from './database.ts'
import type { MigrationError, MigrationFailedError } from './errors.ts'
import { versionOf } from './files.ts'
import { migrate } from './migrate.ts'

let folder = ''
const put = (name: string, sql: string) => writeFile(join(folder, name), sql)

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'warren-migrations-'))
})

afterEach(() => rm(folder, { recursive: true, force: true }))

/** A fresh database in memory and short ways to look into it. */
function open() {
  const connection = new Sqlite(':memory:')
  const rows = (sql: string) => connection.prepare(sql).all() as Record<string, unknown>[]
  const tables = () => rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").map(row => row.name)
  const run = (dryRun = false) => migrate(databaseOf(connection), { folder, dryRun })
  return { connection, rows, tables, run }
}

const failsWith = (code: string) => (error: MigrationError) => error.code === code

describe('migrate', () => {
  it('applies files in the order of their numbers, once, and records them', async () => {
    await put('10foobar.SQL', 'INSERT INTO log VALUES (10)')
    await put('002_second.sql', 'INSERT INTO log VALUES (2)')
    await put('001_first.sql', 'CREATE TABLE log (x); INSERT INTO log VALUES (1);')
    await put('abc.sql', 'no sql at all')
    const { rows, run } = open()
    const report = await run()
    assert.deepEqual(
      report.applied.map(({ version, name, statements }) => [version, name, statements]),
      [
        [1, '001_first.sql', 2],
        [2, '002_second.sql', 1],
        [10, '10foobar.SQL', 1]
      ]
    )
    assert.deepEqual(await run(), { applied: [], pending: [], warnings: [] })
    assert.deepEqual(rows('SELECT x FROM log'), [{ x: 1 }, { x: 2 }, { x: 10 }])
    const records = rows('SELECT * FROM schema_migrations ORDER BY version')
    assert.deepEqual(
      records.map(record => [record.version, record.name]),
      [
        [1, '001_first.sql'],
        [2, '002_second.sql'],
        [10, '10foobar.SQL']
      ]
    )
    assert.match(String(records[0]?.applied_at), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.match(String(records[0]?.checksum), /^[0-9a-f]{64}$/)
  })

  it('leaves nothing of a failing file, keeps the earlier ones, and can go on when it is mended', async () => {
    await put('001_good.sql', 'CREATE TABLE good (x)')
    await put(
      '002_bad.sql',
      '-- why\nCREATE TABLE half (x);\nINSERT INTO good VALUES (1);\n\nINSERT INTO nowhere VALUES (1);'
    )
    const { connection, rows, tables, run } = open()
    await assert.rejects(run(), (error: MigrationFailedError) => {
      assert.equal(error.code, 'MIGRATION_FAILED')
      assert.deepEqual([error.file, error.statementNumber, error.line], ['002_bad.sql', 3, 5])
      assert.match(error.message, /002_bad\.sql, statement 3 .*nowhere/)
      return true
    })
    assert.equal(connection.inTransaction, false)
    assert.deepEqual(tables(), ['good', 'schema_migrations'])
    assert.deepEqual(rows('SELECT * FROM good'), [])
    assert.deepEqual(rows('SELECT version FROM schema_migrations'), [{ version: 1 }])
    await put('002_bad.sql', 'CREATE TABLE half (x)')
    assert.equal((await run()).applied.length, 1)
  })

  it('survives a statement that makes SQLite itself roll back', async () => {
    await put(
      '001_bad.sql',
      'CREATE TABLE a (x UNIQUE); INSERT INTO a VALUES (1); INSERT OR ROLLBACK INTO a VALUES (1);'
    )
    const { tables, run } = open()
    await assert.rejects(run(), failsWith('MIGRATION_FAILED'))
    assert.deepEqual(tables(), ['schema_migrations'])
  })

  it('refuses to be rolled back by a file', async () => {
    for (const statement of ['ROLLBACK', 'rollback to x', 'SAVEPOINT x', 'RELEASE x']) {
      await put('001_sly.sql', `CREATE TABLE a (x); ${statement}; CREATE TABLE b (x)`)
      const { tables, run } = open()
      await assert.rejects(run(), failsWith('MIGRATION_FAILED'))
      assert.deepEqual(tables(), ['schema_migrations'])
    }
  })

  it('passes over BEGIN, COMMIT and records that other runners want in a file', async () => {
    await put(
      '001_old.sql',
      `BEGIN TRANSACTION; CREATE TABLE a (x); INSERT OR IGNORE INTO schema_migrations (version) VALUES (7);
       INSERT INTO main."schema_migrations" (version) VALUES (8); COMMIT; END`
    )
    const { rows, tables, run } = open()
    await run()
    assert.deepEqual(tables(), ['a', 'schema_migrations'])
    assert.deepEqual(rows('SELECT version FROM schema_migrations'), [{ version: 1 }])
  })

  it('runs triggers', async () => {
    await put(
      '001_trigger.sql',
      `CREATE TABLE a (x); CREATE TABLE b (x);
       CREATE TRIGGER copy AFTER INSERT ON a BEGIN
         INSERT INTO b VALUES (new.x); -- once;
         INSERT INTO b VALUES (CASE WHEN new.x > 1 THEN 'big;' ELSE 'small' END);
       END;
       INSERT INTO a VALUES (5);`
    )
    const { rows, run } = open()
    assert.equal((await run()).applied[0]?.statements, 4)
    assert.deepEqual(rows('SELECT x FROM b'), [{ x: 5 }, { x: 'big;' }])
  })

  it('only looks on a dry run', async () => {
    await put('001_a.sql', 'CREATE TABLE a (x)')
    const { tables, run } = open()
    assert.deepEqual(await run(true), { applied: [], pending: ['001_a.sql'], warnings: [] })
    assert.deepEqual(tables(), [])
    await run()
    await put('002_b.sql', 'CREATE TABLE b (x)')
    assert.deepEqual((await run(true)).pending, ['002_b.sql'])
  })

  it('refuses numbers used twice, naming all files, before it changes anything', async () => {
    for (const name of ['001_a.sql', '1_b.sql', '2_c.sql', '002_d.sql']) await put(name, 'SELECT 1')
    const { tables, run } = open()
    await assert.rejects(run(), (error: MigrationError) => {
      assert.equal(error.code, 'MIGRATION_DUPLICATE')
      for (const name of ['001_a.sql', '1_b.sql', '2_c.sql', '002_d.sql']) assert.ok(error.message.includes(name))
      return true
    })
    assert.deepEqual(tables(), [])
  })

  it('refuses a missing folder and a number that is no number', async () => {
    const { run } = open()
    await put(`${'9'.repeat(30)}_a.sql`, 'SELECT 1')
    await assert.rejects(run(), failsWith('MIGRATION_FOLDER'))
    await rm(folder, { recursive: true })
    await assert.rejects(run(), failsWith('MIGRATION_FOLDER'))
  })

  it('warns of changed, late and unknown migrations and goes on', async () => {
    await put('001_a.sql', 'CREATE TABLE a (x)\n')
    await put('003_c.sql', 'CREATE TABLE c (x)')
    const { connection, run } = open()
    await run()
    await put('001_a.sql', 'CREATE TABLE a (x)\r\n')
    assert.deepEqual((await run()).warnings, [])
    await put('001_a.sql', 'CREATE TABLE a (x, y)')
    await put('002_b.sql', 'CREATE TABLE b (x)')
    await rm(join(folder, '003_c.sql'))
    const logged: string[] = []
    const log = { info: () => undefined, warn: (_: object, message: string) => logged.push(message) }
    const { warnings, applied } = await migrate(databaseOf(connection), { folder, log })
    assert.deepEqual(warnings, logged)
    for (const [index, name] of ['001_a.sql', '002_b.sql', '003_c.sql'].entries())
      assert.ok(warnings[index]?.includes(name))
    assert.deepEqual(
      applied.map(done => done.name),
      ['002_b.sql']
    )
  })

  it('takes over the two-column table of the first gateways', async () => {
    await put('001_a.sql', 'CREATE TABLE a (x)')
    await put('002_b.sql', 'CREATE TABLE b (x)')
    const { connection, rows, tables, run } = open()
    connection.exec(
      "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, applied_at TEXT DEFAULT ''); INSERT INTO schema_migrations (version) VALUES (1)"
    )
    assert.deepEqual((await run(true)).pending, ['002_b.sql'])
    await run()
    assert.deepEqual(tables(), ['b', 'schema_migrations'])
    assert.deepEqual(rows('SELECT version, name FROM schema_migrations'), [
      { version: 1, name: null },
      { version: 2, name: '002_b.sql' }
    ])
  })

  it('knows a migration by its name', () => {
    assert.deepEqual(['001.sql', '10foobar.SQL', 'abc.sql', '001_a.txt', '1a.sql.bak', '-1_a.sql'].map(versionOf), [
      1,
      10,
      null,
      null,
      null,
      null
    ])
  })
})

describe('migrate through each driver', () => {
  const check = async (connection: SyncConnection | CallbackConnection) => {
    await put('001_a.sql', 'CREATE TABLE a (x); INSERT INTO a VALUES (1)')
    await put('002_b.sql', 'CREATE TABLE b (x); INSERT INTO nowhere VALUES (1)')
    const database = databaseOf(connection)
    await assert.rejects(migrate(database, { folder }), failsWith('MIGRATION_FAILED'))
    assert.deepEqual(
      (await database.all("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")).map(row => row.name),
      ['a', 'schema_migrations']
    )
    assert.equal((await database.all('SELECT x FROM a WHERE x = ?', [1])).length, 1)
  }

  it('node:sqlite', () => check(new DatabaseSync(':memory:')))

  for (const client of ['better-sqlite3', 'sqlite3']) {
    it(`${client}, by a connection of knex`, async function () {
      try {
        createRequire(import.meta.url)(client)
      } catch {
        this.skip()
      }
      const store = knex({ client, connection: { filename: join(folder, 'test.sqlite') }, useNullAsDefault: true })
      try {
        const connection = await store.client.acquireConnection()
        await check(connection)
        await store.client.releaseConnection(connection)
      } finally {
        await store.destroy()
      }
    })
  }
})

describe('several processes that migrate one file', () => {
  const program = `
    import Sqlite from 'better-sqlite3'
    import { databaseOf, migrate } from ${JSON.stringify(new URL('index.ts', import.meta.url).href)}
    const [file, folder] = process.argv.slice(1)
    const connection = new Sqlite(file)
    process.stdout.write('open\\n')
    await new Promise(resolve => process.stdin.once('data', resolve))
    const report = await migrate(databaseOf(connection), { folder })
    process.stdout.write(JSON.stringify(report.applied.map(done => done.version)))
    process.exit(0)`

  it('run each migration exactly once', async () => {
    const last = 20
    await put('001_log.sql', 'CREATE TABLE log (x)')
    for (let version = 2; version <= last; version++)
      await put(`${version}_x.sql`, `INSERT INTO log VALUES (${version})`)
    const file = join(folder, 'test.sqlite')
    new Sqlite(file).pragma('journal_mode = WAL')
    const args = ['--input-type=module', '--eval', program, '--', file, folder]
    const children: ChildProcess[] = []
    try {
      for (let i = 0; i < 3; i++) {
        const cwd = new URL('.', import.meta.url)
        children.push(spawn(process.execPath, args, { cwd, stdio: ['pipe', 'pipe', 'inherit'] }))
      }
      for (const child of children) await once(child.stdout as NodeJS.ReadableStream, 'data')
      const outputs = children.map(child => text(child.stdout as NodeJS.ReadableStream))
      for (const child of children) child.stdin?.write('go\n')
      const versions = (await Promise.all(outputs)).flatMap(output => JSON.parse(output) as number[])
      assert.deepEqual(
        versions.sort((a, b) => a - b),
        Array.from({ length: last }, (_, i) => i + 1)
      )
    } finally {
      for (const child of children) child.kill('SIGKILL')
    }
    const rows = new Sqlite(file).prepare('SELECT x FROM log ORDER BY x').all()
    assert.equal(rows.length, last - 1)
  })
})
