/**
 * A leg: the process that owns a network in Docker, as a router between two networks or beside a host whose link is
 * impaired. It makes its network what the environment says (`leg-config.ts`), writes the ready file, and stays.
 * When its shaper or a daemon dies it takes the ready file away and stays, so that this is seen.
 */
import { readFileSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type DaemonDiedError, startDaemons } from './daemons.ts'
import { CommandFailedError, run } from './exec.ts'
import { IPV6_PREFIX_LENGTH } from './ipv6.ts'
import { bridgeOf, type LegAddress, type LegConfig, networkOf, readLegConfig } from './leg-config.ts'
import { LEG_SOCKET, serveControl } from './leg-control.ts'
import { nat64Daemons } from './nat64.ts'
import type { PlannedLink, PlannedRoute } from './plan.types.ts'
import { type PortMapper, startPortMapper } from './port-mapper.ts'
import type { ShapedQueue, ShapingMeans, Standing } from './shape.ts'
import { type Shaper, type ShaperDiedError, startShaper } from './shaper.ts'
import { type Fitting, fitHost, fitRouter, refitHost, refitRouter } from './steps.ts'

/** An engine attaches all networks before the start; an older Compose may be a moment late. */
const INTERFACES_TIMEOUT_MS = 10_000
const POLL_EVERY_MS = 50

/** Thrown when no interface has an address that the environment names. */
class NoInterfaceError extends Error {
  override readonly name = 'NoInterfaceError'
  readonly code = 'NO_INTERFACE'

  constructor(address: string) {
    super(`no interface has the address ${address}; attach this container to that network with that address`)
  }
}

/** Thrown when the kernel is not set as needed and cannot be set from here. */
class SysctlMissingError extends Error {
  override readonly name = 'SysctlMissingError'
  readonly code = 'SYSCTL_MISSING'

  constructor(settings: string[]) {
    super(`the container needs sysctls that it cannot set itself; start it with: ${settings.join(', ')}`)
  }
}

interface Interface {
  name: string
  prefixLength: number
  /** Its global IPv6 address with its network, or null. */
  ipv6: { address: string; subnet: string } | null
}

async function interfaceWith(address: string): Promise<Interface> {
  const deadlineMs = performance.now() + INTERFACES_TIMEOUT_MS
  for (;;) {
    const { stdout } = await run(['ip', '-json', 'address', 'show'])
    const links = JSON.parse(stdout) as Array<{
      ifname: string
      addr_info: Array<{ local?: string; prefixlen: number; family: string; scope: string }>
    }>
    for (const { ifname, addr_info } of links) {
      const own = addr_info.find(({ local }) => local === address)
      const global = addr_info.find(({ family, scope }) => family === 'inet6' && scope === 'global')?.local
      // Networks of the lab are `2a11:10:1::/64`, written without zeros.
      const ipv6 =
        global === undefined ? null : { address: global, subnet: `${global.split('::')[0]}::/${IPV6_PREFIX_LENGTH}` }
      if (own !== undefined) return { name: ifname, prefixLength: own.prefixlen, ipv6 }
    }
    if (performance.now() > deadlineMs) throw new NoInterfaceError(address)
    await delay(POLL_EVERY_MS)
  }
}

/** Configuration and leases of the port mapping daemon, beside the ready file. */
const PORT_MAPPER_FOLDER = 'portmap'

/** A leg may not make a scratch namespace, so it tries netem on its own loopback for a moment. */
async function findMeans(): Promise<ShapingMeans> {
  try {
    await run(['tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'netem', 'delay', '0ms'])
    await run(['tc', 'qdisc', 'del', 'dev', 'lo', 'root'])
    return 'netem'
  } catch (error) {
    if (error instanceof CommandFailedError) return 'nfqueue'
    throw error
  }
}

async function currentDefaultGateway(family: '-4' | '-6' = '-4'): Promise<string | null> {
  const { stdout } = await run(['ip', family, '-json', 'route', 'show', 'default'])
  return (JSON.parse(stdout || '[]') as Array<{ gateway?: string }>)[0]?.gateway ?? null
}

const isIpv4 = ({ to }: PlannedRoute): boolean => !to.includes(':')

/** An attachment of this container's: how its link is made first, and again with another. */
interface Attached {
  /** Own address, by which it is asked for. */
  address: string
  first: () => Fitting
  refit: (link: PlannedLink, standing: Standing) => Pick<Fitting, 'steps' | 'queues' | 'standing'> & Partial<Fitting>
}

async function attachAsRouter(
  config: LegConfig,
  router: NonNullable<LegConfig['router']>,
  means: ShapingMeans
): Promise<Attached> {
  const [inside, outside] = [await interfaceWith(router.inside.address), await interfaceWith(router.outside.address)]
  const { address } = router.outside
  const link = config.links.find(each => each.address === address) ?? { up: null, down: null }
  const attached = ({ address: own, prefixLength }: LegAddress) => ({ network: '', address: own, prefixLength })
  const planned = {
    name: router.name,
    behaviour: router.behaviour,
    ...(router.ipv6 === null ? {} : { ipv6: router.ipv6 }),
    insideHost: router.insideHost,
    inside: attached(router.inside),
    outside: attached(router.outside),
    insideGateway: router.gateway.address,
    outsideGateway: router.uplink,
    routes: config.routes.filter(isIpv4),
    link,
    ...(router.portMapping === null ? {} : { portMapping: router.portMapping })
  }
  const interfaces = { inside: inside.name, outside: outside.name }
  // Whatever default route the engine chose among two networks, a router has one only behind another router.
  if ((await currentDefaultGateway()) !== null) await run(['ip', 'route', 'del', 'default'])
  if (router.ipv6 !== null) await run(['ip', '-6', 'route', 'flush', 'default'])
  return {
    address,
    first: () => fitRouter(planned, interfaces, { means }),
    refit: (next, standing) => refitRouter({ ...planned, link: next }, interfaces, { means, standing })
  }
}

async function attachAsHost(config: LegConfig, means: ShapingMeans): Promise<Attached[]> {
  const defaultGateway = await currentDefaultGateway()
  return Promise.all(
    config.links.map(async ({ address, ...link }) => {
      const { name, prefixLength, ipv6 } = await interfaceWith(address)
      const own = { address, prefixLength }
      const host = {
        defaultGateway,
        routes: config.routes.filter(isIpv4),
        ipv6: {
          defaultGateway: ipv6 === null ? null : await currentDefaultGateway('-6'),
          routes: config.routes.filter(route => !isIpv4(route))
        },
        link
      }
      const at = {
        interfaceName: name,
        address,
        subnet: networkOf(own),
        control: bridgeOf(own),
        ...(ipv6 === null ? {} : { ipv6 })
      }
      return {
        address,
        first: () => fitHost(host, at, { means }),
        refit: (next, standing) => refitHost({ ...host, link: next }, at, { means, standing })
      } satisfies Attached
    })
  )
}

function checkSysctls(sysctls: Record<string, string>): void {
  const missing = Object.entries(sysctls).filter(
    ([name, value]) => readFileSync(`/proc/sys/${name.replaceAll('.', '/')}`, 'utf8').trim() !== value
  )
  if (missing.length > 0) throw new SysctlMissingError(missing.map(([name, value]) => `${name}=${value}`))
}

function log(level: string, msg: string, details: object = {}): void {
  process.stderr.write(`${JSON.stringify({ level, time: Date.now(), name: 'leg', msg, ...details })}\n`)
}

async function mapPorts(config: LegConfig, onDeath: (error: DaemonDiedError) => void): Promise<PortMapper | null> {
  const { router } = config
  if (router === null || router.portMapping === null) return null
  const { name, portMapping, gateway } = router
  const insideSubnet = networkOf(router.inside)
  const outsideInterface = (await interfaceWith(router.outside.address)).name
  return await startPortMapper({
    router: name,
    portMapping,
    place: { outsideInterface, gateway: gateway.address, prefixLength: router.inside.prefixLength, insideSubnet },
    folder: join(dirname(config.readyFile), PORT_MAPPER_FOLDER),
    inside: argv => argv,
    onDeath
  })
}

async function start(config: LegConfig): Promise<{ stop: () => Promise<void> }> {
  await rm(config.readyFile, { force: true })
  const means = await findMeans()
  const { router } = config
  const attached = router === null ? await attachAsHost(config, means) : [await attachAsRouter(config, router, means)]
  const isBroken = (error: Error & { code: string }): void => {
    log('error', error.message, { code: error.code })
    void rm(config.readyFile, { force: true })
  }
  const links = await shapeAll(attached, isBroken)
  const own =
    router?.ipv6 == null
      ? []
      : nat64Daemons(router.name, router.ipv6, config.names).map(daemon => ({
          ...daemon,
          enter: (argv: string[]) => argv
        }))
  const daemons = await startDaemons(own, { onDeath: isBroken })
  const mapper = await mapPorts(config, isBroken)
  const folder = dirname(config.readyFile)
  await mkdir(folder, { recursive: true })
  const control = await serveControl(join(folder, basename(LEG_SOCKET)), async ({ address, link }) => {
    await links.impair(address, link)
    log('info', 'link changed', { address, ...link })
  })
  await writeFile(config.readyFile, `${JSON.stringify({ means })}\n`)
  log('info', 'ready', { means })
  return {
    async stop() {
      control.close()
      await mapper?.stop()
      await daemons.stop()
      await links.stop()
    }
  }
}

async function take({ sysctls = {}, steps }: Partial<Fitting> & Pick<Fitting, 'steps'>): Promise<void> {
  checkSysctls(sysctls)
  for (const { argv, input } of steps) await run(argv, input === undefined ? {} : { input })
}

/** Shape every attachment as the environment says, and any of them differently later. */
async function shapeAll(
  attached: Attached[],
  onDeath: (error: ShaperDiedError) => void
): Promise<{ impair: (address: string, link: PlannedLink) => Promise<void>; stop: () => Promise<void> }> {
  let shaper: Shaper | null = null
  const standings = new Map<string, Standing>()
  const serve = async (queues: ShapedQueue[]): Promise<void> => {
    if (queues.length === 0) return
    const named = queues.map(queue => ({ ...queue, namespace: null }))
    if (shaper === null) shaper = await startShaper(named, { onDeath })
    else await shaper.serve(named)
  }
  for (const { address, first } of attached) {
    const fitting = first()
    await take(fitting)
    await serve(fitting.queues)
    standings.set(address, fitting.standing)
  }
  return {
    async impair(address, link) {
      const at = attached.find(each => each.address === address)
      if (at === undefined) throw new NoInterfaceError(address)
      const fitting = at.refit(link, standings.get(address)!)
      checkSysctls(fitting.sysctls ?? {})
      // Served before a rule leads packets there, so that none is lost to a queue that nobody reads.
      await serve(fitting.queues)
      await take(fitting)
      standings.set(address, fitting.standing)
    },
    stop: async () => await shaper?.stop()
  }
}

/** Reads the environment, makes the network, and stays until SIGTERM or SIGINT. */
async function main(): Promise<void> {
  // As pid 1 it must ask for these signals, the kernel gives it no default.
  const ended = Promise.withResolvers<void>()
  process.once('SIGTERM', ended.resolve)
  process.once('SIGINT', ended.resolve)
  const stay = setInterval(() => {}, 2 ** 30)
  try {
    const config = readLegConfig(process.env)
    const running = await start(config)
    await ended.promise
    await rm(config.readyFile, { force: true })
    await running.stop()
  } catch (error) {
    const { message, code } = error as Error & { code?: string }
    log('fatal', message, { code })
    process.exitCode = 1
  } finally {
    clearInterval(stay)
  }
}

await main()
