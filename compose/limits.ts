/**
 * The limits of every role, set high for a testnet: behind one NAT many peers share one address, and js-libp2p's
 * defaults then refuse most of them in a way that looks like a NAT bug. Tests of the limits use the defaults instead.
 */
import type { Role } from '../netem/index.ts'
import { generousEnvironment, generousHardPunchEnvironment, generousHttpEnvironment } from '../node/index.ts'

/** Connections of a relay: its own setting beside libp2p's. */
const RELAY_CONNECTIONS = '4000'

/** A whole testnet, and k6, ask from one address and often with one key. 0: no limit. */
const GATEWAY_RATES = { GATEWAY_AUTH_RATE_PER_MINUTE: '0', GATEWAY_RATE_PER_SECOND: '0' }

/** Environment that opens the limits of one role. */
export function openLimits(role: Role): Record<string, string> {
  switch (role) {
    case 'node':
      return { ...generousEnvironment(role), ...generousHardPunchEnvironment(), ...generousHttpEnvironment() }
    case 'gateway':
      return { ...generousEnvironment(role), ...generousHardPunchEnvironment(), ...GATEWAY_RATES }
    case 'relay':
      return { ...generousEnvironment(role), RELAY_MAX_CONNECTIONS: RELAY_CONNECTIONS }
    case 'chain':
    case 'client':
      return {}
  }
}
