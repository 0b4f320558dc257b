/** Inventory and observations → the picture of the network. Pure. */
import { HOSTS_MAX, PATHS_MAX } from '../constants.ts'
import type {
  Connection,
  HostObservation,
  HostState,
  HostView,
  InventoryHost,
  NatView,
  NetworkView,
  PathView
} from './hosts.types.ts'

export interface PictureInput {
  at: Date
  self: { name: string; peerId: string | null; connections: readonly Connection[] }
  inventory: readonly InventoryHost[]
  /** One for each peer that was asked or heard of. */
  observations: readonly HostObservation[]
  /** States of hosts without a peer id (the chain), by name. */
  named: ReadonlyMap<string, { state: HostState; reason: string | null }>
  /** Since when a host is in its state, by name; asked once for every host. */
  since: (name: string, state: HostState) => Date | null
}

/** Internet first, then NATs by name; the order of everything is stable, so that the picture stands still. */
export function networkView(input: PictureInput): NetworkView {
  const observed = new Map(input.observations.map(observation => [observation.peerId, observation]))
  const all = [...listed(input, observed), ...unlisted(input)]
  const hosts = all.sort(byPlace).slice(0, HOSTS_MAX)
  const names = new Map(hosts.flatMap(host => (host.peerId === null ? [] : [[host.peerId, host.name] as const])))
  const paths = pathsOf(input, names)
  return {
    at: input.at.toISOString(),
    gateway: input.self.name,
    hosts,
    nats: natsOf(hosts),
    paths: paths.slice(0, PATHS_MAX),
    omitted: { hosts: all.length - hosts.length, paths: Math.max(0, paths.length - PATHS_MAX) }
  }
}

function listed(input: PictureInput, observed: ReadonlyMap<string, HostObservation>): HostView[] {
  return input.inventory.map(known => {
    const isSelf = known.name === input.self.name || (known.peerId !== null && known.peerId === input.self.peerId)
    const observation = known.peerId === null ? undefined : observed.get(known.peerId)
    const found = isSelf ? { state: 'up' as const, reason: null } : (observation ?? input.named.get(known.name))
    return view(input, known, isSelf, found, observation)
  })
}

/** Peers that no inventory names: without one, the page shows what the registry and the connections tell. */
function unlisted(input: PictureInput): HostView[] {
  const known = new Set(input.inventory.map(host => host.peerId))
  const names = new Set(input.inventory.map(host => host.name))
  const found: HostView[] = []
  const selfListed = names.has(input.self.name) || (input.self.peerId !== null && known.has(input.self.peerId))
  if (!selfListed) {
    const self = strange(input.self.name, 'gateway', input.self.peerId, null)
    found.push(view(input, self, true, { state: 'up', reason: null }, undefined))
  }
  for (const observation of input.observations) {
    if (known.has(observation.peerId) || observation.peerId === input.self.peerId) continue
    // A name is what a stranger calls itself: it must not pass for a listed host.
    const wanted = shortPeerId(observation.peerId, observation.nodeId)
    const name = names.has(wanted) ? `${wanted} (${shortPeerId(observation.peerId)})` : wanted
    names.add(name)
    const role = observation.nodeId === null ? 'peer' : 'node'
    const host = strange(name, role, observation.peerId, observation.failureGroup)
    found.push(view(input, host, false, observation, observation))
  }
  return found
}

function strange(name: string, role: string, peerId: string | null, site: string | null): InventoryHost {
  return { name, role, peerId, site, nat: null, natKind: null, control: null }
}

function view(
  input: PictureInput,
  known: InventoryHost,
  self: boolean,
  found: { state: HostState; reason: string | null } | undefined,
  observation: HostObservation | undefined
): HostView {
  const state = found?.state ?? 'unknown'
  return {
    ...known,
    peerId: self ? input.self.peerId : known.peerId,
    state,
    since: input.since(known.name, state)?.toISOString() ?? null,
    reason: found?.reason ?? null,
    storedBlobs: observation?.storedBlobs ?? null,
    storedBytes: observation?.storedBytes ?? null,
    self,
    path: self || known.peerId === null ? null : bestPath(input.self.connections, known.peerId)
  }
}

function bestPath(connections: readonly Connection[], peerId: string): 'direct' | 'relayed' | null {
  const paths = connections.filter(connection => connection.peerId === peerId).map(connection => connection.path)
  return paths.includes('direct') ? 'direct' : (paths[0] ?? null)
}

function byPlace(a: HostView, b: HostView): number {
  return (
    Number(a.nat !== null) - Number(b.nat !== null) ||
    compare(a.nat ?? '', b.nat ?? '') ||
    roleOrder(a.role) - roleOrder(b.role) ||
    compare(a.name, b.name)
  )
}

const ROLES = ['gateway', 'relay', 'chain', 'database', 'node']

function roleOrder(role: string): number {
  const index = ROLES.indexOf(role)
  return index < 0 ? ROLES.length : index
}

/** node-2 before node-10. */
function compare(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true })
}

function natsOf(hosts: readonly HostView[]): NatView[] {
  const groups = Map.groupBy(
    hosts.filter(host => host.nat !== null),
    host => host.nat as string
  )
  return [...groups].map(([name, members]) => ({
    name,
    kind: members.find(host => host.natKind !== null)?.natKind ?? null,
    hosts: members.map(host => host.name)
  }))
}

/** Both ends of a connection report it; a pair is one path, the best there is. */
function pathsOf(input: PictureInput, names: ReadonlyMap<string, string>): PathView[] {
  const pairs = new Map<string, PathView>()
  const add = (from: string, connections: readonly Connection[]) => {
    for (const { peerId, path, via } of connections) {
      const to = names.get(peerId)
      if (to === undefined || to === from) continue
      const [a, b] = compare(from, to) < 0 ? [from, to] : [to, from]
      const key = JSON.stringify([a, b])
      if (pairs.get(key)?.path === 'direct') continue
      pairs.set(key, { a, b, path, via: via === undefined ? null : (names.get(via) ?? null) })
    }
  }
  const self = input.self.peerId === null ? undefined : names.get(input.self.peerId)
  if (self !== undefined) add(self, input.self.connections)
  for (const { peerId, state, connections } of input.observations) {
    const name = names.get(peerId)
    if (name !== undefined && state === 'up') add(name, connections)
  }
  // Own paths first: they are what is shown when there are too many.
  const own = (path: PathView) => Number(path.a !== self && path.b !== self)
  return [...pairs.values()].sort(
    (one, other) => own(one) - own(other) || compare(one.a, other.a) || compare(one.b, other.b)
  )
}

const NAME_MAX_CHARS = 40

/** Enough of a peer id for a person; the name instead, when there is one of a name's length. */
export function shortPeerId(peerId: string, name: string | null = null): string {
  if (name !== null && name !== '' && name.length <= NAME_MAX_CHARS) return name
  return peerId.length <= 14 ? peerId : `${peerId.slice(0, 6)}…${peerId.slice(-6)}`
}
