/** The network as this gateway finds it: asked when somebody looks, at most once a second for all who look. */
import type { Log } from '../../node/index.ts'
import { HOST_PROBE_TIMEOUT_MS, HOSTS_CACHE_MS, HOSTS_MAX, HOSTS_STALE_MS, SIBLINGS_MAX } from '../constants.ts'
import { networkView } from './hosts.ts'
import type { HostObservation, HostState, InventoryHost, NetworkView } from './hosts.types.ts'
import type { NetworkPort } from './port.ts'
import type { Siblings } from './siblings.ts'

export interface NetworkWatch {
  /** The picture, about a second old while it is asked for; never rejects. */
  view: () => Promise<NetworkView>
  /** The same, but never older than a second: waits for a new one; never rejects. */
  fresh: () => Promise<NetworkView>
}

export interface NetworkWatchOptions {
  /** Name of this gateway. */
  name: string
  inventory: readonly InventoryHost[]
  /** null where the gateway runs without a network. */
  network: NetworkPort | null
  /** Gateways on the same data directory; null: nothing is known of other gateways. */
  siblings: Pick<Siblings, 'stateOf'> | null
  /** JSON-RPC of the chain, which has no peer id. */
  rpcUrl: string | undefined
  log: Log
}

export function createNetworkWatch({
  name,
  inventory,
  network,
  siblings,
  rpcUrl,
  log
}: NetworkWatchOptions): NetworkWatch {
  const states = createStateTimes()
  let picture: { view: NetworkView; atMs: number } | null = null
  let making: Promise<NetworkView> | null = null

  async function make(): Promise<NetworkView> {
    const [nodes, chains, gateways] = await Promise.all([observeNodes(), probeChain(), askSiblings()])
    const named = new Map([...chains, ...gateways])
    const others = judgeOthers(nodes)
    const at = new Date()
    const view = networkView({
      at,
      self: { name, peerId: network?.peerId ?? null, connections: network?.connections() ?? [] },
      inventory,
      observations: [...nodes, ...others],
      named,
      since: (host, state) => states.since(host, state, at)
    })
    states.keep(view.hosts.map(host => host.name))
    return view
  }

  async function observeNodes(): Promise<readonly HostObservation[]> {
    if (network === null) return []
    try {
      return (await network.observeNodes()).slice(0, HOSTS_MAX)
    } catch (error) {
      log.debug({ err: error }, 'the nodes could not be asked')
      return []
    }
  }

  /**
   * Relays give no health report. One is up when this gateway or a node has a connection open to it, and down when
   * none of those who should have one does. Other gateways keep connections to nobody in particular: `askSiblings`.
   */
  function judgeOthers(nodes: readonly HostObservation[]): HostObservation[] {
    if (network === null) return []
    const reported = new Set(nodes.map(node => node.peerId))
    const answering = nodes.filter(node => node.state === 'up')
    const seen = new Set(
      [...network.connections(), ...answering.flatMap(node => node.connections)].map(of => of.peerId)
    )
    const anchors = new Set(network.anchors().map(anchor => anchor.peerId))
    return inventory.flatMap(({ peerId, role }) => {
      if (role === 'gateway' || peerId === null || peerId === network.peerId || reported.has(peerId)) return []
      if (seen.has(peerId)) return [peer(peerId, 'up', null)]
      // With nobody to ask, an absent connection says nothing about a host this gateway does not keep one to.
      if (!anchors.has(peerId) && answering.length === 0) return [peer(peerId, 'unknown', 'no node is there to ask')]
      return [peer(peerId, 'down', 'nobody has a connection to it')]
    })
  }

  async function askSiblings(): Promise<Map<string, { state: HostState; reason: string | null }>> {
    if (siblings === null) return new Map()
    const gateways = inventory.filter(host => host.role === 'gateway' && host.name !== name).slice(0, SIBLINGS_MAX)
    return new Map(
      await Promise.all(gateways.map(async host => [host.name, await siblings.stateOf(host.name)] as const))
    )
  }

  async function probeChain(): Promise<Map<string, { state: HostState; reason: string | null }>> {
    const chains = inventory.filter(host => host.role === 'chain')
    if (chains.length === 0 || rpcUrl === undefined) return new Map()
    const found = await askChain(rpcUrl, AbortSignal.timeout(HOST_PROBE_TIMEOUT_MS))
    return new Map(chains.map(host => [host.name, found]))
  }

  const ageMs = () => (picture === null ? Number.POSITIVE_INFINITY : performance.now() - picture.atMs)

  function renew(): Promise<NetworkView> {
    making ??= make()
      .then(view => {
        picture = { view, atMs: performance.now() }
        return view
      })
      .finally(() => {
        making = null
      })
    return making
  }

  return {
    async view() {
      if (picture !== null && ageMs() < HOSTS_CACHE_MS) return picture.view
      const renewed = renew()
      // A host that does not answer would make everybody wait: a picture of seconds ago is shown meanwhile.
      return picture !== null && ageMs() < HOSTS_STALE_MS ? picture.view : await renewed
    },
    async fresh() {
      return picture !== null && ageMs() < HOSTS_CACHE_MS ? picture.view : await renew()
    }
  }
}

/** Since when each host is in its state. Only hosts of the last picture are remembered. */
function createStateTimes() {
  const known = new Map<string, { state: HostState; at: Date }>()
  return {
    since(name: string, state: HostState, now: Date): Date | null {
      const before = known.get(name)
      if (before?.state !== state) known.set(name, { state, at: now })
      return state === 'unknown' ? null : (known.get(name)?.at ?? null)
    },
    keep(names: readonly string[]) {
      const wanted = new Set(names)
      for (const name of known.keys()) if (!wanted.has(name)) known.delete(name)
    }
  }
}

function peer(peerId: string, state: HostState, reason: string | null): HostObservation {
  return {
    peerId,
    state,
    reason,
    nodeId: null,
    storedBlobs: null,
    storedBytes: null,
    failureGroup: null,
    connections: []
  }
}

async function askChain(rpcUrl: string, signal: AbortSignal): Promise<{ state: HostState; reason: string | null }> {
  try {
    const response = await fetch(rpcUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_chainId', params: [] }),
      signal
    })
    await response.body?.cancel()
    return response.ok ? { state: 'up', reason: null } : { state: 'down', reason: `its RPC answers ${response.status}` }
  } catch {
    return { state: 'down', reason: 'its RPC does not answer' }
  }
}
