/** The client as the gateway's network: blobs, what nodes say, own connections. The only file that starts a client. */
import { type Client, createClient, type NodeView } from '../../client/index.ts'
import { createPunchCounters, type Log, loadIdentity, type Metrics, type NetworkLimits } from '../../node/index.ts'
import type { GatewayConfig } from '../config.ts'
import { ownFolder } from '../config.ts'
import type { HostObservation } from './hosts.types.ts'
import type { NetworkPort, PeerFact } from './port.ts'

export interface ConnectOptions {
  config: Pick<
    GatewayConfig,
    | 'dataDir'
    | 'nodeId'
    | 'privateKeyFile'
    | 'bootstrapPeers'
    | 'registryAddress'
    | 'rpcUrl'
    | 'limits'
    | 'dcutr'
    | 'hardPunch'
  >
  /** For the counters of punches; absent: they are not counted. */
  metrics?: Metrics
  log: Log
}

/**
 * Joins the network with the identity kept below DATA_DIR/gateways/<NODE_ID>/; null without bootstrap peers.
 * @throws IdentityMismatchError, IdentityCorruptError
 */
export async function connectNetwork({ config, metrics, log }: ConnectOptions): Promise<NetworkPort | null> {
  if (config.bootstrapPeers.length === 0) return null
  const { registryAddress, rpcUrl, privateKeyFile } = config
  const identity = await loadIdentity({
    dataDir: ownFolder(config),
    ...(privateKeyFile === undefined ? {} : { importFile: privateKeyFile })
  })
  const limits: NetworkLimits = config.limits
  const client = await createClient({
    bootstrapPeers: config.bootstrapPeers,
    ...(registryAddress === undefined || rpcUrl === undefined
      ? {}
      : { registry: { address: registryAddress, rpcUrl } }),
    identity,
    role: 'gateway',
    dcutr: config.dcutr,
    hardPunch: config.hardPunch,
    ...(metrics === undefined ? {} : { punching: createPunchCounters(metrics) }),
    limits,
    log
  })
  return portOf(client)
}

/** A client as the gateway's network port. */
export function portOf(client: Client): NetworkPort {
  let wasUp = false
  function waiting(): string[] {
    const { anchors, registry, nodes } = client.network.status()
    const reasons: string[] = []
    if (!anchors.some(anchor => anchor.connected)) reasons.push('no bootstrap peer is connected')
    if (registry !== null && !registry.read) reasons.push(registry.problem ?? 'the registry was not read yet')
    else if (nodes === 0) reasons.push('no storage node is known')
    wasUp ||= reasons.length === 0
    return reasons
  }
  return {
    peerId: client.peerId,
    blobs: client.storage,
    gossip: client.gossip,
    observeNodes: async () => (await client.network.nodes()).map(observationOf),
    connections: () => client.network.peers(),
    anchors: () => client.network.status().anchors,
    peers: () => peerFacts(client),
    waiting,
    starting: () => {
      const reasons = waiting()
      return wasUp ? [] : reasons
    },
    connectivity: client.network.connectivity,
    close: () => client.close()
  }
}

function observationOf({ peerId, nodeId, health, problem }: NodeView): HostObservation {
  return {
    peerId,
    state: health === null ? 'down' : 'up',
    reason: health === null ? plainReason(problem) : health.status === 'healthy' ? null : health.status,
    // Its own name when it answers; the registry knows it by a hash only.
    nodeId: health?.nodeId || nodeId,
    storedBlobs: health?.storedBlobs ?? null,
    storedBytes: health?.totalSize ?? null,
    failureGroup: health?.failureGroup || null,
    connections: health?.connections ?? []
  }
}

/** A deadline that ran out says nothing about the host but that. */
function plainReason(problem: string | null): string {
  return problem === null || /abort|timed? ?out/i.test(problem) ? 'it does not answer' : problem
}

/** Open connections, and anchors that are known without one. */
function peerFacts(client: Client): PeerFact[] {
  const facts = new Map<string, { addresses: Set<string>; connected: boolean }>()
  const fact = (peerId: string) => {
    const known = facts.get(peerId) ?? { addresses: new Set<string>(), connected: false }
    facts.set(peerId, known)
    return known
  }
  for (const { peerId, addr } of client.network.peers()) {
    const known = fact(peerId)
    known.connected = true
    known.addresses.add(addr)
  }
  for (const { peerId, addresses } of client.network.status().anchors) {
    const known = fact(peerId)
    for (const address of addresses) known.addresses.add(address)
  }
  const now = new Date()
  return [...facts].map(([id, { addresses, connected }]) => ({
    id,
    addresses: [...addresses],
    connected,
    lastSeenAt: connected ? now : null
  }))
}
