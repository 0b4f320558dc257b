import assert from 'node:assert/strict'
import { BOB, type RunningGateway, startGateway } from './testing/fixtures.ts'

const KIB = 1024
const JSON_TYPE = 'application/json; charset=utf-8'

describe('SQL over HTTP', function () {
  this.timeout(60_000)
  let running: RunningGateway

  before(async () => {
    running = await startGateway({ environment: { GATEWAY_SQL_MAX_MB: '1', GATEWAY_REQUIRE_AUTH: 'false' } })
    await post('/v1/db/create-table', {
      schema: 'CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age)'
    })
    await post('/v1/db/transaction', {
      statements: [
        "INSERT INTO users VALUES (1, 'ann', 30)",
        { sql: 'INSERT INTO users VALUES (?, ?, ?)', args: [2, 'bo', 40] }
      ]
    })
  })
  after(() => running[Symbol.asyncDispose]())

  async function post(path: string, body: unknown, key?: string): Promise<[number, unknown]> {
    const answer = await running.ask(path, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
      headers: key === undefined ? {} : { 'X-API-Key': key }
    })
    assert.equal(answer.headers.get('content-type'), JSON_TYPE)
    return [answer.status, await answer.json()]
  }
  const codeOf = ([status, body]: [number, unknown]) => [status, (body as { code?: string }).code]

  for (const base of ['/v1/db', '/v1/rqlite']) {
    it(`creates a table with 201 and drops it, under ${base}`, async () => {
      const schema = '-- mine\nCREATE TABLE IF NOT EXISTS made (x)'
      assert.deepEqual(await post(`${base}/create-table`, { schema }), [201, { status: 'ok' }])
      assert.deepEqual(await post(`${base}/drop-table`, { table: 'made' }), [200, { status: 'ok' }])
      assert.deepEqual(await post(`${base}/drop-table`, { table: 'made' }), [
        404,
        { error: 'no such table: made', code: 'SQL_TABLE_NOT_FOUND' }
      ])
    })

    it(`answers a query with columns, rows and their count, under ${base}`, async () => {
      const [status, body] = await post(`${base}/query`, { sql: 'SELECT id, name FROM users WHERE id > ?', args: [1] })
      const items = base === '/v1/rqlite' ? { items: [{ id: 2, name: 'bo' }] } : {}
      assert.deepEqual([status, body], [200, { columns: ['id', 'name'], rows: [[2, 'bo']], count: 1, ...items }])
    })

    it(`K3: does all of a transaction or nothing, under ${base}`, async () => {
      const statements = ['UPDATE users SET age = 0 WHERE id = 1', "INSERT INTO users VALUES (1, 'again', 1)"]
      const [status, body] = await post(`${base}/transaction`, { statements })
      assert.deepEqual(
        [status, body],
        [400, { error: 'statement 2: UNIQUE constraint failed: users.id', code: 'SQL_CONSTRAINT' }]
      )
      const [, found] = await post(`${base}/find-one`, { table: 'users', criteria: { id: 1 } })
      assert.deepEqual(found, { id: 1, name: 'ann', age: 30 })
    })
  }

  it('K4: tells how many rows a write has changed', async () => {
    assert.deepEqual(await post('/v1/db/query', { sql: 'UPDATE users SET age = age' }), [
      200,
      { columns: ['affected'], rows: [[2]], count: 1 }
    ])
    assert.deepEqual(await post('/v1/db/exec', { sql: "INSERT INTO users VALUES (3, 'cy', NULL)" }), [
      200,
      { rows_affected: 1, last_insert_id: 3, execution_state: 'ok' }
    ])
    assert.deepEqual(await post('/v1/db/exec', { sql: 'DELETE FROM users WHERE id = ?', args: [3] }), [
      200,
      { rows_affected: 1, last_insert_id: 3, execution_state: 'ok' }
    ])
  })

  it('answers each operation of a transaction when asked to', async () => {
    const ops = [
      { kind: 'exec', sql: 'INSERT INTO users VALUES (9, ?, 1)', args: ['zed'] },
      { kind: 'query', sql: 'SELECT name FROM users WHERE id = 9' },
      { kind: 'exec', sql: 'DELETE FROM users WHERE id = 9' }
    ]
    assert.deepEqual(await post('/v1/db/transaction', { ops, return_results: true }), [
      200,
      {
        status: 'ok',
        results: [{ rows_affected: 1, last_insert_id: 9 }, [{ name: 'zed' }], { rows_affected: 1, last_insert_id: 9 }]
      }
    ])
    assert.deepEqual(await post('/v1/db/transaction', { ops }), [200, { status: 'ok' }])
  })

  it('finds and selects rows as objects', async () => {
    const users = [
      { id: 1, name: 'ann', age: 30 },
      { id: 2, name: 'bo', age: 40 }
    ]
    for (const [path, body, expected] of [
      ['find', { table: 'users', order_by: ['id'] }, { items: users, count: 2 }],
      ['find', { table: 'users', criteria: { name: 'bo' } }, { items: users.slice(1), count: 1 }],
      ['find', { table: 'users', criteria: { age: null } }, { items: [], count: 0 }],
      [
        'find',
        { table: 'users', options: { select: ['count(*) AS n'], group_by: ['age'], limit: 1, offset: 1 } },
        { items: [{ n: 1 }], count: 1 }
      ],
      ['find-one', { table: 'users', options: { order_by: ['id DESC'], select: ['name'] } }, { name: 'bo' }],
      [
        'select',
        {
          table: 'users',
          alias: 'u',
          select: ['u.name'],
          where: [
            { expr: 'u.id = ?', args: [1] },
            { conj: 'or', expr: 'u.age > ?', args: [35] }
          ],
          order_by: ['u.id']
        },
        { items: [{ name: 'ann' }, { name: 'bo' }], count: 2 }
      ],
      [
        'select',
        {
          table: 'users',
          alias: 'u',
          select: ['u.id', 'o.name'],
          joins: [{ kind: 'left', table: 'users', on: 'o.id = u.id + 1' }],
          one: true
        },
        null
      ],
      ['select', { table: 'users', where: [{ expr: 'id = ?', args: [2] }], one: true }, users[1]]
    ] as const) {
      const [status, answer] = await post(`/v1/db/${path}`, body)
      if (expected === null) assert.equal(status, 400, JSON.stringify(answer))
      else assert.deepEqual([status, answer], [200, expected], JSON.stringify(body))
    }
    assert.deepEqual(await post('/v1/db/find-one', { table: 'users', criteria: { id: 99 } }), [
      404,
      { error: 'not found', code: 'SQL_ROW_NOT_FOUND' }
    ])
  })

  it('shows the schema', async () => {
    const answer = await running.ask('/v1/db/schema')
    assert.deepEqual(await answer.json(), {
      tables: [
        {
          name: 'users',
          columns: [
            { name: 'id', type: 'INTEGER', nullable: false, default: null },
            { name: 'name', type: 'TEXT', nullable: false, default: null },
            { name: 'age', type: '', nullable: true, default: null }
          ]
        }
      ]
    })
    const bobs = await running.ask('/v1/db/schema', { headers: { 'X-API-Key': BOB } })
    assert.deepEqual(await bobs.json(), { tables: [] })
  })

  it('K1: keeps namespaces apart by their key, and takes no other', async () => {
    assert.deepEqual(codeOf(await post('/v1/db/query', { sql: 'SELECT * FROM users' }, BOB)), [400, 'SQL_ERROR'])
    for (const name of ['bob', 'bob::', '..%2Fbob', '..', 'alice%2F..%2Fbob', 'alice::x', 'ALICE', '']) {
      const answer = await post(`/v1/db/query?namespace=${name}`, { sql: 'SELECT 1' })
      assert.deepEqual(codeOf(answer), [403, 'NAMESPACE_MISMATCH'], name)
    }
  })

  it('asks for a key where other routes do not', async () => {
    assert.equal((await fetch(`${running.url}/v1/storage/list`)).status, 200)
    for (const { method, path } of running.gateway.routes) {
      if (!/^\/v1\/(db|rqlite)\//.test(path)) continue
      assert.equal((await fetch(running.url + path, { method })).status, 401, path)
    }
  })

  it('K19: drops by name only, whatever the name says', async () => {
    for (const table of [
      'users; DROP TABLE users',
      'users--',
      '"users"',
      'users, users',
      'main.users',
      'users\0',
      ''
    ]) {
      assert.equal((await post('/v1/db/drop-table', { table }))[0], 400, table)
    }
    assert.deepEqual(codeOf(await post('/v1/db/drop-table', { table: 'sqlite_schema' })), [400, 'SQL_ERROR'])
    assert.equal((await post('/v1/db/find', { table: 'users' }))[0], 200)
  })

  it('answers bodies it does not understand with 400 and the shape it expects', async () => {
    for (const [path, body, error] of [
      ['query', '', 'invalid body: expected {sql, args?}'],
      ['query', '[]', 'invalid body: expected {sql, args?}'],
      ['query', { sql: '' }, 'invalid body: {sql, args?}'],
      ['query', { sql: 5 }, 'invalid body: {sql, args?}'],
      ['transaction', {}, /^invalid body: \{statements:/],
      ['transaction', { statements: [] }, /^invalid body/],
      ['transaction', { statements: [7] }, /^invalid body/],
      ['transaction', { ops: [{ kind: 'drop', sql: 'SELECT 1' }] }, /op kind/],
      ['create-table', {}, 'invalid body: {schema}'],
      ['create-table', { schema: 'DROP TABLE users' }, /CREATE TABLE/],
      ['drop-table', {}, 'invalid body: {table}'],
      ['drop-table', { table: 'users; DROP TABLE users' }, /identifier/],
      ['drop-table', { table: '"users"' }, /identifier/],
      ['find', { table: 'users; --' }, /identifier/],
      ['find', { table: 'users', criteria: { '1=1 OR id': 1 } }, /identifier/],
      ['find', { table: 'users', limit: -1 }, /^invalid body/],
      ['find', { table: 'users', criteria: 7 }, /^invalid body/],
      ['select', { table: 'users', where: ['1'] }, /^invalid body/],
      ['select', { table: 'users', joins: [{ kind: 'cross', table: 'users', on: '1' }] }, /^invalid body/]
    ] as const) {
      const [status, answer] = await post(`/v1/db/${path}`, body)
      assert.equal(status, 400, path)
      const told = (answer as { error: string }).error
      if (typeof error === 'string') assert.equal(told, error)
      else assert.match(told, error)
    }
    for (const args of [
      'x',
      7,
      [{}],
      [[1]],
      [{ int64: 'x' }],
      [{ int64: '9223372036854775808' }],
      [{ blob: '?' }],
      ['\ud800']
    ]) {
      assert.deepEqual(codeOf(await post('/v1/db/query', { sql: 'SELECT ?', args })), [400, 'SQL_ARGUMENTS_INVALID'])
    }
  })

  it('lets an expression of a question end nothing but itself', async () => {
    for (const expr of ['1) OR (1', '1; DROP TABLE users', '1 --', '1 /*']) {
      const [status] = await post('/v1/db/select', { table: 'users', where: [{ expr }, { expr: 'id = 1' }] })
      assert.ok(status === 200 || status === 400)
    }
    const [, found] = await post('/v1/db/select', { table: 'users', where: [{ expr: '1 --' }, { expr: 'id = 1' }] })
    assert.equal((found as { count: number }).count, 1)
    assert.deepEqual(codeOf(await post('/v1/db/find', { table: 'users', order_by: ['1; DROP TABLE users'] })), [
      400,
      'SQL_SECOND_STATEMENT'
    ])
  })

  it('bounds statements, bodies and their number with 413', async () => {
    const long = `SELECT '${'x'.repeat(128 * KIB)}'`
    assert.deepEqual(codeOf(await post('/v1/db/query', { sql: long })), [413, 'SQL_STATEMENT_TOO_LARGE'])
    const many = Array.from({ length: 1_001 }, () => 'SELECT 1')
    assert.deepEqual(codeOf(await post('/v1/db/transaction', { statements: many })), [413, 'SQL_STATEMENTS_TOO_MANY'])
    assert.deepEqual(codeOf(await post('/v1/db/query', { sql: `SELECT 1 -- ${'x'.repeat(KIB * KIB)}` })), [
      413,
      'BODY_TOO_LARGE'
    ])
    const file = await running.ask('/v1/db/restore', { method: 'POST', body: Buffer.alloc(KIB * KIB + 1) })
    assert.deepEqual([file.status, ((await file.json()) as { code: string }).code], [413, 'BODY_TOO_LARGE'])
  })

  it('gives the database as a file and takes it back, and exports it as text', async () => {
    const file = await running.ask('/v1/db/backup')
    assert.equal(file.headers.get('content-type'), 'application/vnd.sqlite3')
    assert.equal(file.headers.get('content-disposition'), 'attachment; filename="alice.sqlite"')
    const bytes = await file.arrayBuffer()
    const restored = await running.ask('/v1/rqlite/restore', {
      method: 'POST',
      body: bytes,
      headers: { 'X-API-Key': BOB }
    })
    assert.deepEqual([restored.status, await restored.json()], [200, { status: 'ok' }])
    const [, found] = await post('/v1/db/query', { sql: 'SELECT name FROM users ORDER BY id' }, BOB)
    assert.deepEqual((found as { rows: unknown }).rows, [['ann'], ['bo']])
    const dump = await (await running.ask('/v1/db/export')).text()
    assert.match(dump, /INSERT INTO "users" \("id", "name", "age"\) VALUES \(1, 'ann', 30\);/)
    const lines = await running.ask('/v1/db/export?format=jsonl')
    assert.equal(lines.headers.get('content-type'), 'application/jsonl')
    assert.match(await lines.text(), /^\{"table":"users","sql":"CREATE TABLE users/)
    assert.equal((await running.ask('/v1/db/export?format=csv')).status, 400)
    assert.equal((await running.ask('/v1/db/backup', { method: 'HEAD' })).status, 200)
    const bad = await running.ask('/v1/db/restore', { method: 'POST', body: 'no database' })
    assert.deepEqual([bad.status, ((await bad.json()) as { code: string }).code], [400, 'SQL_RESTORE_INVALID'])
  })

  it('answers another method with 405 and says which', async () => {
    const answer = await running.ask('/v1/db/query')
    assert.deepEqual([answer.status, answer.headers.get('allow')], [405, 'POST, OPTIONS'])
  })
})
