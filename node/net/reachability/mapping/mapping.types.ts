/** Port mapping as all three protocols have it. */

export interface MappingRequest {
  transport: 'tcp' | 'udp'
  /** Own address in the router's network. */
  innerHost: string
  innerPort: number
  /** Asked for; the router may give another. */
  outerPort: number
  /** Seconds; 0 ends the mapping. */
  lifetimeS: number
  /** The same for all requests of one mapping; PCP knows by it whose it is. 12 bytes. */
  nonce: Uint8Array
}

export interface MappingGrant {
  /** What the router says its outer address is; not to be believed before a peer confirms it. */
  outerHost: string
  outerPort: number
  /** Seconds the router promises; 0: until it restarts. */
  lifetimeS: number
}

export type MappingProtocol = 'pcp' | 'nat-pmp' | 'upnp'

/** Speaks one protocol to one router. */
export interface MappingClient {
  protocol: MappingProtocol
  /**
   * @throws MappingRefusedError when the router says no; MappingSilentError when it does not speak the protocol
   */
  map: (router: string, request: MappingRequest, signal: AbortSignal) => Promise<MappingGrant>
}

/** Thrown when a router answers and grants nothing. */
export class MappingRefusedError extends Error {
  readonly code = 'MAPPING_REFUSED'

  constructor(protocol: MappingProtocol, result: string) {
    super(`The router refuses to map a port by ${protocol}: ${result}. Allow it there, or set P2P_PORT_MAPPING=false.`)
    this.name = 'MappingRefusedError'
  }
}

/** Thrown when a router does not answer in a protocol. */
export class MappingSilentError extends Error {
  readonly code = 'MAPPING_SILENT'

  constructor(protocol: MappingProtocol) {
    super(`The router does not answer ${protocol}.`)
    this.name = 'MappingSilentError'
  }
}
