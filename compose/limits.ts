/**
 * The limits of every role, set high for a testnet: behind one NAT many peers share one address, and js-libp2p's
 * defaults then refuse most of them in a way that looks like a NAT bug. Tests of the limits use the defaults instead.
 */
import type { Role } from '../netem/index.ts'
import { generousEnvironment, generousHardPunchEnvironment, generousHttpEnvironment } from '../node/index.ts'

/** Connections of a relay: its own setting beside libp2p's. */
const RELAY_CONNECTIONS = '4000'

/** Environment that opens the limits of one role. */
export function openLimits(role: Role): Record<string, string> {
  switch (role) {
    case 'node':
      return { ...generousEnvironment(role), ...generousHardPunchEnvironment(), ...generousHttpEnvironment() }
    case 'gateway':
      return { ...generousEnvironment(role), ...generousHardPunchEnvironment() }
    case 'relay':
      return { ...generousEnvironment(role), RELAY_MAX_CONNECTIONS: RELAY_CONNECTIONS }
    case 'chain':
    case 'client':
      return {}
  }
}
