/** What the shaper and its parent say to each other, one JSON line each. */
import type { LinkStats } from './shaper-queue.ts'
import type { Impairment } from './topology.ts'

/** One direction of one link. */
export interface ShaperQueue {
  /** How the caller calls it. */
  name: string
  /** File of the network namespace (`/run/netns/home-1-nat`), or null for the shaper's own. */
  namespace: string | null
  /** NFQUEUE number in that namespace. */
  queue: number
  impairment: Impairment
}

/** First line to the shaper. */
export interface ShaperSetup {
  queues: ShaperQueue[]
}

/** Later lines to the shaper: an impairment that holds from the next packet on. */
export interface ShaperChange {
  /** Index in the set-up. */
  link: number
  impairment: Impairment
}

/** A line from the shaper every second: it lives, and what it did, in the order of the set-up. */
export interface ShaperBeat {
  beat: LinkStats[]
}
