/** The table of contents of the API. */
import type { Route } from '../http.ts'
import { apiRoutes } from './api.ts'
import { type AppRouteOptions, appRoutes } from './apps.ts'
import { type AuthRouteOptions, authRoutes } from './auth.ts'
import { type HealthRouteOptions, healthRoutes } from './health.ts'
import { type NetworkRouteOptions, networkRoutes } from './network.ts'
import { pageRoutes } from './page.ts'
import { type PubsubRouteOptions, pubsubRoutes } from './pubsub.ts'
import { type SqlRouteOptions, sqlRoutes } from './sql.ts'
import { type StorageRouteOptions, storageRoutes } from './storage.ts'

export type RouteOptions = HealthRouteOptions &
  AuthRouteOptions &
  AppRouteOptions &
  NetworkRouteOptions &
  PubsubRouteOptions &
  SqlRouteOptions &
  StorageRouteOptions

/** Every route of the gateway. */
export function routes(options: RouteOptions): Route[] {
  return [
    ...pageRoutes(options),
    ...apiRoutes(options),
    ...healthRoutes(options),
    ...authRoutes(options),
    ...appRoutes(options),
    ...networkRoutes(options),
    ...storageRoutes(options),
    ...sqlRoutes(options),
    ...pubsubRoutes(options)
  ]
}
