/**
 * The door of the gateway: the HTTP face of the network. Not a storage node (it keeps no blobs), and not a place for
 * domain work: handlers read, call one service and answer.
 */
export { type DbClient, type GatewayConfig, NAMESPACE_PATTERN, readConfig, type SeededKey } from './config.ts'
export { ConfigInvalidError, GatewayError } from './errors.ts'
export { createGateway, type Gateway, type GatewayOptions } from './gateway.ts'
export type { NetworkView } from './network/hosts.types.ts'
export { readInventory } from './network/inventory.ts'
export type { NetworkPort } from './network/port.ts'
export { type GatewayServer, serve } from './server.ts'
export { createEmbeddedSql, type EmbeddedSqlOptions } from './sql/embedded.ts'
export type * from './sql/sql.types.ts'
export { openStore, type Store } from './store.ts'
