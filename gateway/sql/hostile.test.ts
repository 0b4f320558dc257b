import assert from 'node:assert/strict'
import { access, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { ALICE, BOB, type RunningGateway, startGateway } from '../testing/fixtures.ts'
import { openDatabase, problemOf } from './database.ts'
import { sqlFileName } from './embedded.ts'
import { errorOf } from './errors.ts'
import { type Hostile, hostileStatements, SPELLINGS } from './hostile.ts'
import { RUNAWAY } from './testing.ts'

const MARKS = { [ALICE]: 'mark-of-alice-7d1f', [BOB]: 'mark-of-bob-91c2' } as const
type Key = keyof typeof MARKS
const KEYS = [ALICE, BOB] as const

const PRAGMAS = [
  'application_id auto_vacuum busy_timeout cache_size cache_spill cell_size_check defer_foreign_keys encoding foreign_keys',
  'ignore_check_constraints journal_mode journal_size_limit legacy_alter_table locking_mode max_page_count mmap_size page_size',
  'query_only read_uncommitted recursive_triggers secure_delete soft_heap_limit hard_heap_limit synchronous temp_store threads',
  'trusted_schema user_version wal_autocheckpoint writable_schema analysis_limit automatic_index'
].flatMap(line => line.split(' '))

describe('hostile SQL, two tenants over HTTP', function () {
  this.timeout(60_000)
  let running: RunningGateway
  let files: Record<Key, string>
  let beside: string

  async function ask(key: Key, sql: string, of = running): Promise<{ status: number; text: string; code: string }> {
    const answer = await of.ask('/v1/db/query', {
      method: 'POST',
      body: JSON.stringify({ sql }),
      headers: { 'X-API-Key': key }
    })
    const text = await answer.text()
    return { status: answer.status, text, code: answer.status === 200 ? 'OK' : JSON.parse(text).code }
  }

  before(async () => {
    running = await startGateway({ sqlLimits: { deadlineMs: 4_000 } })
    const folder = join(running.config.dataDir, 'sql')
    files = { [ALICE]: join(folder, sqlFileName('ns::alice::')), [BOB]: join(folder, sqlFileName('ns::bob::')) }
    beside = join(folder, 'never')
    for (const key of KEYS) {
      await ask(key, 'CREATE TABLE notes (body)')
      await ask(key, `INSERT INTO notes VALUES ('${MARKS[key]}')`)
    }
  })
  after(() => running[Symbol.asyncDispose]())

  const other = (key: Key): Key => (key === ALICE ? BOB : ALICE)

  for (const [spelling, spell] of Object.entries(SPELLINGS)) {
    it(`gets nobody anything ${spelling}`, async () => {
      let count = 0
      for (const key of KEYS) {
        for (const { sql, code } of hostileStatements(files[other(key)], beside)) {
          const answer = await ask(key, spell(sql))
          assert.equal(answer.code, code, `${sql.slice(0, 120)}: ${answer.text.slice(0, 200)}`)
          assert.ok(!answer.text.includes(MARKS[other(key)]), sql)
          assert.ok(!answer.text.includes(running.config.dataDir), sql)
          count += 1
        }
        assert.deepEqual(JSON.parse((await ask(key, 'SELECT * FROM notes')).text).rows, [[MARKS[key]]])
        const objects = 'SELECT (SELECT count(*) FROM sqlite_schema), (SELECT count(*) FROM sqlite_temp_schema)'
        assert.deepEqual(JSON.parse((await ask(key, objects)).text).rows, [[1, 0]])
      }
      assert.ok(count >= 240)
      await assert.rejects(access(beside))
    })
  }

  it('gets nothing by being explained', async () => {
    for (const key of KEYS) {
      for (const { sql } of hostileStatements(files[other(key)], beside)) {
        for (const how of ['EXPLAIN', 'EXPLAIN QUERY PLAN']) {
          const { text, status } = await ask(key, `${how} ${sql}`)
          assert.ok(status < 500 && !text.includes(MARKS[other(key)]), sql)
        }
      }
      assert.deepEqual(JSON.parse((await ask(key, 'SELECT * FROM notes')).text).rows, [[MARKS[key]]])
    }
    await assert.rejects(access(beside))
  })

  it('gets nothing from a view, a trigger, a check, a default or a generated column', async () => {
    for (const [prepare, use] of [
      ['CREATE VIEW h AS SELECT file FROM pragma_database_list', 'SELECT * FROM h'],
      ["CREATE VIEW h AS SELECT load_extension('x')", 'SELECT * FROM h'],
      [
        "CREATE TRIGGER h AFTER INSERT ON notes BEGIN SELECT load_extension('x'); END",
        "INSERT INTO notes VALUES ('h')"
      ],
      ['CREATE TRIGGER h AFTER INSERT ON notes BEGIN SELECT * FROM dbstat; END', "INSERT INTO notes VALUES ('h')"],
      ['CREATE TABLE h (a, CHECK (load_extension(a)))', "INSERT INTO h VALUES ('x')"],
      ['CREATE TABLE h (a, b AS (load_extension(a)))', "INSERT INTO h (a) VALUES ('x')"],
      ["CREATE TABLE h (a, b DEFAULT (load_extension('x')))", "INSERT INTO h (a) VALUES ('x')"]
    ] as const) {
      const made = await ask(ALICE, prepare)
      const used = await ask(ALICE, use)
      assert.match(used.code, /^SQL_(REFUSED|ERROR)$/, `${prepare}: ${made.text} ${used.text}`)
      assert.ok(!used.text.includes(running.config.dataDir), use)
      for (const kind of ['VIEW', 'TRIGGER', 'TABLE']) await ask(ALICE, `DROP ${kind} IF EXISTS h`)
      assert.deepEqual(JSON.parse((await ask(ALICE, 'SELECT * FROM notes')).text).rows, [[MARKS[ALICE]]])
    }
  })

  it('runs away and is killed, while the other tenant is answered', async () => {
    await using short = await startGateway({ sqlLimits: { deadlineMs: 600 } })
    for (const key of KEYS) {
      await ask(key, 'CREATE TABLE notes (body)', short)
      await ask(key, `INSERT INTO notes VALUES ('${MARKS[key]}')`, short)
    }
    const runaways = [
      RUNAWAY,
      'WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x FROM c) INSERT INTO notes SELECT x FROM c WHERE x = 2',
      `WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c LIMIT 100000) SELECT count(*) FROM c AS a, c AS b, c AS d`,
      `SELECT instr(printf('%.900000c', 'a'), printf('%.450000c', 'a') || 'b')`
    ]
    for (const [at, sql] of runaways.entries()) {
      const bad = at % 2 === 0 ? ALICE : BOB
      const good = other(bad)
      let over = false
      const runaway = ask(bad, sql, short).finally(() => {
        over = true
      })
      let answered = 0
      while (!over) {
        assert.equal((await ask(good, 'SELECT body FROM notes', short)).code, 'OK')
        if (!over) answered += 1
      }
      assert.equal((await runaway).code, 'SQL_DEADLINE', sql)
      assert.ok(answered > 0)
      assert.deepEqual(JSON.parse((await ask(bad, 'SELECT * FROM notes', short)).text).rows, [[MARKS[bad]]])
    }
  })
})

/** Pieces that make sense beside each other often enough; none that runs for ever. */
const PIECES =
  `SELECT INSERT INTO UPDATE DELETE FROM WHERE VALUES SET CREATE TABLE VIEW TRIGGER INDEX TEMP DROP ATTACH DETACH AS
  VACUUM PRAGMA BEGIN COMMIT END SAVEPOINT ROLLBACK RELEASE EXPLAIN WITH UNION ALL ON AFTER notes h main temp sqlite_master dbstat
  journal_mode writable_schema database_list pragma_database_list load_extension('x') abs(1) * ( ) , ; = . 1 'x' "x" ? -- /* */
  RETURNING body USING fts5(x) EXISTS IF NOT NULL x'00' RENAME TO ALTER ADD COLUMN`.split(/\s+/)

describe('hostile SQL inside a child', () => {
  it('changes no setting of the connection, whatever it answers', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'warren-sql-'))
    try {
      const init = { path: join(folder, 'own.sqlite'), maxPages: 1_000, busyTimeoutMs: 100 }
      const database = openDatabase(init, () => {})
      const limits = { maxRows: 100, maxBytes: 100_000 }
      const run = (sql: string) => {
        try {
          database.query({ sql }, limits)
        } catch (error) {
          problemOf(error)
        }
      }
      const settings = () =>
        PRAGMAS.map(
          name => `${name} ${String(database.rules.ours(() => database.raw.prepare(`PRAGMA ${name}`).get()))}`
        )
      run('CREATE TABLE notes (body)')
      const before = { settings: settings(), limits: { ...database.raw.limits } }
      const hostile = hostileStatements(join(folder, 'other.sqlite'), join(folder, 'never'))
      for (const { sql } of hostile) for (const spell of Object.values(SPELLINGS)) run(spell(sql))
      assert.deepEqual({ settings: settings(), limits: { ...database.raw.limits } }, before)
      assert.equal(database.raw.isTransaction, false)
      assert.deepEqual(
        (await readdir(folder)).filter(name => !name.startsWith('own.sqlite')),
        []
      )
      database.close()
      const distinct = new Set(hostile.flatMap(({ sql }: Hostile) => Object.values(SPELLINGS).map(spell => spell(sql))))
      assert.ok(distinct.size >= 500)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  it('has an answer of ours for any jumble, and is ready for the next', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'warren-sql-'))
    try {
      const init = { path: join(folder, 'own.sqlite'), maxPages: 1_000, busyTimeoutMs: 100 }
      const database = openDatabase(init, () => {})
      const limits = { maxRows: 100, maxBytes: 100_000 }
      database.query({ sql: 'CREATE TABLE notes (body)' }, limits)
      const jumble = fc.array(fc.oneof(fc.constantFrom(...PIECES), fc.string()), { maxLength: 12 })
      fc.assert(
        fc.property(jumble, fc.boolean(), (pieces, isTransaction) => {
          const sql = pieces.join(' ')
          try {
            if (isTransaction) database.transaction([{ sql: 'SELECT 1' }, { sql }], limits)
            else database.query({ sql }, limits)
          } catch (error) {
            assert.ok(errorOf(problemOf(error)).status < 500)
          }
          assert.equal(database.raw.isTransaction, false)
          assert.equal(
            database.query({ sql: 'SELECT 7' }, limits),
            '{"columns":["7"],"rows":[[7]],"affected":0,"lastInsertId":0}'
          )
        }),
        { numRuns: 2_000 }
      )
      assert.deepEqual(
        (await readdir(folder)).filter(name => !name.startsWith('own.sqlite')),
        []
      )
      database.close()
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})
