/** How others reach this peer, and what that is judged from. */

import type { NatKindSeen } from '../punching/hard/kinds.ts'

export type { NatKindSeen }

/** An own address as a peer saw it on a connection that we dialled. */
export interface Sighting {
  /** Multiaddr without peer id. */
  address: string
  /** Peer id of who saw it. */
  observer: string
  /**
   * Whether the connection left from the port that others send to. Only then do the ports of two sightings tell
   * anything of the NAT.
   */
  fromOwnPort: boolean
}

/** All that is known; nothing in it is a guess. */
export interface ReachabilityFacts {
  /** Addresses the operator announces. */
  announced: readonly string[]
  /** Own IP addresses of this machine. */
  ownHosts: readonly string[]
  /** Addresses libp2p listens on and tells to others, relayed ones apart. */
  listening: readonly string[]
  /** Addresses through relays that hold a reservation for us. */
  relayed: readonly string[]
  /** Outer addresses a router mapped to us, each confirmed by a peer that sees us there. */
  mapped: readonly string[]
  /** Addresses that autonat's servers dialled, and whether they got through. */
  dialledBack: ReadonlyArray<{ address: string; reached: boolean }>
  sightings: readonly Sighting[]
  /** What reflectors told; null when none was asked or none answered. */
  natKind: NatKindSeen | null
}

/** `unknown` until there is evidence. `private`: a NAT or a firewall is in the way. */
export type ReachabilityState = 'unknown' | 'public' | 'private'

export interface Judgement {
  state: ReachabilityState
  /** The NAT's kind as far as it was seen; null when no NAT was. */
  kind: NatKindSeen | null
  /** Where others can dial us, the best first; those through relays last. */
  addresses: string[]
  /** The fact that decided, in plain words. */
  why: string
}

/** A judgement and when it became so. */
export interface Reachability extends Judgement {
  /** ISO 8601: since when state and kind are as they are. */
  since: string
}
