import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { eventually } from '../testing/fixtures.ts'
import { sqlFileName } from './embedded.ts'
import { codeOf, lives, RUNAWAY, startEngine, type TestEngine } from './testing.ts'

const ALICE = 'ns::alice::'
const BOB = 'ns::bob::'
const COUNT = 'SELECT count(*) FROM t'

describe('a namespace’s SQL', function () {
  this.timeout(60_000)
  let sql: TestEngine

  before(async () => {
    sql = await startEngine()
    await sql.run(ALICE, 'CREATE TABLE t (a INTEGER PRIMARY KEY, b)')
  })
  after(() => sql[Symbol.asyncDispose]())
  afterEach(() => sql.run(ALICE, 'DELETE FROM t'))

  it('binds and answers every type as it is', async () => {
    const args = [null, true, 7, 1.5, 'x', { int64: '9223372036854775807' }, { blob: 'AAH/' }, 9007199254740991]
    const types = args.map(() => 'typeof(?)').join(', ')
    const { rows } = await sql.run(ALICE, `SELECT ${types}`, args)
    assert.deepEqual(rows, [['null', 'integer', 'integer', 'real', 'text', 'integer', 'blob', 'integer']])
    const back = await sql.run(ALICE, `SELECT ${args.map(() => '?').join(', ')}`, args)
    assert.deepEqual(back.rows, [[null, 1, 7, 1.5, 'x', '9223372036854775807', 'AAH/', 9007199254740991]])
    const edges = await sql.run(
      ALICE,
      'SELECT 9007199254740992, -9223372036854775808, 9e999, -9e999, 1e308, zeroblob(0)'
    )
    assert.deepEqual(edges.rows, [['9007199254740992', '-9223372036854775808', 'Infinity', '-Infinity', 1e308, '']])
  })

  it('binds by place and by name, and says which name there is not, or that there are too many values', async () => {
    const named = await sql.run(ALICE, 'SELECT :a, $b, @c', { ':a': 1, b: 2, '@c': 3 })
    assert.deepEqual(named.rows, [[1, 2, 3]])
    assert.equal(await sql.codeOf(ALICE, 'SELECT :a', { z: 1 }), 'SQL_ARGUMENTS_INVALID')
    assert.equal(await sql.codeOf(ALICE, 'SELECT ?', [1, 2]), 'SQL_ARGUMENTS_INVALID')
  })

  it('never makes a value a part of the text', async () => {
    const hostile = "'); DROP TABLE t; --"
    await sql.run(ALICE, 'INSERT INTO t (b) VALUES (?)', [hostile])
    assert.deepEqual((await sql.run(ALICE, 'SELECT b FROM t')).rows, [[hostile]])
  })

  it('counts what was written, and knows a result by the statement, not by its first word', async () => {
    const written = await sql.run(ALICE, 'INSERT INTO t (b) VALUES (1), (2), (3)')
    assert.deepEqual([written.columns, written.affected], [[], 3])
    const returned = await sql.run(
      ALICE,
      'WITH n(x) AS (VALUES (8), (9)) INSERT INTO t (b) SELECT x FROM n RETURNING b'
    )
    assert.deepEqual([returned.columns, returned.rows, returned.affected], [['b'], [[8], [9]], 2])
    assert.deepEqual((await sql.run(ALICE, 'SELECT max(a) FROM t')).rows, [[returned.lastInsertId]])
    assert.equal((await sql.run(ALICE, 'CREATE INDEX i ON t (b)')).affected, 0)
    assert.equal((await sql.run(ALICE, 'DROP INDEX i')).affected, 0)
    assert.equal((await sql.run(ALICE, 'UPDATE t SET b = 0 WHERE b > 2')).affected, 3)
    assert.deepEqual((await sql.run(ALICE, 'SELECT 1 AS x, 2 AS x')).columns, ['x', 'x'])
  })

  it('does a transaction whole, with each statement’s result', async () => {
    const results = await sql.engine.transaction(ALICE, [
      { sql: 'INSERT INTO t (a, b) VALUES (?, ?)', args: [1, 'x'] },
      { sql: 'INSERT INTO t (a, b) VALUES (?, ?)', args: [2, 'y'] },
      { sql: 'SELECT b FROM t ORDER BY a' }
    ])
    assert.deepEqual(
      results.map(({ affected }) => affected),
      [1, 1, 0]
    )
    assert.deepEqual(results[2]?.rows, [['x'], ['y']])
  })

  it('does nothing of a transaction in which a statement fails, whatever it fails by', async () => {
    for (const [bad, code] of [
      ['INSERT INTO t (a) VALUES (1)', 'SQL_CONSTRAINT'],
      ['INSERT INTO nowhere VALUES (1)', 'SQL_ERROR'],
      ['SELEC 1', 'SQL_ERROR'],
      ['COMMIT', 'SQL_TRANSACTION_CONTROL'],
      ['ROLLBACK', 'SQL_TRANSACTION_CONTROL'],
      ['SAVEPOINT s', 'SQL_TRANSACTION_CONTROL'],
      ["ATTACH 'x' AS y", 'SQL_REFUSED'],
      ['SELECT 1; SELECT 2', 'SQL_SECOND_STATEMENT'],
      ['SELECT zeroblob(2000000)', 'SQL_TOO_BIG']
    ] as const) {
      const statements = ['INSERT INTO t (a) VALUES (1)', 'CREATE TABLE half (x)', bad, 'INSERT INTO t (a) VALUES (3)']
      const work = sql.engine.transaction(
        ALICE,
        statements.map(text => ({ sql: text }))
      )
      await assert.rejects(work, { code, message: /^statement 3: / }, bad)
      assert.deepEqual((await sql.run(ALICE, COUNT)).rows, [[0]], bad)
      assert.equal(await sql.codeOf(ALICE, 'SELECT * FROM half'), 'SQL_ERROR', bad)
    }
  })

  it('checks foreign keys, deferred ones at the commit', async () => {
    await sql.run(ALICE, 'CREATE TABLE child (t REFERENCES t (a) DEFERRABLE INITIALLY DEFERRED)')
    assert.equal(await sql.codeOf(ALICE, 'INSERT INTO child VALUES (77)'), 'SQL_CONSTRAINT')
    assert.deepEqual((await sql.run(ALICE, 'SELECT count(*) FROM child')).rows, [[0]])
    await sql.engine.transaction(ALICE, [
      { sql: 'INSERT INTO child VALUES (77)' },
      { sql: 'INSERT INTO t (a) VALUES (77)' }
    ])
    await sql.run(ALICE, 'DROP TABLE child')
  })

  it('changes schemas: add, rename and drop columns, views, triggers, indexes on expressions', async () => {
    for (const text of [
      'CREATE TABLE s (a, b AS (a + 1) STORED, CHECK (a > 0))',
      'ALTER TABLE s ADD COLUMN c DEFAULT 5',
      'ALTER TABLE s RENAME COLUMN c TO d',
      'CREATE INDEX s_i ON s (lower(d))',
      'CREATE VIEW s_v AS SELECT a, d FROM s',
      'CREATE TRIGGER s_t AFTER INSERT ON s BEGIN UPDATE s SET d = 6 WHERE a = NEW.a; END',
      'INSERT INTO s (a) VALUES (1)',
      'ALTER TABLE s RENAME TO s2',
      'ANALYZE',
      'REINDEX'
    ]) {
      assert.equal(await sql.codeOf(ALICE, text), 'OK', text)
    }
    assert.deepEqual((await sql.run(ALICE, 'SELECT a, b, d FROM s2 JOIN s_v USING (a, d)')).rows, [[1, 2, 6]])
    for (const text of ['DROP VIEW s_v', 'DROP INDEX s_i', 'DROP TRIGGER s_t', 'ALTER TABLE s2 DROP COLUMN d']) {
      assert.equal(await sql.codeOf(ALICE, text), 'OK', text)
    }
    assert.deepEqual((await sql.run(ALICE, 'SELECT * FROM s2')).columns, ['a', 'b'])
    await sql.run(ALICE, 'DROP TABLE s2')
  })

  it('bounds a result by rows and by bytes, and undoes what was written with it', async () => {
    const many = 'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT ?) '
    assert.equal((await sql.run(ALICE, `${many} SELECT x FROM c`, [10_000])).rows.length, 10_000)
    await assert.rejects(sql.run(ALICE, `${many} SELECT x FROM c`, [10_001]), {
      code: 'SQL_RESULT_TOO_LARGE',
      status: 413
    })
    assert.equal(await sql.codeOf(ALICE, `${many} SELECT zeroblob(900000) FROM c`, [3]), 'SQL_RESULT_TOO_LARGE')
    const writing = `${many} INSERT INTO t (b) SELECT x FROM c RETURNING b`
    assert.equal(await sql.codeOf(ALICE, writing, [10_001]), 'SQL_RESULT_TOO_LARGE')
    assert.deepEqual((await sql.run(ALICE, COUNT)).rows, [[0]])
  })

  it('takes no text that SQLite would read otherwise than we do', async () => {
    for (const text of ['SELECT 1\0; DROP TABLE t', 'SELECT 1 \ud800']) {
      assert.equal(await sql.codeOf(ALICE, text), 'SQL_SECOND_STATEMENT')
    }
    for (const text of ['-- nothing', '/* nothing', ';;', '\ufeff'])
      assert.equal(await sql.codeOf(ALICE, text), 'SQL_EMPTY')
    for (const text of ['SELECT 1;', ' ;SELECT 1 ; -- x', 'SELECT 1 /* x */ ;;\n--']) {
      assert.equal(await sql.codeOf(ALICE, text), 'OK', text)
    }
    assert.equal(await sql.codeOf(ALICE, 'CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END'), 'OK')
    await sql.run(ALICE, 'DROP TRIGGER g')
  })

  it('is one file a name, private, in its folder, whatever the name', async () => {
    await using other = await startEngine()
    const names = ['ns::a::', '../../a', 'a/b', '..']
    for (const name of names) {
      await other.engine.transaction(name, [
        { sql: 'CREATE TABLE mine (x)' },
        { sql: 'INSERT INTO mine VALUES (?)', args: [name] }
      ])
    }
    for (const name of names) assert.deepEqual((await other.run(name, 'SELECT x FROM mine')).rows, [[name]], name)
    const files = (await readdir(other.folder)).filter(file => file.endsWith('.sqlite'))
    assert.deepEqual(files.sort(), names.map(sqlFileName).sort())
    for (const file of files) assert.equal((await stat(join(other.folder, file))).mode & 0o777, 0o600)
  })

  it('has a file name that only its own name leads to', () => {
    const names = [
      'ns::a::',
      'ns::a::b',
      'ns:::a::',
      '../a',
      'a\\b',
      '.',
      '',
      'A',
      'a',
      'file:a?x',
      '/etc/passwd',
      'a\0b'
    ]
    assert.equal(new Set(names.map(sqlFileName)).size, names.length)
    for (const name of names) assert.match(sqlFileName(name), /^[0-9a-f]{64}\.sqlite$/)
  })
})

describe('the children of SQL', function () {
  this.timeout(60_000)

  it('are killed at the deadline, while another namespace is answered, and start again', async () => {
    await using sql = await startEngine({ limits: { deadlineMs: 1_000 } })
    await sql.run(ALICE, 'CREATE TABLE t (a)')
    await sql.run(BOB, 'CREATE TABLE t (a)')
    const [alice] = sql.engine.pids()
    let over = false
    const runaway = codeOf(
      sql.engine.transaction(ALICE, [{ sql: 'INSERT INTO t VALUES (1)' }, { sql: RUNAWAY }])
    ).finally(() => {
      over = true
    })
    let answered = 0
    while (!over) {
      await sql.run(BOB, 'INSERT INTO t VALUES (1)')
      if (!over) answered += 1
    }
    assert.equal(await runaway, 'SQL_DEADLINE')
    assert.ok(answered > 0)
    assert.deepEqual((await sql.run(ALICE, COUNT)).rows, [[0]])
    assert.ok(!sql.engine.pids().includes(alice as number))
  })

  it('are killed when they take too much memory', async () => {
    await using sql = await startEngine({ limits: { deadlineMs: 60_000 } })
    const hoard =
      'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 2000) SELECT count(*) FROM (SELECT DISTINCT x, randomblob(900000) FROM c)'
    await assert.rejects(sql.run(ALICE, hoard), { code: 'SQL_MEMORY', status: 422 })
    assert.equal(await sql.codeOf(ALICE, 'SELECT 1'), 'OK')
  })

  it('lose nothing acknowledged and leave nothing half done when they are killed in the middle', async () => {
    await using sql = await startEngine()
    await sql.run(ALICE, 'CREATE TABLE t (a INTEGER PRIMARY KEY, half)')
    const acknowledged = new Set<number>()
    const outcomes = new Set<string>()
    for (let kills = 0; kills < 2; kills += 1) {
      const first = acknowledged.size
      const work = (async () => {
        for (let n = kills * 100_000; ; n += 1) {
          const insert = { sql: 'INSERT INTO t (half) VALUES (?)', args: [n] }
          const code = await codeOf(sql.engine.transaction(ALICE, [insert, insert]))
          outcomes.add(code)
          if (code !== 'OK') return
          acknowledged.add(n)
        }
      })()
      await eventually(async () => acknowledged.size > first + 20)
      for (const pid of sql.engine.pids()) process.kill(pid, 'SIGKILL')
      await work
    }
    for (const code of outcomes) assert.match(code, /^(OK|SQL_UNAVAILABLE|SQL_OUTCOME_UNKNOWN)$/)
    const { rows } = await sql.run(ALICE, 'SELECT half, count(*) FROM t GROUP BY half')
    for (const [n, count] of rows) assert.equal(count, 2, `transaction ${n} is half there`)
    const there = new Set(rows.map(([n]) => n))
    for (const n of acknowledged) assert.ok(there.has(n), `transaction ${n} was acknowledged`)
  })

  it('are few: namespaces beyond take turns, the longest idle one goes first', async () => {
    await using sql = await startEngine({ limits: { childrenMax: 2, queueTimeoutMs: 50_000 } })
    await sql.run('one', 'SELECT 1')
    await sql.run('two', 'SELECT 1')
    const [one, two] = sql.engine.pids() as [number, number]
    await sql.run('one', 'SELECT 1')
    await sql.run('three', 'SELECT 1')
    assert.ok(sql.engine.pids().includes(one) && !sql.engine.pids().includes(two))
    const names = ['a', 'b', 'c', 'd', 'e']
    const work = names.flatMap(name => Array.from({ length: 5 }, () => sql.run(name, 'SELECT 1')))
    let most = 0
    const watch = setInterval(() => {
      most = Math.max(most, sql.engine.pids().length)
    }, 1)
    await Promise.all(work).finally(() => clearInterval(watch))
    assert.equal(most, 2)
  })

  it('are found by short statements, however many namespaces run long ones all the time', async () => {
    await using few = await startEngine({ limits: { childrenMax: 2, deadlineMs: 1_500, queueTimeoutMs: 1_200 } })
    const hogs = ['a', 'b', 'c'].map(name => `ns::${name}::`)
    // Each is known for it after its first; those have to wait for each other.
    for (const hog of hogs) assert.equal(await few.codeOf(hog, RUNAWAY), 'SQL_DEADLINE')
    let done = false
    const running = hogs.map(async hog => {
      while (!done) await few.codeOf(hog, RUNAWAY)
    })
    const codes: string[] = []
    for (let count = 0; count < 3; count += 1) {
      codes.push(await few.codeOf('ns::victim::', 'SELECT 1'))
      await few.engine.close('ns::victim::')
    }
    done = true
    assert.deepEqual(codes, ['OK', 'OK', 'OK'])
    await few.engine.stop()
    await Promise.all(running)
  })

  it('leave it to the gateway when to end, though all of a service are signalled', async () => {
    await using sql = await startEngine()
    await sql.run(ALICE, 'SELECT 1')
    const before = sql.engine.pids()
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(before[0] as number, signal)
    assert.equal(await sql.codeOf(ALICE, 'SELECT 1'), 'OK')
    assert.deepEqual(sql.engine.pids(), before)
  })

  it('end when they are idle', async () => {
    await using sql = await startEngine({ limits: { idleMs: 50 } })
    await sql.run(ALICE, 'SELECT 1')
    const [pid] = sql.engine.pids() as [number]
    await eventually(async () => sql.engine.pids().length === 0 && !(await lives(pid)))
    assert.equal(await sql.codeOf(ALICE, 'SELECT 1'), 'OK')
  })

  it('take a bounded number of requests, each for a bounded time', async () => {
    await using sql = await startEngine({ limits: { queueMax: 2, queueTimeoutMs: 200, deadlineMs: 1_500 } })
    await sql.run(ALICE, 'SELECT 1')
    const running = sql.codeOf(ALICE, RUNAWAY)
    const waiting = [sql.codeOf(ALICE, 'SELECT 1'), sql.codeOf(ALICE, 'SELECT 1')]
    const tooMany = { code: 'SQL_QUEUE_FULL', status: 429, message: /2 requests of this namespace wait already/ }
    await assert.rejects(sql.run(ALICE, 'SELECT 1'), tooMany)
    assert.deepEqual(await Promise.all(waiting), ['SQL_QUEUE_FULL', 'SQL_QUEUE_FULL'])
    assert.equal(await running, 'SQL_DEADLINE')
  })

  it('do not begin what its caller no longer waits for', async () => {
    await using sql = await startEngine({ limits: { deadlineMs: 1_000 } })
    await sql.run(ALICE, 'CREATE TABLE t (a)')
    const running = sql.codeOf(ALICE, RUNAWAY)
    const caller = new AbortController()
    const given = sql.engine.query(ALICE, { sql: 'INSERT INTO t VALUES (1)' }, { signal: caller.signal })
    caller.abort(new Error('gone'))
    await assert.rejects(given, /gone/)
    await running
    assert.deepEqual((await sql.run(ALICE, COUNT)).rows, [[0]])
  })

  it('stop at the quota with 507 and go on', async () => {
    await using sql = await startEngine({ maxMb: 1 })
    await sql.run(ALICE, 'CREATE TABLE t (a)')
    const fill =
      'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 2000) INSERT INTO t SELECT randomblob(1000) FROM c'
    await assert.rejects(sql.run(ALICE, fill), { code: 'STORAGE_FULL', status: 507 })
    assert.deepEqual((await sql.run(ALICE, COUNT)).rows, [[0]])
    assert.equal(await sql.codeOf(ALICE, 'INSERT INTO t VALUES (1)'), 'OK')
  })

  it('of two gateways share a file: each reads the other’s writes, and none is lost', async () => {
    await using one = await startEngine()
    await using two = await startEngine({ folder: one.folder })
    await Promise.all([one, two].map(sql => sql.run(ALICE, 'CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY)')))
    await Promise.all(
      [one, two].map(async (sql, who) => {
        for (let n = 0; n < 25; n += 1) {
          const a = n * 2 + who
          await sql.engine.transaction(ALICE, [{ sql: 'INSERT INTO t VALUES (?)', args: [a] }, { sql: COUNT }])
          const other = who === 0 ? two : one
          assert.deepEqual((await other.run(ALICE, 'SELECT a FROM t WHERE a = ?', [a])).rows, [[a]])
        }
      })
    )
    assert.deepEqual((await one.run(ALICE, COUNT)).rows, [[50]])
    await two.run(ALICE, 'ALTER TABLE t ADD COLUMN b DEFAULT 4')
    assert.deepEqual((await one.run(ALICE, 'SELECT * FROM t LIMIT 1')).columns, ['a', 'b'])
  })

  it('leave no process behind: not when the engine stops, not when the gateway is killed in a runaway', async () => {
    const sql = await startEngine()
    await sql.run(ALICE, 'SELECT 1')
    const [stopped] = sql.engine.pids() as [number]
    await sql[Symbol.asyncDispose]()
    assert.equal(await lives(stopped), false)
    assert.equal(await sql.codeOf(ALICE, 'SELECT 1'), 'SQL_UNAVAILABLE')

    const folder = await mkdtemp(join(tmpdir(), 'warren-sql-'))
    const holder = spawn(process.execPath, [fileURLToPath(new URL('./testing-holder.ts', import.meta.url)), folder], {
      stdio: ['ignore', 'pipe', 'inherit']
    })
    let pid = 0
    try {
      const [line] = (await once(createInterface(holder.stdout), 'line')) as [string]
      pid = Number(line)
      assert.equal(await lives(pid), true)
      holder.kill('SIGKILL')
      await eventually(async () => !(await lives(pid)))
    } finally {
      holder.kill('SIGKILL')
      if (pid > 0 && (await lives(pid))) process.kill(pid, 'SIGKILL')
      await rm(folder, { recursive: true, force: true })
    }
  })
})
