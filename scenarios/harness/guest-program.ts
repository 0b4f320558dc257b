/**
 * What runs in the guest: asks the machine what it can do, lays a plan out with what it found, measures links in it and
 * says every answer as a line of JSON. It judges nothing.
 */
import { readFile } from 'node:fs/promises'
import {
  argvIn,
  type CapabilityReport,
  capabilities,
  linkProbeArgv,
  openLab,
  type Plan,
  type PlannedLink,
  run,
  type ShapingMeans,
  type StreamAsk,
  type StreamSeen,
  shapingMeans
} from '../../netem/index.ts'
import { nodeProgram, type ProbeResult, probeUdp, reflectUdp } from './probe-programs.ts'

/** Streams between two hosts. */
export interface GuestProbe {
  name: string
  /** Links that are changed first, while everything stands: host or router → its new link. */
  change?: Record<string, PlannedLink>
  /** The host that asks. */
  from: string
  /** The host that answers. */
  to: string
  streams: StreamAsk[]
}

export interface GuestAsk {
  plan: Plan
  probes: GuestProbe[]
  /** A host behind a NAT, and the two it asks who they see. */
  nat: { from: string; to: [string, string] }
}

/** One thing that the guest says. */
export type GuestWord =
  | { capabilities: CapabilityReport[]; means: ShapingMeans | null }
  | { nat: ProbeResult }
  | { name: string; seen: StreamSeen[] }
  | { left: string[] }
  /** Why it ends before its end. */
  | { failed: string }

const LINK_PORT = 46_001
const NAT_PORTS = [46_002, 46_003]
/** Of the guest's own clock, which leaps over idleness. */
const FOR_MS = 3_600_000
const ANSWER_WITHIN_MS = 10_000
const ROUNDS = 5

async function main(): Promise<void> {
  const { plan, probes, nat } = JSON.parse(await readFile('/guest/input.json', 'utf8')) as GuestAsk
  const reports = await capabilities()
  const means = shapingMeans(reports)
  say({ capabilities: reports, means })
  if (means === null) return
  const lab = await openLab(plan, { means, onShaperDeath: fail, onDaemonDeath: fail })
  const addressOf = (name: string): string => plan.hosts.find(host => host.name === name)!.attachment.address
  const inside = async (host: string, argv: string[]): Promise<string> =>
    (await run(argvIn(host, argv), { timeoutMs: FOR_MS })).stdout

  // They end with this process, which is the first of its PID namespace.
  const reflect = (host: string, argv: string[]): void => void inside(host, argv).catch(fail)
  for (const host of new Set(probes.map(({ to }) => to)))
    reflect(host, linkProbeArgv({ reflect: { port: LINK_PORT, forMs: FOR_MS } }))
  for (const host of nat.to) reflect(host, nodeProgram(reflectUdp, NAT_PORTS, FOR_MS))

  const targets = nat.to.flatMap(host => NAT_PORTS.map(port => `${addressOf(host)}:${port}`))
  const asked = await inside(nat.from, nodeProgram(probeUdp, targets, ROUNDS, ANSWER_WITHIN_MS, ANSWER_WITHIN_MS))
  say({ nat: JSON.parse(asked) as ProbeResult })
  // One after another: the machine has one processor.
  for (const { name, change = {}, from, to, streams } of probes) {
    for (const [owner, link] of Object.entries(change)) await lab.impair(owner, link)
    const probe = { address: addressOf(to), port: LINK_PORT, streams }
    say({ name, seen: JSON.parse(await inside(from, linkProbeArgv({ probe }))) as StreamSeen[] })
  }
  say({ left: await lab.tearDown() })
}

function say(word: GuestWord): void {
  process.stdout.write(`${JSON.stringify(word)}\n`)
}

function fail(error: Error): never {
  console.error(error)
  say({ failed: error.message })
  process.exit(1)
}

main().then(() => process.exit(0), fail)
