/**
 * A leg: the process that owns a network in Docker, as a router between two networks or beside a host whose link is
 * impaired. It makes its network what the environment says (`leg-config.ts`), writes the ready file, and stays.
 * When its shaper or a daemon dies it takes the ready file away and stays, so that this is seen.
 */
import { readFileSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type DaemonDiedError, startDaemons } from './daemons.ts'
import { CommandFailedError, run } from './exec.ts'
import { bridgeOf, type LegAddress, type LegConfig, networkOf, readLegConfig } from './leg-config.ts'
import { nat64Daemons } from './nat64.ts'
import type { PlannedRoute } from './plan.types.ts'
import { type PortMapper, startPortMapper } from './port-mapper.ts'
import type { ShapingMeans } from './shape.ts'
import { startShaper } from './shaper.ts'
import { type Fitting, fitHost, fitRouter } from './steps.ts'

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
}

async function interfaceWith(address: string): Promise<Interface> {
  const deadlineMs = performance.now() + INTERFACES_TIMEOUT_MS
  for (;;) {
    const { stdout } = await run(['ip', '-json', 'address', 'show'])
    const links = JSON.parse(stdout) as Array<{
      ifname: string
      addr_info: Array<{ local?: string; prefixlen: number }>
    }>
    for (const { ifname, addr_info } of links) {
      const own = addr_info.find(({ local }) => local === address)
      if (own !== undefined) return { name: ifname, prefixLength: own.prefixlen }
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

async function currentDefaultGateway(): Promise<string | null> {
  const { stdout } = await run(['ip', '-json', 'route', 'show', 'default'])
  return (JSON.parse(stdout || '[]') as Array<{ gateway?: string }>)[0]?.gateway ?? null
}

const isIpv4 = ({ to }: PlannedRoute): boolean => !to.includes(':')

async function fitAsRouter(
  config: LegConfig,
  router: NonNullable<LegConfig['router']>,
  means: ShapingMeans
): Promise<Fitting> {
  const [inside, outside] = [await interfaceWith(router.inside.address), await interfaceWith(router.outside.address)]
  const link = config.links.find(({ address }) => address === router.outside.address) ?? { up: null, down: null }
  const attached = ({ address, prefixLength }: LegAddress) => ({ network: '', address, prefixLength })
  const fitting = fitRouter(
    {
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
    },
    { inside: inside.name, outside: outside.name },
    means
  )
  // Whatever default route the engine chose among two networks, a router has one only behind another router.
  if ((await currentDefaultGateway()) !== null) await run(['ip', 'route', 'del', 'default'])
  if (router.ipv6 !== null) await run(['ip', '-6', 'route', 'flush', 'default'])
  return fitting
}

async function fitAsHost(config: LegConfig, means: ShapingMeans): Promise<Fitting[]> {
  const defaultGateway = await currentDefaultGateway()
  return Promise.all(
    config.links.map(async ({ address, up, down }) => {
      const { name, prefixLength } = await interfaceWith(address)
      const own = { address, prefixLength }
      return fitHost(
        {
          defaultGateway,
          routes: config.routes.filter(isIpv4),
          ipv6: { defaultGateway: null, routes: config.routes.filter(route => !isIpv4(route)) },
          link: { up, down }
        },
        { interfaceName: name, address, subnet: networkOf(own), control: bridgeOf(own) },
        means
      )
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
  const fittings =
    config.router === null ? await fitAsHost(config, means) : [await fitAsRouter(config, config.router, means)]
  for (const { sysctls, steps } of fittings) {
    checkSysctls(sysctls)
    for (const { argv, input } of steps) await run(argv, input === undefined ? {} : { input })
  }
  const isBroken = (error: Error & { code: string }): void => {
    log('error', error.message, { code: error.code })
    void rm(config.readyFile, { force: true })
  }
  const queues = fittings.flatMap(fitting =>
    fitting.queues.map(({ queue, impairment }) => ({ name: String(queue), namespace: null, queue, impairment }))
  )
  const shaper =
    queues.length === 0
      ? null
      : await startShaper(queues, {
          onDeath: isBroken
        })
  const router = config.router
  const own =
    router?.ipv6 == null
      ? []
      : nat64Daemons(router.name, router.ipv6, config.names).map(daemon => ({
          ...daemon,
          enter: (argv: string[]) => argv
        }))
  const daemons = await startDaemons(own, { onDeath: isBroken })
  const mapper = await mapPorts(config, isBroken)
  await mkdir(dirname(config.readyFile), { recursive: true })
  await writeFile(config.readyFile, `${JSON.stringify({ means, queues: queues.length })}\n`)
  log('info', 'ready', { means, queues: queues.length })
  return {
    async stop() {
      await mapper?.stop()
      await daemons.stop()
      await shaper?.stop()
    }
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
