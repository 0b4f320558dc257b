/** Rows of `api_keys` and `namespaces`: keys are there as SHA-256 only. */
import type { Knex } from 'knex'
import type { SeededKey } from '../config.ts'
import type { Statements } from './statements.ts'

/** `api_keys.name` of the keys that come from GATEWAY_API_KEYS. */
const SEEDED_NAME = 'GATEWAY_API_KEYS'

export interface ApiKeys {
  /** The key with this hash, or null. Case counts. */
  find: (hash: string) => Promise<{ id: number; namespace: string } | null>
  /** Makes the seeded keys exactly these: new ones are added, those no longer listed stop to work. */
  seed: (keys: readonly SeededKey[], namespaces: readonly string[]) => Promise<void>
}

// Not a join, which takes five times as long here.
const FIND = `SELECT id, (SELECT name FROM namespaces WHERE namespaces.id = namespace_id) AS namespace
  FROM api_keys WHERE key_hash = ?`

export function createApiKeys(knex: Knex, statements: Pick<Statements, 'get'>): ApiKeys {
  return {
    find: hash => statements.get(FIND, [hash]),
    async seed(keys, namespaces) {
      await knex.transaction(async transaction => {
        const names = [...new Set([...namespaces, ...keys.map(key => key.namespace)])]
        if (names.length > 0) {
          await transaction('namespaces')
            .insert(names.map(name => ({ name })))
            .onConflict('name')
            .ignore()
        }
        const seeded = transaction('api_keys').where('name', SEEDED_NAME).select('key_hash')
        await transaction('namespace_ownership').where('owner_type', 'api_key').whereIn('owner_id', seeded).delete()
        const hashes = keys.flatMap(key => key.hashes)
        await transaction('api_keys').where('name', SEEDED_NAME).whereNotIn('key_hash', hashes).delete()
        for (const { namespace, hashes: opens } of keys) {
          const { id: namespaceId } = await transaction('namespaces').where('name', namespace).first('id')
          for (const hash of opens) {
            await transaction('api_keys')
              .insert({ key_hash: hash, name: SEEDED_NAME, namespace_id: namespaceId })
              .onConflict('key_hash')
              .merge(['namespace_id', 'name'])
            await transaction('namespace_ownership')
              .insert({ namespace_id: namespaceId, owner_type: 'api_key', owner_id: hash })
              .onConflict(['namespace_id', 'owner_type', 'owner_id'])
              .ignore()
          }
        }
      })
    }
  }
}
