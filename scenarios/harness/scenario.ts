/** The shape of a scenario: a topology, a story, and the checks it asks on the way. */
import type { Role, Topology } from '../../netem/index.ts'
import type { Checks } from './check.ts'
import type { Endpoints } from './endpoints.ts'
import type { History } from './history.ts'
import type { Nemesis } from './nemesis.ts'
import type { Random } from './random.ts'
import type { Capability, Host, RuntimeName, Testnet } from './runtime.ts'

/** `short` is what CI runs, `full` what an issue's figures ask. */
export type Depth = 'short' | 'full'

export interface Story {
  testnet: Testnet
  endpoints: Endpoints
  runtime: RuntimeName
  depth: Depth
  /** All hosts of a role, in the plan's order. */
  hosts: (role: Role) => Host[]
  host: (name: string) => Host
  nemesis: Nemesis
  check: Checks
  random: Random
  history: History
  /** What comes next, for whoever watches and for the history. */
  step: (title: string) => void
  /** A row of the report's table. */
  row: (row: Record<string, unknown>) => void
  /** Aborted at the deadline and on Ctrl-C. */
  signal: AbortSignal
}

export interface Scenario {
  /** One sentence: what this proves. */
  about: string
  topology: Topology
  /** What the runtime must be able to do; else the verdict is skip, with the reason. */
  needs: Capability[]
  /** For the story alone, without bringing up. */
  withinMs: number
  story: (story: Story) => Promise<void>
}

/** Write `export default scenario({ … })`. A story owns no clean-up: the run undoes every perturbation and takes the testnet down. */
export function scenario(definition: Scenario): Scenario {
  return definition
}
