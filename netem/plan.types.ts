/**
 * The shape of a plan: a topology and a seed worked out. Everything a runtime needs is here, so a runtime
 * decides nothing but the first free slot.
 */
import type { PlannedIpv6Edge } from './ipv6.ts'
import type { NatBehaviour, NatKind } from './nat-kinds.ts'
import type { PlannedPortMapping } from './port-mapping.ts'
import type { Impairment, Role } from './topology.ts'

export interface PlannedNetwork {
  name: string
  /** CIDR. The internet is 11.<slot>.0.0/16, a LAN 10.<40+slot>.<n>.0/24. */
  subnet: string
  prefixLength: number
  /** Linux bridge name, at most 15 characters, unique over all slots. */
  bridge: string
  /** `.1` of the subnet: what Docker gives its bridge. No lab packet is ever routed to it. */
  bridgeAddress: string
  /** Default route of its hosts: the router's inner address on a LAN, an address nobody has on the internet. */
  defaultGateway: string
  /** Where the network has IPv6: its /64, Docker's own address there, and the default route of its hosts. */
  ipv6?: { subnet: string; bridgeAddress: string; defaultGateway: string }
  /** Its hosts have no IPv4. Docker gives them an address all the same, which leads nowhere. */
  isIpv6Only?: true
  /** Name of the router at its edge, or null on the internet. */
  router: string | null
}

export interface PlannedAttachment {
  network: string
  address: string
  prefixLength: number
  /** Its address in the network's /64, where the network has IPv6. */
  ipv6?: string
}

/** A way to a routed (not translated) network: behind a NAT of kind `none`. */
export interface PlannedRoute {
  /** CIDR. */
  to: string
  /** Address of the router on the same network. */
  via: string
}

/** Impairments of one attachment, seen from its owner; null where nothing is asked. */
export interface PlannedLink {
  up: Impairment | null
  down: Impairment | null
  /** What is asked of the way to some peers instead, longest prefix first; absent where nothing is. */
  peers?: PlannedPeer[]
}

export interface PlannedPeer {
  /** CIDR. */
  prefix: string
  up: Impairment | null
  down: Impairment | null
}

export interface PlannedRouter {
  /** `<network>-nat`. */
  name: string
  /** The inner network it serves: the NAT's name. */
  nat: string
  /** The preset it is made from. */
  kind: NatKind
  /** What it does, overrides included. */
  behaviour: NatBehaviour
  inside: PlannedAttachment
  outside: PlannedAttachment
  /** Inner subnet in CIDR, what is translated. */
  insideSubnet: string
  /** The first host inside, which `one-to-one` gives the outer address; null when there is none. */
  insideHost: string | null
  /** The address its hosts use as default gateway; the router holds it beside `inside.address`. */
  insideGateway: string
  /** Where it sends what its networks do not hold: the outer router, or null when outside is the internet. */
  outsideGateway: string | null
  /** Ways to networks behind routers of kind `none` next to it. */
  routes: PlannedRoute[]
  /** What it does for IPv6, where the inner network has it. */
  ipv6?: PlannedIpv6Edge
  link: PlannedLink
  /** The port mapping server it runs, if any. */
  portMapping?: PlannedPortMapping
}

export interface PlannedIdentity {
  /** base64 of the libp2p protobuf Ed25519 private key (what RELAY_PRIVATE_KEY_PATH holds). INSECURE: derived from the seed. */
  privateKey: string
  /** `12D3KooW…` */
  peerId: string
}

export interface PlannedAccount {
  /** EIP-55 address. */
  address: `0x${string}`
  /** 32 bytes hex. INSECURE: derived from the seed. */
  privateKey: `0x${string}`
}

export interface PlannedHost {
  name: string
  role: Role
  attachment: PlannedAttachment
  /** Where its packets to elsewhere go; null: it has no way beyond its subnet. */
  defaultGateway: string | null
  /** The NAT's name in the topology, or null for a host on the internet. */
  nat: string | null
  natKind: NatKind | null
  link: PlannedLink
  /** Ways to networks behind routers of kind `none` next to it. */
  routes: PlannedRoute[]
  /** Where its network has IPv6: its default route there (null: none beyond the routes) and ways to routed networks. */
  ipv6?: { defaultGateway: string | null; routes: PlannedRoute[] }
  /** It has no IPv4: whoever reaches it does so by `attachment.ipv6`. */
  isIpv6Only?: true
  /** Whether it needs a leg in Docker: it has a link or routes of its own. `link: {}` asks for one that changes at run time. */
  leg: boolean
  /** Name of the data volume. */
  volume: string
  /** What the topology adds for this host, over what its role says (`compose/roles.ts`). */
  env: Record<string, string>
  /** Port of its HTTP server on 127.0.0.1 of the machine that runs the testnet: 28000 + 256 × slot + n. */
  controlPort: number
  /** null for the chain and for clients. */
  identity: PlannedIdentity | null
  /** Its funded account; nodes only. */
  account: PlannedAccount | null
}

export interface PlannedChain {
  host: string
  /** JSON-RPC inside the lab: http://<address>:8545 */
  rpcUrl: string
  chainId: number
  deployer: PlannedAccount
  /** Address of VaultRegistry: the deployer's first contract. */
  registry: `0x${string}`
}

export interface Plan {
  topology: string
  description: string
  seed: string
  slot: number
  networks: PlannedNetwork[]
  routers: PlannedRouter[]
  hosts: PlannedHost[]
  chain: PlannedChain | null
  /** API key of the testnet's gateways, for namespace `default`. INSECURE: derived from the seed. */
  apiKey: string
}
