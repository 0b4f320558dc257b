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

/** A later line to the shaper: an impairment that holds from the next packet on. */
export interface ShaperChange {
  /** Index of the link: those of the set-up, then those added. */
  link: number
  impairment: Impairment
}

/** A later line to the shaper: more queues, behind the others. */
export interface ShaperGrowth {
  add: ShaperQueue[]
}

/** A line from the shaper when it serves so many queues; the first one says that it is ready. */
export interface ShaperReady {
  ready: number
}

/** A line from the shaper every half second: it lives, and what it did, in the order of the links. */
export interface ShaperBeat {
  beat: LinkStats[]
}
