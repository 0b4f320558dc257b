/** The shape of a scenario: a topology, a story, and the checks it asks on the way. */
import type { Role, Topology } from '../../netem/index.ts'
import type { Checks } from './check.ts'
import type { Endpoints } from './endpoints.ts'
import type { History } from './history.ts'
import type { Nemesis } from './nemesis.ts'
import type { Random } from './random.ts'
import type { Capability, Host, Progress, RuntimeName, Testnet } from './runtime.ts'

/** `short` is what CI runs, `full` what an issue's figures ask. */
export type Depth = 'short' | 'full'

/** What every story has. */
export interface CommonStory {
  runtime: RuntimeName
  depth: Depth
  check: Checks
  random: Random
  history: History
  /** What comes next, for whoever watches and for the history. */
  step: (title: string) => void
  /** A row of the report's table. */
  row: (row: Record<string, unknown>) => void
  /** The report's folder, for what the story wants to leave beside the report. */
  folder: string
  /** Aborted at the deadline and on Ctrl-C. */
  signal: AbortSignal
}

export interface Story extends CommonStory {
  testnet: Testnet
  endpoints: Endpoints
  /** All hosts of a role, in the plan's order. */
  hosts: (role: Role) => Host[]
  host: (name: string) => Host
  nemesis: Nemesis
}

/** Of a scenario that builds what it needs itself. It cleans up itself too, also when its signal aborts: it is waited for. */
export interface StandaloneStory extends CommonStory {
  seed: string
  progress: Progress
  /** The lab was not what it claims: nothing was proved, whatever the checks say. */
  invalid: (why: string) => void
}

interface Told {
  /** One sentence: what this proves. */
  about: string
  /** What the runtime must be able to do; else the verdict is skip, with the reason. */
  needs: Capability[]
  /** The one runtime that this is about: chosen by `auto`; with another one asked for the verdict is skip. */
  only?: RuntimeName
  /** For the story alone, without bringing up. */
  withinMs: number
  /** Environment that it reads: kept in its report, so that the run can be played again. */
  settings?: readonly string[]
  /** Its folder under `reports/`, where a short run must not take the place of a full one's. Default: its name. */
  reportFolder?: (occasion: Occasion) => string
}

/** Where and how thoroughly a scenario is run. */
export interface Occasion {
  runtime: RuntimeName
  depth: Depth
}

export interface TestnetScenario extends Told {
  /** A function where an engine bears less than namespaces do, or a short run needs less than a full one. */
  topology: Topology | ((occasion: Occasion) => Topology)
  story: (story: Story) => Promise<void>
}

/** No testnet is brought up for it. */
export interface StandaloneScenario extends Told {
  topology: null
  story: (story: StandaloneStory) => Promise<void>
}

export type Scenario = TestnetScenario | StandaloneScenario

/**
 * Write `export default scenario({ … })`. A story with a topology owns no clean-up: the run undoes every perturbation
 * and takes the testnet down. With `topology: null` the story stands alone.
 */
export function scenario<Definition extends Scenario>(definition: Definition): Definition {
  return definition
}
