/**
 * What the parts of the netns runtime say to each other.
 *
 *   harness ──(IPC while it starts, then a Unix socket)── keeper ──(IPC)── supervisor ── products
 *
 * The keeper lives in the machine's own network, the supervisor inside the namespaces.
 */
import type { DirectedPair, NatSpec, Plan, PlannedLink, RouterState, ShapingMeans } from '../../netem/index.ts'
import type { ProcessIdentity } from './processes.ts'
import type { TestnetStatus } from './runtime.ts'

/** One host's process: everything but where it runs. */
export interface Program {
  host: string
  /** Arguments for Node. */
  args: string[]
  env: Record<string, string>
  controlPort: number
  logFile: string
}

/** All a keeper needs to bring a testnet up. */
export interface Launch {
  run: string
  folder: string
  plan: Plan
  /** What shapes links; null where nothing does. */
  means: ShapingMeans | null
  /** In the order they are to be started. */
  programs: Program[]
  /** Whether every interface is recorded. */
  capture: boolean
  /** How many may be starting at one time. */
  concurrency: number
}

/** The keeper's own record, `keeper.json` in the run's folder. */
export interface KeeperRecord {
  keeper: ProcessIdentity
  /** The `unshare` process, null until it is started. */
  unshare: ProcessIdentity | null
  /** Path of the Unix socket; shorter than 108 bytes. */
  socket: string
  /** The supervisor's PID, mount and network namespaces, as /proc names them; null until it speaks. */
  namespaces: string[] | null
}

export type ProgressMessage =
  | { type: 'stage'; id: number; title: string }
  | { type: 'stage-end'; id: number; detail?: string }
  | { type: 'note'; text: string }

/** Keeper → harness, over IPC. */
export type KeeperMessage = ProgressMessage | { type: 'up' } | { type: 'failed'; error: WireError }

/** Harness → keeper, over IPC. `release`: stand by yourself from now on. Losing the channel before it ends everything. */
export type HarnessMessage = { type: 'launch'; launch: Launch } | { type: 'release' }

/** Supervisor → keeper. */
export type SupervisorMessage =
  | ProgressMessage
  | { type: 'hello'; namespaces: string[] }
  | { type: 'need-socket'; id: number; port: number }
  | { type: 'up' }
  | { type: 'failed'; error: WireError }
  | { type: 'answer'; id: number; answer: Answer }

/** Keeper → supervisor. A `socket` comes with the bound socket's handle. */
export type SupervisorOrder =
  | { type: 'launch'; launch: Launch }
  | { type: 'socket'; id: number; error?: WireError }
  | { type: 'call'; id: number; call: Call }
  | { type: 'abort'; id: number }
  | { type: 'end' }

/** A request on the Unix socket, one JSON line a connection; closing the connection early aborts it. */
export type Call =
  | { method: 'status' }
  | { method: 'evidence'; lookMs: number }
  | { method: 'exec'; host: string; argv: string[] }
  | { method: 'kill' | 'start' | 'pause' | 'continue' | 'restart' | 'cut' | 'heal'; host: string }
  | { method: 'change'; change: NetworkChange }
  | { method: 'router-exec'; router: string; argv: string[] }
  | { method: 'down' }

/** A change of the network itself, or a look at what was changed. */
export type NetworkChange =
  | { do: 'unplug' | 'plug' | 'network-of'; host: string }
  | { do: 'move'; host: string; network: string }
  | { do: 'rebind' | 'next-address' | 'router-state'; router: string }
  | { do: 'set-nat'; router: string; nat: NatSpec }
  | { do: 'restore'; router: string; state: RouterState }
  | { do: 'drop'; act: string; pairs: readonly DirectedPair[] }
  | { do: 'undrop'; act: string }
  | { do: 'impair'; owner: string; link: PlannedLink }

export type Answer = { ok: true; value: unknown } | { ok: false; error: WireError }

export interface WireError {
  code: string
  message: string
}

export type StatusAnswer = TestnetStatus

/** Longest request or answer line, bytes: two streams of exec output, escaped. */
export const LINE_BYTES_MAX = 8 << 20
/** How much of each stream of an exec is kept, bytes. */
export const EXEC_OUTPUT_BYTES_MAX = 1 << 20

export function toWireError(error: unknown): WireError {
  const { code, message } = error as { code?: unknown; message?: unknown }
  return {
    code: typeof code === 'string' ? code : 'INTERNAL',
    message: typeof message === 'string' ? message : String(error)
  }
}
