/** The door of the relay room. */
export { type Account, type Accounting, billable, FREE_COORDINATION_BYTES, type Session } from './accounting.ts'
export { type RelayConfig, RelayConfigError, readConfig } from './config.ts'
export { createRelay, type Relay } from './relay.ts'
