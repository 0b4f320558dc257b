/**
 * The tenant wall. The only place that knows how a namespace's names look inside (`ns::<namespace>::<name>`): it hands
 * the handler services that are already scoped, so that no handler can reach beyond its caller's namespace.
 */
import type { Context } from 'koa'
import { NAMESPACE_PATTERN } from '../config.ts'
import { ApiKeyMissingError, NamespaceMismatchError, NotOwnerError } from '../errors.ts'
import { type GatewayMiddleware, type GatewayState, queryParameter } from '../http.ts'
import type { Pubsub } from '../pubsub/pubsub.ts'
import { scopedPubsub, type TenantPubsub } from '../pubsub/scoped.ts'
import { scopedSql, type TenantSql } from '../sql/scoped.ts'
import type { SqlEngine } from '../sql/sql.types.ts'
import { scopedStorage, type TenantStorage } from '../storage/scoped.ts'
import type { Storage } from '../storage/storage.ts'
import type { Sealer } from '../store/seal.ts'

/** What one caller may use. */
export interface Tenant {
  readonly namespace: string
  readonly storage: TenantStorage
  readonly sql: TenantSql
  readonly pubsub: TenantPubsub
}

export type TenantHandler = (context: Context & { state: GatewayState }, tenant: Tenant) => Promise<void> | void

/** Names of one namespace, to the inside and back. */
export interface NameScope {
  readonly namespace: string
  inner: (name: string) => string
  outer: (internalName: string) => string
}

/** @throws RangeError for a text that is no namespace: the caller has not validated it */
export function nameScope(namespace: string): NameScope {
  // The pattern has no colon, so no name of one namespace can begin with another's prefix.
  if (!NAMESPACE_PATTERN.test(namespace)) throw new RangeError('not a namespace')
  const prefix = `ns::${namespace}::`
  return {
    namespace,
    inner: name => prefix + name,
    outer: internalName => {
      if (!internalName.startsWith(prefix)) throw new RangeError('a name of another namespace')
      return internalName.slice(prefix.length)
    }
  }
}

/** What tenants' services are made of. */
export interface TenantServices {
  storage: Storage
  sealer: Sealer
  sql: SqlEngine
  pubsub: Pubsub
}

/**
 * Wraps a handler: `?namespace=` must be the caller's own (D15), the caller must own it (D14), and the handler gets the
 * caller's services.
 * Stands behind `authenticate` in a route's row.
 */
export function createOwnNamespace(services: TenantServices): (handler: TenantHandler) => GatewayMiddleware {
  const { storage, sealer, sql, pubsub } = services
  return handler => async context => {
    const { identity } = context.state
    if (identity === undefined) throw new ApiKeyMissingError()
    const asked = queryParameter(context, 'namespace')
    if (asked !== undefined && asked !== identity.namespace) throw new NamespaceMismatchError()
    if (!identity.owner) throw new NotOwnerError()
    const scope = nameScope(identity.namespace)
    await handler(context, {
      namespace: scope.namespace,
      storage: scopedStorage(storage, scope, sealer),
      sql: scopedSql(sql, scope),
      pubsub: scopedPubsub(pubsub, scope)
    })
  }
}
