/** Rows of `apps`: the programs a namespace's owner has registered (D71). */
import { APPS_PER_NAMESPACE_MAX } from '../constants.ts'
import { AppNotFoundError, AppsFullError } from '../errors.ts'
import type { Row, Session, Sessions } from './session.ts'
import type { Statements } from './statements.ts'

export interface App {
  appId: string
  name: string
  publicKey: string
  /** ISO 8601. */
  createdAt: string
}

/** Every name is looked for in one namespace only. */
export interface Apps {
  /** In the order in which they were added. */
  list: (namespace: string) => Promise<App[]>
  /** @throws AppsFullError */
  add: (namespace: string, app: Pick<App, 'appId' | 'name' | 'publicKey'>) => Promise<void>
  /** @throws AppNotFoundError */
  get: (namespace: string, appId: string) => Promise<App>
  /** null: as it is. @throws AppNotFoundError */
  change: (namespace: string, appId: string, to: { name: string | null; publicKey: string | null }) => Promise<void>
  /** @throws AppNotFoundError */
  remove: (namespace: string, appId: string) => Promise<void>
}

const COLUMNS = 'a.app_id AS appId, a.name AS name, a.public_key AS publicKey, a.created_at AS createdAt'
const OF_NAMESPACE = 'FROM apps a JOIN namespaces n ON n.id = a.namespace_id WHERE n.name = ?'
const THIS_APP = 'app_id = ? AND namespace_id = (SELECT id FROM namespaces WHERE name = ?)'

/** @param statements for what is only read: it waits for nobody who writes */
export function createApps({ transaction }: Sessions, statements: Pick<Statements, 'get' | 'all'>): Apps {
  return {
    list: async namespace =>
      (await statements.all<Row>(`SELECT ${COLUMNS} ${OF_NAMESPACE} ORDER BY a.id`, [namespace])).map(appOf),
    add: (namespace, { appId, name, publicKey }) =>
      transaction(async session => {
        await checkRoom(session, namespace)
        await session.run(
          'INSERT INTO apps (namespace_id, app_id, name, public_key) SELECT id, ?, ?, ? FROM namespaces WHERE name = ?',
          ...[appId, name, publicKey, namespace]
        )
      }),
    async get(namespace, appId) {
      const row = await statements.get<Row>(`SELECT ${COLUMNS} ${OF_NAMESPACE} AND a.app_id = ?`, [namespace, appId])
      if (row === null) throw new AppNotFoundError()
      return appOf(row)
    },
    change: (namespace, appId, { name, publicKey }) =>
      transaction(async session => {
        const changed = await session.run(
          `UPDATE apps SET name = coalesce(?, name), public_key = coalesce(?, public_key) WHERE ${THIS_APP}`,
          ...[name, publicKey, appId, namespace]
        )
        if (changed === 0) throw new AppNotFoundError()
      }),
    remove: (namespace, appId) =>
      transaction(async session => {
        if ((await session.run(`DELETE FROM apps WHERE ${THIS_APP}`, appId, namespace)) === 0)
          throw new AppNotFoundError()
      })
  }
}

/** @throws AppsFullError */
export async function checkRoom(session: Session, namespace: string): Promise<void> {
  const found = await session.get(`SELECT count(*) AS rows ${OF_NAMESPACE}`, namespace)
  if (Number(found?.rows) >= APPS_PER_NAMESPACE_MAX) throw new AppsFullError(APPS_PER_NAMESPACE_MAX)
}

function appOf(row: Row): App {
  const { appId, name, publicKey, createdAt } = row
  return { appId: String(appId), name: String(name), publicKey: String(publicKey), createdAt: String(createdAt) }
}
