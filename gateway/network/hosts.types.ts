/** The picture of the network that the page draws and `/v1/network/hosts` gives: hosts, NATs and paths, as data. */

/** One line of GATEWAY_INVENTORY_FILE: what an operator knows beforehand. */
export interface InventoryHost {
  name: string
  role: string
  peerId: string | null
  /** Free label of the place. */
  site: string | null
  /** Name of the NAT it is behind; null on the internet. */
  nat: string | null
  natKind: string | null
  /** Base URL of its own HTTP server, for a person's browser. */
  control: string | null
}

export type HostState = 'up' | 'down' | 'unknown'

/** A host as it was found. */
export interface HostObservation {
  peerId: string
  state: HostState
  /** Why it is not up, in plain words; null when it is. */
  reason: string | null
  /** What a node calls itself. */
  nodeId: string | null
  storedBlobs: number | null
  storedBytes: number | null
  failureGroup: string | null
  connections: readonly Connection[]
}

/** An open connection of one peer to another. */
export interface Connection {
  peerId: string
  path: 'direct' | 'relayed'
  /** Peer id of the relay. */
  via?: string | undefined
}

export interface HostView {
  name: string
  role: string
  site: string | null
  nat: string | null
  natKind: string | null
  control: string | null
  peerId: string | null
  state: HostState
  /** Since when this gateway finds it so, ISO 8601; null while it does not know. */
  since: string | null
  reason: string | null
  storedBlobs: number | null
  storedBytes: number | null
  /** Whether it is the gateway that answers. */
  self: boolean
  /** How this gateway reaches it; null when no connection is open. */
  path: 'direct' | 'relayed' | null
}

export interface NatView {
  name: string
  kind: string | null
  hosts: readonly string[]
}

/** A pair of hosts with an open connection; direct when any of them is. */
export interface PathView {
  a: string
  b: string
  path: 'direct' | 'relayed'
  /** Name of the relay, when it is known. */
  via: string | null
}

export interface NetworkView {
  /** When the picture was made, ISO 8601. */
  at: string
  /** Name of the gateway that answers. */
  gateway: string
  hosts: readonly HostView[]
  nats: readonly NatView[]
  paths: readonly PathView[]
  /** How many more hosts or paths there are than the limits let through. */
  omitted: { hosts: number; paths: number }
}
