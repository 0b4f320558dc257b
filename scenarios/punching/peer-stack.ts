/** A peer of either stack, as the process that holds it needs it. */
import type { Libp2p } from '@libp2p/interface'
import type { Network } from '../../node/index.ts'
import type { OpenRequest, PeerFacts } from './peer.types.ts'
import type { Watch } from './watch.ts'

export interface LabPeer {
  libp2p: Libp2p
  watch: Watch
  /** The product's requests; null of a stock peer, which has none. */
  network: Network | null
  facts: (peerId: string) => Pick<PeerFacts, 'attempts' | 'failures'>
  /** Reachable through a relay, or announced, and connected to one. */
  isReady: () => boolean
  /** Whether a punch is under way; null where the stack does not tell. */
  isPunching: () => boolean | null
  /** Attempts that were under way at one time, at most; null where the stack does not tell. */
  mostPunches: () => number | null
  start: () => Promise<void>
  /** What a peer that has run for a while knows: what kind its NAT is of. After it is ready. */
  settle: () => Promise<void>
  stop: () => Promise<void>
}

/** Every own address of a family. */
export const ANY = { 4: '0.0.0.0', 6: '::' } as const

/** Where a peer listens, or is told to be, for each of its transports. */
export function ownAddresses({ transports, family, port = 0 }: OpenRequest, address: string): string[] {
  return transports.map(transport =>
    transport === 'tcp' ? `/ip${family}/${address}/tcp/${port}` : `/ip${family}/${address}/udp/${port}/quic-v1`
  )
}

/** Nothing is opened before `start`. A stack is read when it is first asked for. */
export async function createLabPeer(request: OpenRequest): Promise<LabPeer> {
  if (request.stack === 'stock') return await (await import('./peer-stock.ts')).createStockPeer(request)
  return await (await import('./peer-warren.ts')).createWarrenPeer(request)
}
