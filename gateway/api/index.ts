/** Every operation of the API, area by area. A new area is a line here, and a line in `routes/index.ts`. */
import { authOperations } from './auth-operations.ts'
import { healthOperations } from './health-operations.ts'
import { networkOperations } from './network-operations.ts'
import type { Operation } from './operation.ts'
import { pageOperations } from './page-operations.ts'
import { pubsubOperations } from './pubsub-operations.ts'
import { sqlOperations } from './sql-operations.ts'
import { storageOperations } from './storage-operations.ts'

export const operations: readonly Operation[] = [
  ...authOperations,
  ...storageOperations,
  ...sqlOperations,
  ...pubsubOperations,
  ...networkOperations,
  ...healthOperations,
  ...pageOperations
]
