/** The table of contents of the API. */
import type { Route } from '../http.ts'
import { type HealthRouteOptions, healthRoutes } from './health.ts'
import { type NetworkRouteOptions, networkRoutes } from './network.ts'
import { pageRoutes } from './page.ts'
import { type PubsubRouteOptions, pubsubRoutes } from './pubsub.ts'
import { type StorageRouteOptions, storageRoutes } from './storage.ts'

export type RouteOptions = HealthRouteOptions & NetworkRouteOptions & PubsubRouteOptions & StorageRouteOptions

/** Every route of the gateway. */
export function routes(options: RouteOptions): Route[] {
  return [
    ...pageRoutes(options),
    ...healthRoutes(options),
    ...networkRoutes(options),
    ...storageRoutes(options),
    ...pubsubRoutes(options)
  ]
}
