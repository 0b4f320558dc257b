/** The network as this gateway finds it: asked when somebody looks, at most once a second for all who look. */
import type { Log } from '../../node/index.ts'
import { HOST_PROBE_TIMEOUT_MS, HOSTS_CACHE_MS, HOSTS_MAX, HOSTS_STALE_MS, PROBES_MAX } from '../constants.ts'
import { networkView } from './hosts.ts'
import type { HostObservation, HostState, InventoryHost, NetworkView } from './hosts.types.ts'
import type { NetworkPort } from './port.ts'

export interface NetworkWatch {
  /** The picture, about a second old while it is asked for; never rejects. */
  view: () => Promise<NetworkView>
}

export interface NetworkWatchOptions {
  /** Name of this gateway. */
  name: string
  inventory: readonly InventoryHost[]
  /** null where the gateway runs without a network. */
  network: NetworkPort | null
  /** JSON-RPC of the chain, which has no peer id. */
  rpcUrl: string | undefined
  log: Log
}

export function createNetworkWatch({ name, inventory, network, rpcUrl, log }: NetworkWatchOptions): NetworkWatch {
  const states = createStateTimes()
  let picture: { view: NetworkView; atMs: number } | null = null
  let making: Promise<NetworkView> | null = null

  async function make(): Promise<NetworkView> {
    const signal = AbortSignal.timeout(HOST_PROBE_TIMEOUT_MS)
    const [nodes, named] = await Promise.all([observeNodes(signal), probeChain(signal)])
    const seen = new Set(nodes.map(node => node.peerId))
    const others = await probePeers(seen)
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

  async function observeNodes(signal: AbortSignal): Promise<readonly HostObservation[]> {
    if (network === null) return []
    try {
      return (await network.observeNodes({ signal })).slice(0, HOSTS_MAX)
    } catch (error) {
      log.debug({ err: error }, 'the nodes could not be asked')
      return []
    }
  }

  /** Relays and gateways are no storage nodes: they are asked by libp2p's ping. */
  async function probePeers(seen: ReadonlySet<string>): Promise<HostObservation[]> {
    if (network === null) return []
    const asked = inventory.flatMap(({ peerId }) =>
      peerId === null || peerId === network.peerId || seen.has(peerId) ? [] : [peerId]
    )
    return await eachLimited(asked.slice(0, HOSTS_MAX), PROBES_MAX, async peerId => {
      try {
        await network.ping(peerId, { signal: AbortSignal.timeout(HOST_PROBE_TIMEOUT_MS) })
        return peer(peerId, 'up', null)
      } catch {
        return peer(peerId, 'down', 'it does not answer a ping')
      }
    })
  }

  async function probeChain(signal: AbortSignal): Promise<Map<string, { state: HostState; reason: string | null }>> {
    const chains = inventory.filter(host => host.role === 'chain')
    if (chains.length === 0 || rpcUrl === undefined) return new Map()
    const found = await askChain(rpcUrl, signal)
    return new Map(chains.map(host => [host.name, found]))
  }

  return {
    async view() {
      const ageMs = picture === null ? Number.POSITIVE_INFINITY : performance.now() - picture.atMs
      if (picture !== null && ageMs < HOSTS_CACHE_MS) return picture.view
      making ??= make()
        .then(view => {
          picture = { view, atMs: performance.now() }
          return view
        })
        .finally(() => {
          making = null
        })
      // A host that does not answer would make everybody wait: a picture of seconds ago is shown meanwhile.
      return picture !== null && ageMs < HOSTS_STALE_MS ? picture.view : await making
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

async function eachLimited<T, R>(items: readonly T[], limit: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(items.length)
  let next = 0
  const worker = async () => {
    for (let index = next++; index < items.length; index = next++) results[index] = await work(items[index] as T)
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
  return results
}
