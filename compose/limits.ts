/**
 * The limits of every role, set high for a testnet: behind one NAT many peers share one address, and js-libp2p's
 * defaults then refuse most of them in a way that looks like a NAT bug. Tests of the limits use the defaults instead.
 */
import type { Plan, Role } from '../netem/index.ts'

/** Room above the number of peers for second connections, a relayed one beside a direct one. */
const CONNECTIONS_PER_PEER = 8
/** No testnet goes below this, so that small ones behave like large ones. */
const LEAST_CONNECTIONS = 1000

/** Environment that opens the limits of one role for a plan of this size. */
export function openLimits(plan: Plan, role: Role): Record<string, string> {
  const connections = String(Math.max(LEAST_CONNECTIONS, plan.hosts.length * CONNECTIONS_PER_PEER))
  const libp2p = {
    P2P_MAX_CONNECTIONS: connections,
    P2P_MAX_INCOMING_PENDING: connections,
    P2P_INBOUND_CONNECTION_THRESHOLD: connections
  }
  switch (role) {
    case 'node':
    case 'gateway':
      return libp2p
    case 'relay':
      return { ...libp2p, RELAY_MAX_CONNECTIONS: connections, RELAY_MAX_RESERVATIONS: connections }
    case 'chain':
      return {}
  }
}
