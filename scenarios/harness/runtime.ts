/**
 * The whole contract between a plan and the machine it runs on. Two runtimes keep it: `docker` and `netns`;
 * one suite (`runtime-contract.test.ts`) runs against both.
 */
import type { DirectedPair, Link, NatSpec, Plan, PlannedHost, PlannedRouter } from '../../netem/index.ts'

export type RuntimeName = 'docker' | 'netns'

/** A word a runtime honestly has on this machine. */
export type Capability =
  | 'nat'
  | 'delay'
  | 'loss'
  | 'rate'
  | 'cut'
  | 'kill'
  | 'pause'
  | 'exec'
  /** Routers forget mappings, change address and kind. */
  | 'router-change'
  | 'unplug'
  | 'move'
  /** Packets are lost by pair of hosts. */
  | 'partition'
  /** Routers map ports on request. */
  | 'port-mapping'
  /** Networks with IPv6 only: a translator and a TUN device. */
  | 'nat64'
  /** Links change while they stand. */
  | 'impair'

export interface Progress {
  /** A stage begins; the returned function ends it. Stages may overlap. */
  stage: (title: string) => (detail?: string) => void
  /** A line of news within the stage. */
  note: (text: string) => void
}

export interface UpOptions {
  /** The run's folder; logs, data and records go there. Exists and is empty. */
  folder: string
  run: string
  progress: Progress
  signal: AbortSignal
  /** Needed only while this process lives: a runtime that can ends it then; the others leave it to the next command. */
  bound: boolean
  /** Record what crosses every interface, into `captures/` of the folder. */
  capture: boolean
}

export interface ExecResult {
  code: number
  stdout: string
  stderr: string
}

export interface Host {
  readonly planned: PlannedHost
  /** Base URL of the role's own HTTP server, reachable from this process. */
  readonly control: string
  /**
   * Run a command inside the host's network (and, in Docker, its container), as the product is run: its user, its
   * environment (`DATA_DIR`), no capability; `node` is on the path. Works while the product is killed or paused where
   * the runtime can (Docker cannot: it rejects). Output is cut at 1 MiB a stream. Rejects only when it cannot be started.
   */
  exec: (argv: string[], options?: { signal?: AbortSignal }) => Promise<ExecResult>
  /** What the product wrote so far: stdout and stderr, oldest first. */
  logs: () => Promise<string>
  /** SIGKILL the product; its network stays. Undo starts it again. */
  kill: () => Promise<Undo>
  /** SIGSTOP the product. Undo continues it. */
  pause: () => Promise<Undo>
  /** SIGTERM, wait for the end, start again on the same data; resolves when it listens again. */
  restart: () => Promise<void>
  /** Drop every packet from and to this host, the control port excepted. Undo heals. */
  cut: () => Promise<Undo>
  /**
   * Take the carrier from its interface, which the product can notice, unlike `cut`. Undo gives it back. Where the control
   * port shares the interface (Docker) it is gone meanwhile: `exec` and `logs` are not.
   */
  unplug: () => Promise<Undo>
  /**
   * Put it on another network of the plan, as a phone that changes its Wi-Fi: its old address goes, it gets the one
   * `placeOn(plan, planned, network)` tells. `planned` stays what it was. Undo puts it back on the network it was on.
   * Rejects with CHANGE_REFUSED when the host has impairments of its own.
   */
  move: (network: string) => Promise<Undo>
}

export interface Router {
  readonly planned: PlannedRouter
  /**
   * Forget every mapping, as a NAT does that was switched off and on. There is nothing to undo. NATs that keep ports,
   * or compute them, come to the same ones again as soon as somebody inside sends; who may come in is forgotten all the same.
   */
  rebind: () => Promise<void>
  /** Its address outside at this moment. */
  publicAddress: () => Promise<string>
  /** Take the next of `outerAddresses(plan, planned)` and forget every mapping. Rejects with CHANGE_REFUSED where nothing is translated. */
  setPublicAddress: () => Promise<Undo>
  /** Become another NAT and forget every mapping. Rejects with CHANGE_REFUSED and every reason. */
  setNat: (nat: NatSpec) => Promise<Undo>
  /** Run a command as the root of its network: `ip`, `nft`, `conntrack`, `node`. */
  exec: (argv: string[], options?: { signal?: AbortSignal }) => Promise<ExecResult>
}

export type HostState = 'starting' | 'running' | 'paused' | 'dead'

export interface HostStatus {
  state: HostState
  cut: boolean
  unplugged: boolean
  /** The network it is on, its own or where it was moved. */
  network: string
  /** Ends nobody asked for since up, in plain words. */
  deaths: string[]
}

export interface TestnetStatus {
  hosts: Record<string, HostStatus>
  /** Why nothing measured from now on can be believed (a shaper died, a router is gone). Empty: all is well. */
  invalid: string[]
}

/** Undoes one act; doing it twice is harmless. */
export type Undo = () => Promise<void>

export interface Testnet {
  readonly plan: Plan
  readonly runtime: RuntimeName
  readonly folder: string
  host: (name: string) => Host
  hosts: () => Host[]
  router: (name: string) => Router
  routers: () => Router[]
  /**
   * Lose every packet that `from` sends to `to`, for each pair, by whatever NATs it travels, and no other; what a third
   * party relays still passes. Acts add up; undo ends this one.
   */
  dropBetween: (pairs: readonly DirectedPair[]) => Promise<Undo>
  /**
   * Give a host or a router (`home-1-nat`) another link, from the next packet on; null is a perfect one. What was shaped
   * and stays so is never unshaped between. Undo gives back what it had. Rejects with CHANGE_REFUSED and every reason;
   * in Docker a host can be impaired only where it has a leg: `link: {}` in the topology gives it one.
   */
  impair: (name: string, link: Link | null) => Promise<Undo>
  /** What runs now. */
  status: () => Promise<TestnetStatus>
  /**
   * What there is to see now, as files in `captures/` of the folder: what crosses every interface for `lookMs` (0: no
   * look), and every router's flows and rules. Never rejects; answers what could not be had, in plain words.
   */
  evidence: (options: { lookMs: number }) => Promise<string[]>
  /** Remove everything; answers what is still there in plain words, empty when nothing is. Idempotent. */
  down: (options?: { progress?: Progress }) => Promise<string[]>
}

/** A thing that is not here, and the one command that gets it. */
export interface Missing {
  what: string
  why: string
  fix: string
}

export interface Runtime {
  name: RuntimeName
  /**
   * What it can do here, and for what it cannot the reason and the one command that mends it; with the versions of what it
   * works with, where those are not its own.
   */
  probe: () => Promise<{ can: Capability[]; versions?: string[]; missing: Missing[] }>
  /** What this plan, or watching it so, needs besides and this machine lacks; empty when it can be brought up. Touches nothing. */
  lacks: (plan: Plan, options: { capture: boolean }) => Promise<Missing[]>
  /** Whether this slot's ports, subnets and names are free. */
  slotFree: (slot: number) => Promise<boolean>
  /** Build everything; resolves when every host's HTTP server listens. On failure everything is removed before it rejects. */
  up: (plan: Plan, options: UpOptions) => Promise<Testnet>
  /**
   * Take hold of a testnet another process brought up, whole, half built or half removed: `down()` of what is attached
   * must remove whatever there is of it. Rejects only when the runtime itself does not answer.
   */
  attach: (plan: Plan, options: { folder: string; run: string }) => Promise<Testnet>
}
