import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import knexFactory, { type Knex } from 'knex'
import { createKnexDriver, createSqliteDriver } from './sqlite.ts'
import { createStatements, type Driver, type Statements } from './statements.ts'

const INSERT = 'INSERT INTO t (k) VALUES (?)'
const COUNT = 'SELECT count(*) AS n FROM t'

interface Opened {
  knex: Knex
  statements: Statements
  /** What the writer ran, in order. */
  ran: string[]
}

const DRIVERS: Record<string, (knex: Knex) => Promise<Driver>> = {
  'prepared statements': knex => createSqliteDriver(knex, 'better-sqlite3', async () => {}),
  knex: async knex => createKnexDriver(knex)
}

for (const [what, createDriver] of Object.entries(DRIVERS)) {
  async function withStatements(work: (opened: Opened) => Promise<void>): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), 'warren-statements-'))
    const knex = knexFactory({
      client: 'better-sqlite3',
      connection: { filename: join(folder, 'a.sqlite') },
      useNullAsDefault: true
    })
    await knex.raw('PRAGMA journal_mode = WAL')
    await knex.raw('CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL) STRICT')
    const driver = await createDriver(knex)
    const ran: string[] = []
    const statements = createStatements({
      ...driver,
      async writer() {
        const writer = await driver.writer()
        return {
          ...writer,
          run: (sql, parameters) => {
            ran.push(sql.split(' ')[0] as string)
            return writer.run(sql, parameters)
          }
        }
      }
    })
    try {
      await work({ knex, statements, ran })
    } finally {
      await statements.close()
      await knex.destroy()
      await rm(folder, { recursive: true, force: true })
    }
  }

  describe(`the group commit, by ${what}`, () => {
    it('makes one transaction of what is written in one turn, and what is read then is there', () =>
      withStatements(async ({ statements, ran }) => {
        const changes = await Promise.all(['a', 'b', 'c'].map(key => statements.run(INSERT, [key])))
        assert.deepEqual(changes, [1, 1, 1])
        assert.deepEqual(ran, ['BEGIN', 'INSERT', 'INSERT', 'INSERT', 'COMMIT'])
        assert.deepEqual(await statements.get(COUNT, []), { n: 3 })
        assert.equal(await statements.get('SELECT k FROM t WHERE k = ?', ['z']), null)
        assert.deepEqual(await statements.all('SELECT k FROM t ORDER BY k', []), [{ k: 'a' }, { k: 'b' }, { k: 'c' }])
      }))

    it('does not let one write that fails take the others with it', () =>
      withStatements(async ({ statements }) => {
        await statements.run(INSERT, ['taken'])
        const outcomes = await Promise.allSettled(['x', 'taken', 'y'].map(key => statements.run(INSERT, [key])))
        assert.deepEqual(
          outcomes.map(({ status }) => status),
          ['fulfilled', 'rejected', 'fulfilled']
        )
        assert.deepEqual(await statements.get(COUNT, []), { n: 3 })
      }))

    it('keeps all of a batch or nothing', () =>
      withStatements(async ({ statements }) => {
        const batch = (...keys: string[]) => statements.batch(keys.map(key => ({ sql: INSERT, parameters: [key] })))
        assert.deepEqual(await batch('a', 'b'), [1, 1])
        const [bad, good] = await Promise.allSettled([batch('c', 'a'), batch('d')])
        assert.deepEqual([bad?.status, good?.status], ['rejected', 'fulfilled'])
        assert.deepEqual(await statements.all('SELECT k FROM t ORDER BY k', []), [{ k: 'a' }, { k: 'b' }, { k: 'd' }])
      }))

    it('takes its turn with a transaction of knex that lasts several turns', () =>
      withStatements(async ({ knex, statements }) => {
        const begun = Promise.withResolvers<void>()
        const slow = knex.transaction(async transaction => {
          await transaction('t').insert({ k: 'slow' })
          begun.resolve()
          for (let turn = 0; turn < 5; turn += 1) await new Promise(resolve => setImmediate(resolve))
          await transaction('t').insert({ k: 'slower' })
        })
        await begun.promise
        assert.equal(await statements.run(INSERT, ['quick']), 1)
        await slow
        assert.deepEqual(await statements.get(COUNT, []), { n: 3 })
      }))

    it('does not wait for the disk with what may be lost, and does again with the next', () =>
      withStatements(async ({ knex, statements }) => {
        await knex.raw('PRAGMA synchronous = FULL')
        const seen: unknown[] = []
        const look = {
          sql: 'INSERT INTO t SELECT synchronous FROM pragma_synchronous WHERE synchronous <> ?',
          parameters: [9]
        }
        await statements.batch([look], { isDurable: false })
        await Promise.all([
          statements.batch([{ sql: INSERT, parameters: ['lost'] }], { isDurable: false }),
          statements.run(look.sql, look.parameters)
        ])
        for (const { k } of await statements.all<{ k: string }>('SELECT k FROM t ORDER BY k', [])) seen.push(k)
        // 1 is NORMAL, 2 is FULL.
        assert.deepEqual(seen, ['1', '2', 'lost'])
      }))

    it('begins another transaction when one has taken enough, and writes all before it closes', () =>
      withStatements(async ({ statements, ran, knex }) => {
        const many = Array.from({ length: 1100 }, (_, index) => statements.run(INSERT, [`k${index}`]))
        await statements.close()
        await Promise.all(many)
        assert.equal(ran.filter(word => word === 'COMMIT').length, 3)
        const [{ n }] = await knex.raw(COUNT)
        assert.equal(n, 1100)
      }))
  })
}

describe('reads by prepared statements', () => {
  it('see nothing of a transaction of knex before it is committed', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'warren-statements-'))
    const file = knexFactory({
      client: 'better-sqlite3',
      connection: { filename: join(folder, 'a.sqlite') },
      useNullAsDefault: true
    })
    await file.raw('PRAGMA journal_mode = WAL')
    await file.raw('CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL) STRICT')
    const statements = createStatements(await createSqliteDriver(file, 'better-sqlite3', async () => {}))
    await statements.run(INSERT, ['committed'])
    await file.transaction(async transaction => {
      await transaction('t').insert({ k: 'open' })
      assert.deepEqual(await statements.get(COUNT, []), { n: 1 })
    })
    assert.deepEqual(await statements.get(COUNT, []), { n: 2 })
    await statements.close()
    await file.destroy()
    await rm(folder, { recursive: true, force: true })
  })
})
