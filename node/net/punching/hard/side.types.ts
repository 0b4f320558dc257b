/** What both sides of an attempt are given. */
import type { HardPunchLimits } from './hard-limits.ts'
import type { NatFacts } from './kinds.ts'
import type { ObservedBy } from './observe.ts'
import type { Talk } from './talk.ts'

export interface SideContext {
  talk: Talk
  /** Ends the attempt; its reason is thrown. */
  signal: AbortSignal
  /** Both ends', mixed. */
  token: Uint8Array
  /**
   * The peer's address as the relay observed it, and never another; the first call counts the attempt.
   * @throws HardPunchError when it may not be sent to, or the caps do not allow it
   */
  host: () => Promise<string>
  endpoints: readonly ObservedBy[]
  /** What was seen of the own NAT. */
  facts: NatFacts
  limits: HardPunchLimits
  /** Count a second attempt of this negotiation. @throws HardPunchError when the caps do not allow it */
  countAgain: () => Promise<void>
  /** Count datagrams that were sent. */
  spent: (packets: number) => void
}
