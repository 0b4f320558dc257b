import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, readlink, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { backup } from './copies.ts'
import { openDatabase } from './database.ts'
import { codeOf, startEngine, type TestEngine } from './testing.ts'

const ALICE = 'ns::alice::'
const BOB = 'ns::bob::'

const SCHEMA = [
  'CREATE TABLE parents (id INTEGER PRIMARY KEY AUTOINCREMENT, "odd ""name" TEXT DEFAULT \'it\'\'s\')',
  'CREATE TABLE things (k TEXT PRIMARY KEY, v, parent REFERENCES parents (id), twice AS (v || v)) WITHOUT ROWID',
  'CREATE INDEX things_v ON things (v) WHERE v IS NOT NULL',
  'CREATE VIEW seen AS SELECT k FROM things',
  'CREATE TRIGGER watch AFTER INSERT ON things BEGIN UPDATE parents SET id = id; END'
]

const VALUES = [
  null,
  0.1,
  2,
  -1e300,
  { int64: '-9223372036854775808' },
  "it's; -- 'x'\n",
  { blob: 'AP8=' },
  'a\0b',
  'ünï💧',
  ''
] as const

async function fill(sql: TestEngine, database: string): Promise<void> {
  await sql.engine.transaction(database, [
    ...SCHEMA.map(statement => ({ sql: statement })),
    { sql: "INSERT INTO parents VALUES (41, 'gone'), (7, 'p')" },
    { sql: 'DELETE FROM parents WHERE id = 41' },
    ...VALUES.map((value, at) => ({
      sql: 'INSERT INTO things (k, v, parent) VALUES (?, ?, 7)',
      args: [`k${at}`, value]
    }))
  ])
}

async function contents(sql: TestEngine, database: string): Promise<unknown> {
  const schema = await sql.run(database, "SELECT type, name, sql FROM sqlite_schema WHERE sql <> '' ORDER BY name")
  const rows = await sql.run(database, 'SELECT k, v, typeof(v), twice, parent FROM things ORDER BY k')
  const sequence = await sql.run(database, 'SELECT name, seq FROM sqlite_sequence')
  return [schema.rows, rows.rows, sequence.rows]
}

describe('copies of a namespace’s SQL', function () {
  this.timeout(60_000)
  let sql: TestEngine
  let folder: string

  before(async () => {
    sql = await startEngine({ maxMb: 4 })
    folder = await mkdtemp(join(tmpdir(), 'warren-sql-copies-'))
    await fill(sql, ALICE)
  })
  after(async () => {
    await sql[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  })

  const restoreFile = (database: string, bytes: Uint8Array) => sql.engine.restore(database, Readable.from([bytes]))

  /** A file as somebody else may have made it, with nothing that holds SQLite back. */
  async function fileOf(...statements: string[]): Promise<Buffer> {
    const path = join(folder, 'made.sqlite')
    await rm(path, { force: true })
    const database = new DatabaseSync(path, { defensive: false })
    for (const statement of statements) database.exec(statement)
    database.close()
    return readFile(path)
  }

  it('are SQLite files, whole, and restore in another namespace to the same', async () => {
    const copy = await sql.engine.backup(ALICE)
    const bytes = await buffer(copy.bytes)
    assert.equal(bytes.byteLength, copy.sizeBytes)
    assert.equal(bytes.toString('latin1', 0, 15), 'SQLite format 3')
    await sql.run(BOB, 'CREATE TABLE old (x)')
    await sql.run(BOB, 'CREATE VIEW older AS SELECT x FROM old')
    await restoreFile(BOB, bytes)
    assert.deepEqual(await contents(sql, BOB), await contents(sql, ALICE))
    assert.equal(await sql.codeOf(BOB, 'SELECT * FROM old'), 'SQL_ERROR')
    assert.equal(await sql.codeOf(BOB, "INSERT INTO things (k, parent) VALUES ('x', 1000)"), 'SQL_CONSTRAINT')
  })

  it('are SQL that SQLite reads to the same', async () => {
    const copy = await sql.engine.export(ALICE, 'sql')
    const dump = await text(copy.bytes)
    assert.equal(Buffer.byteLength(dump), copy.sizeBytes)
    const path = join(folder, 'dump.sqlite')
    const database = new DatabaseSync(path)
    database.exec(dump)
    database.close()
    await restoreFile('ns::dumped::', await readFile(path))
    const [schema, rows] = (await contents(sql, 'ns::dumped::')) as [unknown, unknown]
    const [schemaThere, rowsThere] = (await contents(sql, ALICE)) as [unknown, unknown]
    assert.deepEqual([schema, rows], [schemaThere, rowsThere])
  })

  it('are JSON lines whose values can be bound again', async () => {
    const lines = (await text((await sql.engine.export(ALICE, 'jsonl')).bytes)).trimEnd().split('\n')
    const parsed = lines.map(line => JSON.parse(line))
    assert.deepEqual(
      parsed.filter(line => 'sql' in line).map(line => line.sql),
      SCHEMA
    )
    const values = parsed.filter(line => line.row === 'things').map(line => line.values.v)
    assert.deepEqual(values, VALUES)
  })

  it('are one at a time for a namespace, until they are read or given up, and leave no file', async () => {
    const copy = await sql.engine.backup(ALICE)
    await assert.rejects(sql.engine.export(ALICE, 'sql'), { code: 'SQL_QUEUE_FULL', status: 429 })
    await assert.rejects(sql.engine.restore(ALICE, Readable.from([])), { code: 'SQL_QUEUE_FULL' })
    const closed = new Promise(resolve => copy.bytes.once('close', resolve))
    copy.bytes.destroy()
    await closed
    await buffer((await sql.engine.backup(ALICE)).bytes)
    assert.deepEqual(await readdir(join(sql.folder, 'copies')), [])
  })

  it('that are no database, damaged, or against the rules change nothing', async () => {
    const before = await contents(sql, ALICE)
    const good = await fileOf('CREATE TABLE t (a)', 'INSERT INTO t VALUES (1)')
    const cut = good.subarray(0, good.byteLength - 4096)
    const bad: [string, Uint8Array][] = [
      // What curl sends for `@name` where there is no such file; to SQLite it is a database without tables.
      ['nothing', Buffer.alloc(0)],
      ['one byte', Buffer.from('x')],
      ['the first page of one, cut', good.subarray(0, 400)],
      ['text', Buffer.from('no database at all, but long enough to look at '.repeat(20))],
      ['half of one', cut],
      ['a virtual table', await fileOf('CREATE VIRTUAL TABLE v USING fts5(x)')],
      ['a table named as a module', await fileOf('CREATE TABLE dbstat (x)')],
      [
        'a function nobody may call',
        await fileOf(
          'CREATE TABLE t (a)',
          "INSERT INTO t VALUES ('x')",
          'CREATE INDEX i ON t (a)',
          'PRAGMA writable_schema = ON',
          "UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t (sqlite_source_id())' WHERE name = 'i'"
        )
      ],
      [
        'a schema that attaches',
        await fileOf(
          'CREATE TABLE t (a)',
          'PRAGMA writable_schema = ON',
          "UPDATE sqlite_schema SET sql = 'ATTACH ''/etc/passwd'' AS x' WHERE name = 't'"
        )
      ],
      [
        'a broken foreign key',
        await fileOf(
          'PRAGMA foreign_keys = OFF',
          'CREATE TABLE p (id PRIMARY KEY)',
          'CREATE TABLE c (p REFERENCES p (id))',
          'INSERT INTO c VALUES (5)'
        )
      ],
      [
        'more than the quota',
        await fileOf(
          'CREATE TABLE t (a)',
          'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 6000) INSERT INTO t SELECT randomblob(1000) FROM c'
        )
      ]
    ]
    for (const [what, bytes] of bad) {
      const code = await codeOf(restoreFile(ALICE, bytes))
      assert.equal(code, what === 'more than the quota' ? 'STORAGE_FULL' : 'SQL_RESTORE_INVALID', what)
      assert.deepEqual(await contents(sql, ALICE), before, what)
    }
    assert.deepEqual(await readdir(join(sql.folder, 'copies')), [])
  })

  it('have no virtual table at work before it is refused, however it is noted down', async () => {
    for (const sql of [
      'CREATE VIRTUAL TABLE v USING fts5(x)',
      'create/**/virtual\n-- x\ntable v using rtree(a, b, c)'
    ]) {
      const made = await fileOf(
        'CREATE TABLE t (a)',
        sql,
        'PRAGMA writable_schema = ON',
        // SQLite says 0 here, and takes anything.
        `UPDATE sqlite_schema SET rootpage = 2, sql = '${sql}' WHERE name = 'v'`
      )
      await assert.rejects(restoreFile(ALICE, made), {
        code: 'SQL_RESTORE_INVALID',
        message: /it has a virtual table, which is refused/
      })
    }
  })

  it('are let go of when they are refused: an open file takes its place on the disk though it is deleted', async function () {
    if (process.platform !== 'linux') return this.skip()
    const made = await fileOf('CREATE VIRTUAL TABLE v USING fts5(x)')
    for (let round = 0; round < 5; round += 1) {
      await assert.rejects(restoreFile(ALICE, made), { code: 'SQL_RESTORE_INVALID' })
    }
    for (const pid of sql.engine.pids()) {
      const descriptors = await readdir(`/proc/${pid}/fd`)
      const files = await Promise.all(descriptors.map(at => readlink(`/proc/${pid}/fd/${at}`).catch(() => '')))
      assert.deepEqual(
        files.filter(file => file.includes('(deleted)')),
        []
      )
    }
  })

  it('may be empty, in WAL mode, or of another encoding', async () => {
    await restoreFile('ns::empty::', await fileOf('PRAGMA user_version = 0', 'CREATE TABLE x (a)', 'DROP TABLE x'))
    assert.deepEqual((await sql.run('ns::empty::', 'SELECT count(*) FROM sqlite_schema')).rows, [[0]])
    await restoreFile(
      'ns::empty::',
      await fileOf(
        "PRAGMA encoding = 'UTF-16'",
        'PRAGMA journal_mode = WAL',
        'CREATE TABLE x (a)',
        "INSERT INTO x VALUES ('ü')"
      )
    )
    assert.deepEqual((await sql.run('ns::empty::', 'SELECT a FROM x')).rows, [['ü']])
  })

  it('leave no way behind to attach a file', () => {
    const path = join(folder, 'attached.sqlite')
    const database = openDatabase({ path, maxPages: 100, busyTimeoutMs: 1_000 }, () => {})
    try {
      backup(database, join(folder, 'attached.copy'))
      assert.equal(database.raw.limits.attach, 0)
      assert.throws(() => backup(database, join(folder, 'attached.copy')))
      assert.equal(database.raw.limits.attach, 0)
      // Not only by the rules: what is ours cannot either.
      assert.throws(
        () => database.rules.ours(() => database.raw.exec("ATTACH ':memory:' AS more")),
        /too many attached/
      )
    } finally {
      database.close()
    }
  })

  it('left by a gateway that was killed are removed by the next', async () => {
    const path = join(sql.folder, 'copies', 'left')
    await writeFile(path, 'x')
    await utimes(path, new Date(0), new Date(0))
    await using next = await startEngine({ folder: sql.folder })
    assert.ok(next.engine.pids().length === 0)
    assert.deepEqual(await readdir(join(sql.folder, 'copies')), [])
  })
})
