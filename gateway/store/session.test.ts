import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import knexFactory, { type Knex } from 'knex'
import { silentLog } from '../../node/index.ts'
import { DB_CLIENTS, type DbClient } from '../config.ts'
import { openStore } from '../store.ts'
import { createAuthRows } from './auth.ts'
import { type AuthReader, createAuthReader } from './auth-reader.ts'
import { createSessions, type Sessions } from './session.ts'

// Both ways to the database, the second as it is for `sqlite3`: by knex, a statement at a time.
for (const client of DB_CLIENTS) {
  describe(`transactions as for ${client}`, () => {
    let folder: string
    let knex: Knex
    let sessions: Sessions
    let reader: AuthReader
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'warren-sessions-'))
      const options = { dataDir: folder, client: 'better-sqlite3' as DbClient, maxMb: 100, apiKeys: [], namespaces: [] }
      await (await openStore({ ...options, log: silentLog() })).close()
      const file = join(folder, 'gateway.sqlite')
      knex = knexFactory({ client: 'better-sqlite3', connection: { filename: file }, useNullAsDefault: true })
      sessions = createSessions(knex, client)
      reader = createAuthReader(knex, { client, file })
    })
    after(async () => {
      reader.close()
      await knex.destroy()
      await rm(folder, { recursive: true, force: true })
    })

    const add = 'INSERT INTO namespaces (name) VALUES (?)'
    const find = 'SELECT name FROM namespaces WHERE name = ?'

    it('are whole, or nothing of them is', async () => {
      assert.equal(await sessions.transaction(session => session.run(add, 'whole')), 1)
      await assert.rejects(
        sessions.transaction(async session => {
          await session.run(add, 'half')
          throw new Error('no')
        }),
        /^Error: no$/
      )
      await assert.rejects(
        sessions.transaction(session => session.run(add, 'whole')),
        /UNIQUE/
      )
      const found = await sessions.transaction(async session => ({
        whole: await session.get(find, 'whole'),
        half: await session.get(find, 'half'),
        all: await session.all('SELECT name FROM namespaces ORDER BY name')
      }))
      assert.deepEqual(found, {
        whole: { name: 'whole' },
        half: undefined,
        all: [{ name: 'default' }, { name: 'whole' }]
      })
    })

    it('wait for the disk where one of a commit has to, whatever comes with it', async () => {
      const durability = (isDurable: boolean) =>
        sessions.transaction(async session => (await session.get('PRAGMA synchronous'))?.synchronous, { isDurable })
      const [NORMAL, FULL] = [1, 2]
      // knex's connection has its library's setting before; the store's has FULL.
      await knex.raw('PRAGMA synchronous = FULL')
      assert.deepEqual(await Promise.all([durability(false), durability(false)]), [NORMAL, NORMAL])
      assert.deepEqual(await Promise.all([durability(false), durability(true)]), [FULL, FULL])
    })

    it('that cannot be committed leave nothing, and nothing open', async () => {
      const uncommitted = sessions.transaction(async session => {
        await session.run(add, 'uncommitted')
        // Looked at by COMMIT only.
        await session.run('PRAGMA defer_foreign_keys = ON')
        await session.run("INSERT INTO apps (namespace_id, app_id, public_key) VALUES (999999, 'a', 'k')")
      })
      await assert.rejects(uncommitted, /FOREIGN KEY/)
      assert.equal(await sessions.transaction(session => session.get(find, 'uncommitted')), undefined)
    })

    it('come one behind the other, also with those of knex', async () => {
      await sessions.transaction(session => session.run(add, '0'))
      const count = (session: { name: string }) => Number(session.name)
      const next = () =>
        sessions.transaction(async session => {
          const last = (await session.get('SELECT max(CAST(name AS INTEGER)) AS name FROM namespaces')) as {
            name: string
          }
          await session.run(add, String(count(last) + 1))
        })
      const byKnex = () =>
        knex.transaction(async transaction => {
          await transaction.raw('UPDATE auth_revision SET revision = revision + 1')
        })
      await Promise.all(Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? next() : byKnex())))
      const last = await sessions.transaction(session =>
        session.get('SELECT max(CAST(name AS INTEGER)) AS name FROM namespaces')
      )
      assert.equal(Number(last?.name), 20)
    })

    it('that come together are one commit, of which each has its own end', async () => {
      const before = await sessions.transaction(session => session.all('SELECT name FROM namespaces'))
      const names = Array.from({ length: 150 }, (_, index) => `together-${index}`)
      const ends = await Promise.allSettled(
        names.map((name, index) =>
          sessions.transaction(
            async session => {
              await session.run(add, name)
              if (index % 3 === 0) throw new Error(name)
              return (await session.get(find, name))?.name
            },
            { isDurable: index % 2 === 0 }
          )
        )
      )
      for (const [index, end] of ends.entries()) {
        if (index % 3 === 0) assert.equal(end.status === 'rejected' && end.reason.message, names[index])
        else assert.equal(end.status === 'fulfilled' && end.value, names[index])
      }
      const after = await sessions.transaction(session => session.all('SELECT name FROM namespaces'))
      assert.equal(after.length - before.length, 100)
      await assert.doesNotReject(sessions.transaction(session => session.run(add, 'quick'), { isDurable: false }))
      assert.deepEqual(await knex.raw('PRAGMA synchronous'), [{ synchronous: 2 }])
    })

    it('are seen by the reader when they are over, with a new revision', async () => {
      const rows = createAuthRows(sessions)
      const before = await reader.revision()
      const name = { namespace: 'read', wallet: 'w'.repeat(40), nonce: 'n' }
      const at = (ms: number) => new Date(ms).toISOString()
      await rows.addNonce({ ...name, purpose: '', ip: '', expiresAt: at(2_000) }, at(1_000))
      assert.equal(await reader.hasNonce(name, at(1_500)), true)
      assert.equal(await reader.revision(), before)
      const { namespaceId, owner } = await rows.transaction(transaction => transaction.claim('read', name.wallet))
      assert.equal(owner, true)
      assert.ok((await reader.revision()) > before)
      const facts = { namespace: 'read', subject: 'wallet:w', wallet: name.wallet, jti: 'j', sid: 's' }
      assert.deepEqual(await reader.tokenFacts(facts), { revoked: false, epoch: 0, owner: true })
      await rows.transaction(async transaction => {
        await transaction.endSubject('read', 'wallet:w', at(0))
        await transaction.endFamily('s', 0)
      })
      assert.deepEqual(await reader.tokenFacts(facts), { revoked: true, epoch: 1, owner: true })
      assert.equal(await rows.transaction(transaction => transaction.epochOf(namespaceId, 'wallet:w')), 1)
      assert.equal((await rows.transaction(transaction => transaction.claim('read', 'another'))).owner, false)
      assert.equal((await reader.tokenFacts({ ...facts, namespace: 'none' })).revoked, true)
      assert.equal(await reader.keyByHash('none'), null)
    })
  })
}
