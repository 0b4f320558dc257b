/** The door of the relay room. */
export { type RelayConfig, RelayConfigError, readConfig } from './config.ts'
export { createRelay, type Relay } from './relay.ts'
