/**
 * A plan laid out in Linux network namespaces: one for each host and router, joined by bridges in the caller's own
 * namespace. The caller must be root inside a user, network, mount and PID namespace made for this one testnet,
 * with a tmpfs on /run: there names cannot collide, bridges have no address and no uplink, and the end of the
 * caller ends everything. This file is the only caller of `ip netns`.
 */
import { availableParallelism } from 'node:os'
import type { PlacedDaemon } from './daemons.ts'
import { UnknownHostError } from './errors.ts'
import { CommandFailedError, type Run, run as runCommand } from './exec.ts'
import { IPV6_PREFIX_LENGTH } from './ipv6.ts'
import { labNames, nat64Daemons } from './nat64.ts'
import type { Plan, PlannedAttachment, PlannedHost, PlannedNetwork, PlannedRouter } from './plan.types.ts'
import type { ShapedQueue, ShapingMeans, Standing } from './shape.ts'
import type { ShaperQueue } from './shaper.types.ts'
import { type Fitting, fitHost, fitRouter, type HostInterface, type Step, scriptOf } from './steps.ts'

/** Where `ip netns` keeps its names. */
const NAMESPACES_FOLDER = '/run/netns'
/** Interface of a host. */
export const HOST_INTERFACE = 'eth0'
export const ROUTER_INTERFACES = { inside: 'inside', outside: 'outside' } as const
/** Scripts that run at a time. */
const PARALLEL = 2 * availableParallelism()

export interface LayOutOptions {
  /** What shapes links; `capabilities` tells which this machine has. */
  means: ShapingMeans
  /** Default: `run` of exec.ts. */
  run?: Run
  signal?: AbortSignal
}

/** What `layOut` needs the caller to do next. */
export interface LaidOut {
  /** To be served by a shaper (`startShaper`) before anything is measured; until then these links drop everything. */
  queues: ShaperQueue[]
  /** To be started before anything is measured. */
  daemons: PlacedDaemon[]
  /** What shaping left in each namespace, by host or router. */
  standings: Map<string, Standing>
}

/** File of a host's or router's network namespace. */
export function namespaceFile(name: string): string {
  return `${NAMESPACES_FOLDER}/${name}`
}

/** The argv that runs a command inside a host's or router's network. Everything but the network stays the caller's. */
export function argvIn(name: string, argv: string[]): string[] {
  return ['nsenter', `--net=${namespaceFile(name)}`, '--', ...argv]
}

/**
 * Build every network, router and host of the plan. When it rejects, `tearDown` removes what was built.
 * @throws CommandFailedError with the command and what it said; DuplicatesByPeerError before anything is built
 */
export async function layOut(plan: Plan, { means, run = runCommand, signal }: LayOutOptions): Promise<LaidOut> {
  const options = signal === undefined ? {} : { signal }
  const fitted = [
    ...plan.routers.map(router => ({ name: router.name, fitting: fitRouterNamespace(router, means) })),
    ...plan.hosts.map(host => ({ name: host.name, fitting: fitHostNamespace(host, networkOf(plan, host), means) }))
  ]
  await run(['ip', '-batch', '-'], { input: lines(fabricCommands(plan)), ...options })
  await inParallel(fitted, async ({ name, fitting }) => {
    await run(argvIn(name, ['sh', '-s']), { input: scriptOf(fitting), ...options })
  })
  return {
    queues: fitted.flatMap(({ name, fitting }) => shaperQueues(name, fitting.queues)),
    standings: new Map(fitted.map(({ name, fitting }) => [name, fitting.standing])),
    daemons: plan.routers.flatMap(({ name, ipv6 }) =>
      ipv6 === undefined
        ? []
        : nat64Daemons(name, ipv6, labNames(plan)).map(daemon => ({ ...daemon, enter: argv => argvIn(name, argv) }))
    )
  }
}

/** Queues as the shaper knows them: `home-1-nat up`. */
export function shaperQueues(owner: string, queues: ShapedQueue[]): ShaperQueue[] {
  return queues.map(({ name, ...rest }) => ({ name: `${owner} ${name}`, namespace: namespaceFile(owner), ...rest }))
}

/** Remove everything of the plan, whatever of it is there. Idempotent. */
export async function tearDown(plan: Plan, { run = runCommand }: { run?: Run } = {}): Promise<void> {
  const { namespaces, links } = await present(plan, run)
  const commands = [...namespaces.map(name => `netns del ${name}`), ...links.map(name => `link del ${name}`)]
  // Deleting a namespace deletes its interfaces and their peers, perhaps before their own turn comes.
  if (commands.length > 0) await run(['ip', '-force', '-batch', '-'], { input: lines(commands) }).catch(ignoreFailure)
  const rest = await leftovers(plan, { run })
  const own = rest.map(what => what.split(' ').at(-1)!)
  if (own.length > 0)
    await run(['ip', '-force', '-batch', '-'], { input: lines(own.map(name => `link del ${name}`)) }).catch(
      ignoreFailure
    )
}

/** What of the plan is still there, in plain words; empty when nothing is. */
export async function leftovers(plan: Plan, { run = runCommand }: { run?: Run } = {}): Promise<string[]> {
  const { namespaces, links } = await present(plan, run)
  return [...namespaces.map(name => `network namespace ${name}`), ...links.map(name => `interface ${name}`)]
}

async function present(plan: Plan, run: Run): Promise<{ namespaces: string[]; links: string[] }> {
  const ours = new Set([...plan.hosts, ...plan.routers].map(({ name }) => name))
  const ourLinks = new Set([
    ...plan.networks.map(({ bridge }) => bridge),
    ...attachmentsOf(plan).map(({ port }) => port)
  ])
  const listed = await run(['ip', '-json', 'netns', 'list'])
  const links = await run(['ip', '-json', 'link', 'show'])
  return {
    namespaces: (JSON.parse(listed.stdout || '[]') as Array<{ name: string }>)
      .map(({ name }) => name)
      .filter(name => ours.has(name)),
    links: (JSON.parse(links.stdout || '[]') as Array<{ ifname: string }>)
      .map(({ ifname }) => ifname)
      .filter(name => ourLinks.has(name))
  }
}

function ignoreFailure(error: unknown): void {
  if (!(error instanceof CommandFailedError)) throw error
}

/** A veth pair: one end in a namespace, the other a port of a bridge. */
interface Attachment {
  owner: string
  interfaceName: string
  port: string
  bridge: string
}

/** Every attachment of the plan, hosts first; the port's name is its number. */
function attachmentsOf(plan: Plan): Attachment[] {
  const bridges = new Map(plan.networks.map(({ name, bridge }) => [name, bridge]))
  const ends: Array<[string, string, PlannedAttachment]> = [
    ...plan.hosts.map(host => [host.name, HOST_INTERFACE, host.attachment] as [string, string, PlannedAttachment]),
    ...plan.routers.flatMap<[string, string, PlannedAttachment]>(router => [
      [router.name, ROUTER_INTERFACES.inside, router.inside],
      [router.name, ROUTER_INTERFACES.outside, router.outside]
    ])
  ]
  return ends.map(([owner, interfaceName, { network }], index) => ({
    owner,
    interfaceName,
    port: `wp${plan.slot}-${index}`,
    bridge: bridges.get(network)!
  }))
}

/** Bridge port of a host's interface. @throws UnknownHostError */
export function portOf(plan: Plan, host: string): string {
  if (!plan.hosts.some(({ name }) => name === host)) throw new UnknownHostError(host, plan)
  return attachmentsOf(plan).find(({ owner }) => owner === host)!.port
}

/** Bridges get no address: the caller's namespace is no place a packet can be sent to or come from. */
function fabricCommands(plan: Plan): string[] {
  return [
    ...plan.networks.map(({ bridge }) => `link add ${bridge} up type bridge stp_state 0 mcast_snooping 0`),
    ...[...plan.routers, ...plan.hosts].map(({ name }) => `netns add ${name}`),
    ...attachmentsOf(plan).map(
      ({ owner, interfaceName, port, bridge }) =>
        `link add ${port} up master ${bridge} type veth peer name ${interfaceName} netns ${owner}`
    )
  ]
}

const forEachIpv6 = (word: string, value: number): string =>
  `for d in /proc/sys/net/ipv6/conf/*; do test ! -e $d/${word} || echo ${value} > $d/${word}; done`

/** Where a network has no IPv6, nothing may speak it by itself. */
const NO_IPV6: Step = { argv: ['sh', '-c', forEachIpv6('disable_ipv6', 1)] }
/** Addresses are the plan's alone: no router advertises any, and a lab looks for no duplicates (a second each). */
const PLANNED_IPV6: Step = {
  argv: ['sh', '-c', ['accept_ra', 'autoconf', 'accept_dad'].map(word => forEachIpv6(word, 0)).join('; ')]
}

/** @param isIpv6Only the network has no IPv4 */
function addressSteps(
  interfaceName: string,
  { address, prefixLength, ipv6 }: PlannedAttachment,
  isIpv6Only = false
): Step[] {
  const add = (cidr: string, ...more: string[]): Step => ({
    argv: ['ip', 'address', 'add', cidr, 'dev', interfaceName, ...more]
  })
  return [
    ...(isIpv6Only ? [] : [add(`${address}/${prefixLength}`)]),
    ...(ipv6 === undefined ? [] : [add(`${ipv6}/${IPV6_PREFIX_LENGTH}`, 'nodad')]),
    { argv: ['ip', 'link', 'set', interfaceName, 'up'] }
  ]
}

const LO_UP: Step = { argv: ['ip', 'link', 'set', 'lo', 'up'] }

function fitRouterNamespace(router: PlannedRouter, means: ShapingMeans): Fitting {
  const fitting = fitRouter(router, ROUTER_INTERFACES, { means })
  return {
    ...fitting,
    steps: [
      router.ipv6 === undefined ? NO_IPV6 : PLANNED_IPV6,
      LO_UP,
      ...addressSteps(ROUTER_INTERFACES.inside, router.inside),
      ...addressSteps(ROUTER_INTERFACES.outside, router.outside),
      ...fitting.steps
    ]
  }
}

/** A host's interface on a network of the plan. */
export function hostInterface({ address, ipv6 }: PlannedAttachment, network: PlannedNetwork): HostInterface {
  const { subnet, ipv6: own } = network
  const at = { interfaceName: HOST_INTERFACE, address, subnet, control: null }
  return own === undefined || ipv6 === undefined ? at : { ...at, ipv6: { address: ipv6, subnet: own.subnet } }
}

function fitHostNamespace(host: PlannedHost, network: PlannedNetwork, means: ShapingMeans): Fitting {
  const fitting = fitHost(host, hostInterface(host.attachment, network), { means })
  const steps = [
    host.ipv6 === undefined ? NO_IPV6 : PLANNED_IPV6,
    LO_UP,
    ...addressSteps(HOST_INTERFACE, host.attachment, host.isIpv6Only)
  ]
  return { ...fitting, steps: [...steps, ...fitting.steps] }
}

function networkOf(plan: Plan, host: PlannedHost): PlannedNetwork {
  return plan.networks.find(({ name }) => name === host.attachment.network)!
}

function lines(commands: string[]): string {
  return commands.map(command => `${command}\n`).join('')
}

/** When one fails the others end what they are at, begin nothing new, and only then the failure is told. */
async function inParallel<T>(items: T[], act: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  let failure: { error: unknown } | null = null
  const worker = async () => {
    for (const item of rest) {
      if (failure !== null) return
      try {
        await act(item)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: PARALLEL }, worker))
  if (failure !== null) throw (failure as { error: unknown }).error
}
