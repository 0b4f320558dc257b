/** Hosts and storage nodes behind NATs ask their routers for open ports, and see what routers do with that. */
import {
  askMapping,
  type MappingAnswer,
  type NetworkSpec,
  PORT_MAPPING_PROTOCOLS,
  type PortMappingProtocol,
  type PortMappingSpec,
  type Topology
} from '../netem/index.ts'
import { greetTcp } from './harness/greet-program.ts'
import { nodeProgram, type ProbeResult, probeUdp, reflectUdp } from './harness/probe-programs.ts'
import type { Host } from './harness/runtime.ts'
import { type Story, scenario } from './harness/scenario.ts'

const INNER_PORT = 42_000
const ANSWER_WITHIN_MS = 8000
/** How long nobody may answer where nobody should. */
const QUIET_MS = 1000
/** How long somebody may take who should. */
const PATIENT_MS = 5000
const REFLECT_FOR_MS = 180_000
/** A node asks its router at its start and believes it when a relay sees it there; silent protocols are waited out. */
const NODE_WITHIN_MS = 30_000
const SECOND_MS = 1000
const SHORT_S = 8
const LONG_S = 3600
/** Outer ports by protocol, so that no request finds another's. */
const OUTER_PORT: Record<PortMappingProtocol, number> = { upnp: 7000, 'nat-pmp': 7001, pcp: 7002 }
const SHORT_PORT = 7100

const home = (nat: NetworkSpec['nat'], portMapping: PortMappingSpec): NetworkSpec => ({
  behind: 'internet',
  nat: nat!,
  portMapping
})
const ALL = [...PORT_MAPPING_PROTOCOLS]

const HOMES = ['sound', 'refusing', 'forgetful', 'lying', 'old'] as const
type Home = (typeof HOMES)[number]

const topology: Topology = {
  name: 'port-mapping',
  description: 'Five homes whose routers map ports: soundly, never, not for long, with a lie, and by UPnP alone.',
  networks: {
    internet: {},
    sound: home('symmetric', { protocols: ALL }),
    refusing: home('port-preserving', { protocols: ALL, fault: 'refuse' }),
    forgetful: home('symmetric', { protocols: ALL, fault: 'short-lease', leaseS: SHORT_S }),
    lying: home('port-preserving', { protocols: ['upnp', 'nat-pmp'], fault: 'lying-address' }),
    old: home('symmetric', { protocols: ['upnp'] })
  },
  hosts: {
    outsider: { role: 'client', on: 'internet' },
    // The lab's own proof needs a second address outside.
    another: { role: 'client', on: 'internet' },
    relay: { role: 'relay', on: 'internet' },
    chain: { role: 'chain', on: 'internet' },
    ...Object.fromEntries(
      HOMES.flatMap(on => [
        [`in-${on}`, { role: 'client', on }] as const,
        [`node-${on}`, { role: 'node', on }] as const
      ])
    )
  }
}

export default scenario({
  about:
    'routers open ports by UPnP, NAT-PMP and PCP, refuse, forget early, or lie about their address, as they are told; ' +
    'a storage node is reached where its router opened a port, and says that it is not where it did not',
  topology,
  needs: ['nat', 'exec', 'port-mapping'],
  withinMs: 180_000,

  async story(story) {
    const { hosts, step, signal } = story
    const ending = new AbortController()
    const reflecting = hosts('client').map(host => {
      const options = { signal: AbortSignal.any([signal, ending.signal]) }
      return host.exec(nodeProgram(reflectUdp, [INNER_PORT], REFLECT_FOR_MS), options).catch(() => undefined)
    })
    try {
      step('ask every router by every protocol')
      await Promise.all([
        ...ALL.map(async protocol => await grants(story, 'sound', protocol)),
        ...ALL.map(async protocol => await refuses(story, protocol)),
        ...ALL.map(async protocol => await forgets(story, protocol)),
        ...(['upnp', 'nat-pmp'] as const).map(async protocol => await lies(story, protocol)),
        lapses(story),
        keepsSilent(story),
        ...HOMES.map(async home => await nodeIs(story, home))
      ])
    } finally {
      ending.abort()
      await Promise.all(reflecting)
    }
  }
})

const outsideOf = ({ testnet }: Story, network: string): string =>
  testnet.plan.routers.find(({ nat }) => nat === network)!.outside.address

async function run(on: Host, argv: string[], signal: AbortSignal): Promise<string> {
  const { code, stdout, stderr } = await on.exec(argv, { signal })
  if (code !== 0) throw new Error(`a program in ${on.planned.name} ended with ${code}: ${stderr}`)
  return stdout
}

interface Wish {
  outerPort: number
  lifetimeS: number
  withinMs?: number
}

async function ask(story: Story, network: string, protocol: PortMappingProtocol, wish: Wish): Promise<MappingAnswer> {
  const on = story.host(`in-${network}`)
  const { outerPort, lifetimeS, withinMs = ANSWER_WITHIN_MS } = wish
  const router = on.planned.defaultGateway!
  const request = { protocol, router, transport: 'udp' as const, innerPort: INNER_PORT, outerPort, lifetimeS }
  return await story.history.operation(
    'map a port',
    { network, protocol, outerPort, lifetimeS },
    async () => JSON.parse(await run(on, nodeProgram(askMapping, request, withinMs), story.signal)) as MappingAnswer,
    answer => answer
  )
}

/** Whether somebody inside answers who knocks at the router's outer address, each time from a port nobody has seen. */
async function reaches(story: Story, network: string, port: number, withinMs: number): Promise<boolean> {
  const argv = nodeProgram(probeUdp, [`${outsideOf(story, network)}:${port}`], 0, withinMs, withinMs)
  const { seen } = JSON.parse(await run(story.host('outsider'), argv, story.signal)) as ProbeResult
  return seen[0]?.address != null
}

function tell(story: Story, network: string, protocol: PortMappingProtocol, what: string, answer: MappingAnswer): void {
  const { code, address, lifetimeS } = answer
  story.row({ router: network, protocol, what, code, address, lifetimeS })
}

async function opens(
  story: Story,
  network: string,
  protocol: PortMappingProtocol,
  wish: Wish = { outerPort: OUTER_PORT[protocol], lifetimeS: LONG_S }
): Promise<MappingAnswer> {
  const { check } = story
  const title = `${network}, ${protocol}`
  const before = await reaches(story, network, wish.outerPort, QUIET_MS)
  check.that(`${title}: nobody comes in before it is asked`, !before)
  const answer = await ask(story, network, protocol, wish)
  check.that(`${title}: the mapping is granted`, answer.granted, JSON.stringify(answer))
  const after = await reaches(story, network, answer.outerPort ?? wish.outerPort, PATIENT_MS)
  check.that(`${title}: who knocks at the mapped port is answered from inside`, after)
  return answer
}

async function grants(story: Story, network: string, protocol: PortMappingProtocol): Promise<void> {
  const answer = await opens(story, network, protocol)
  story.check.equal(`${network}, ${protocol}: it names its address`, answer.address, outsideOf(story, network))
  tell(story, network, protocol, 'grants', answer)
}

async function refuses(story: Story, protocol: PortMappingProtocol): Promise<void> {
  const wish = { outerPort: OUTER_PORT[protocol], lifetimeS: LONG_S }
  const answer = await ask(story, 'refusing', protocol, wish)
  const { answered, granted, code } = answer
  const isRefusal = answered && !granted && code === (protocol === 'upnp' ? 606 : 2)
  story.check.that(`refusing, ${protocol}: it says no, in the protocol's words`, isRefusal, JSON.stringify(answer))
  const after = await reaches(story, 'refusing', wish.outerPort, QUIET_MS)
  story.check.that(`refusing, ${protocol}: nobody comes in`, !after)
  tell(story, 'refusing', protocol, 'refuses', answer)
}

async function isClosed(story: Story, network: string, protocol: PortMappingProtocol, port: number): Promise<void> {
  await story.check.eventually(
    `${network}, ${protocol}: the port closes when its lease is over`,
    async () => await reaches(story, network, port, QUIET_MS),
    isOpen => !isOpen
  )
}

async function forgets(story: Story, protocol: PortMappingProtocol): Promise<void> {
  const answer = await opens(story, 'forgetful', protocol)
  const promised = protocol === 'pcp' ? SHORT_S : LONG_S
  story.check.equal(`forgetful, ${protocol}: what it promises`, answer.lifetimeS, promised)
  await isClosed(story, 'forgetful', protocol, OUTER_PORT[protocol])
  tell(story, 'forgetful', protocol, 'forgets', answer)
}

/** A sound router, asked for little. */
async function lapses(story: Story): Promise<void> {
  await ask(story, 'sound', 'nat-pmp', { outerPort: SHORT_PORT, lifetimeS: SHORT_S })
  await isClosed(story, 'sound', 'nat-pmp', SHORT_PORT)
}

async function lies(story: Story, protocol: PortMappingProtocol): Promise<void> {
  const answer = await opens(story, 'lying', protocol)
  const address = outsideOf(story, 'lying')
  const isLie = answer.address !== null && answer.address !== address
  story.check.that(
    `lying, ${protocol}: it names an address that is not its own`,
    isLie,
    `${answer.address}, not ${address}`
  )
  tell(story, 'lying', protocol, 'lies', answer)
}

async function keepsSilent(story: Story): Promise<void> {
  const wish = { outerPort: OUTER_PORT.pcp, lifetimeS: LONG_S, withinMs: QUIET_MS }
  const answer = await ask(story, 'lying', 'pcp', wish)
  story.check.that('lying, pcp: a router without it does not answer', !answer.answered, JSON.stringify(answer))
}

/** What a node behind each router says of itself in the end. */
const NODES: Record<Home, { state: 'public' | 'private'; problem: RegExp | null }> = {
  sound: { state: 'public', problem: null },
  refusing: { state: 'private', problem: /refuses/ },
  forgetful: { state: 'public', problem: null },
  lying: { state: 'private', problem: /no peer sees us at/ },
  old: { state: 'public', problem: null }
}

/** The part of a node's /info that this is about. */
interface NodeInfo {
  reachability: { state: string; addresses: string[]; why: string; since: string }
  portMapping: { problem: string | null; ports: Array<{ protocol: string; confirmed: boolean }> }
}

async function infoOf(story: Story, home: Home): Promise<NodeInfo> {
  const signal = AbortSignal.any([story.signal, AbortSignal.timeout(ANSWER_WITHIN_MS)])
  const response = await fetch(`${story.host(`node-${home}`).control}/info`, { signal })
  const { reachability, portMapping } = (await response.json()) as NodeInfo
  return { portMapping, reachability }
}

async function nodeIs(story: Story, home: Home): Promise<void> {
  const { check } = story
  const { state, problem } = NODES[home]
  const outside = outsideOf(story, home)
  const info = await check.eventually(
    `${home}: the node says that it is ${state}`,
    async () => await infoOf(story, home),
    ({ reachability, portMapping }) =>
      reachability.state === state && (problem === null || problem.test(portMapping.problem ?? '')),
    { withinMs: NODE_WITHIN_MS }
  )
  const { reachability, portMapping } = info
  const direct = reachability.addresses.filter(address => !address.includes('/p2p-circuit'))
  const by = portMapping.ports.map(({ protocol }) => protocol)[0] ?? null
  story.row({
    router: home,
    protocol: by,
    what: `a node is ${reachability.state}`,
    code: null,
    address: direct[0] ?? null,
    lifetimeS: null
  })
  if (state === 'private') {
    check.equal(`${home}: the node tells nobody of an address outside`, direct, [])
    return
  }
  check.that(
    `${home}: all its addresses are its router's`,
    direct.length > 0 && direct.every(address => address.startsWith(`/ip4/${outside}/`)),
    direct.join(', ')
  )
  if (home === 'old') check.equal('old: it was asked by UPnP', by, 'upnp')
  // Longer than the leases of the router that forgets.
  if (home === 'forgetful') await new Promise(resolve => setTimeout(resolve, 2 * SHORT_S * SECOND_MS))
  const port = Number(/\/tcp\/(\d+)/.exec(direct.find(address => /\/tcp\/\d+$/.test(address)) ?? '')?.[1])
  await check.eventually(
    `${home}: somebody outside, who never met it, is greeted by it`,
    async () => await run(story.host('outsider'), nodeProgram(greetTcp, outside, port, PATIENT_MS), story.signal),
    greeting => greeting.includes('/multistream/1.0.0')
  )
}
