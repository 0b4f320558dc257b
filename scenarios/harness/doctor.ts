/** What this machine can run, what is missing, and the one command that gets it. */
import { availableParallelism, totalmem } from 'node:os'
import Table from 'cli-table3'
import { CAPTURE_TOOLS, NAT64_PROGRAM, PORT_MAPPER } from '../../netem/index.ts'
import { EMULATOR } from './guest.ts'
import { findProgram, installCommand } from './programs.ts'
import type { Capability, Missing, RuntimeName } from './runtime.ts'
import { RUNTIME_NAMES, runtimeNamed } from './runtimes.ts'
import { tableStyle } from './table.ts'

export interface Diagnosis {
  node: string
  cores: number
  memoryGiB: number
  runtimes: Record<RuntimeName, { can: Capability[]; versions?: string[]; missing: Missing[] }>
  /** Programs some commands need. */
  tools: Array<{ name: string; here: boolean; what: string; fix: string }>
}

const GIB = 1 << 30
const TOOLS = [
  {
    name: PORT_MAPPER.program,
    what: 'topologies with port mapping, on netns',
    fix: installCommand([PORT_MAPPER.package])
  },
  { name: NAT64_PROGRAM, what: 'networks with IPv6 only, on netns', fix: installCommand([NAT64_PROGRAM]) },
  ...CAPTURE_TOOLS.map(name => ({ name, what: 'captures, on netns', fix: installCommand([name]) })),
  { name: EMULATOR.program, what: 'SCENARIO=netem-guest', fix: installCommand([EMULATOR.package]) },
  { name: 'go', what: 'SCENARIO=interop', fix: 'install Go, 1.26 or newer' },
  { name: 'make', what: 'all commands', fix: 'apt-get install make' },
  { name: 'curl', what: "the README's examples", fix: 'apt-get install curl' },
  { name: 'git', what: 'keeping a clone up to date', fix: 'apt-get install git' }
]

export async function diagnose(): Promise<Diagnosis> {
  const runtimes = await Promise.all(
    RUNTIME_NAMES.map(async name => [name, await (await runtimeNamed(name)).probe()] as const)
  )
  const tools = await Promise.all(TOOLS.map(async tool => ({ ...tool, here: (await findProgram(tool.name)) !== null })))
  return {
    node: process.versions.node,
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / GIB),
    runtimes: Object.fromEntries(runtimes) as Diagnosis['runtimes'],
    tools
  }
}

export function diagnosisText(diagnosis: Diagnosis): string {
  const table = new Table({ head: ['what', 'here', 'mend it'], style: tableStyle() })
  table.push(['Node.js', diagnosis.node, ''], ['machine', `${diagnosis.cores} cores, ${diagnosis.memoryGiB} GiB`, ''])
  for (const [name, { can, versions = [], missing }] of Object.entries(diagnosis.runtimes)) {
    if (missing.length === 0)
      table.push([`RUNTIME=${name}`, `${['yes', ...versions].join(', ')}: ${can.join(' ')}`, ''])
    for (const { what, why, fix } of missing) table.push([`RUNTIME=${name}`, `no ${what}: ${why}`, fix])
  }
  for (const { name, here, what, fix } of diagnosis.tools)
    table.push([`${name} (${what})`, here ? 'yes' : 'no', here ? '' : fix])
  const works = Object.entries(diagnosis.runtimes).filter(([, { missing }]) => missing.length === 0)
  const last =
    works.length === 0
      ? 'No runtime works here yet: see the last column.'
      : `make testnet-up works here (${works.map(([name]) => name).join(', ')}).`
  return `${table.toString()}\n${last}`
}
