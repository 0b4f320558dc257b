/**
 * Plan → Compose document. Pure: no clock, no randomness, a stable order, so that the same plan gives the same bytes.
 * The document works by itself: `docker compose -f … up` needs no Node and no harness.
 */
import type { Plan, PlannedAttachment, PlannedHost, PlannedNetwork, PlannedRouter, Role } from '../netem/index.ts'
import { IN_CONTAINER } from './files.ts'
import { legEnv, legSysctls, routerEnv, routerSysctls } from './legs.ts'
import { roleProcess, roles } from './roles.ts'
import { toYaml } from './yaml.ts'

export interface RenderOptions {
  /** Where the hosts' files lie, relative to the document. Default `./keys/<topology>`. */
  keys?: string
  /** Run the resources belong to; goes into their labels. */
  run?: string
  /** Router → name of an environment variable that may choose its NAT kind when the file is used by hand. */
  natVariables?: Record<string, string>
  /** The header's first line. */
  origin?: string
}

/** A value as Compose's YAML has it. */
export type Value = string | number | boolean | null | Value[] | { [key: string]: Value }
type Fields = Record<string, Value>

export const LABEL_PREFIX = 'org.warren.'
export const LEG_IMAGE = 'warren/leg:dev'
/** Compose adds `-leg` to the host's name for the service that owns its network. */
export const legName = (host: PlannedHost): string => `${host.name}-leg`

/** A check starts a process in the container: with 30 of them at once every 5 s they alone would keep a core warm. */
const HEALTH_INTERVAL = '20s'
const HEALTH_TIMEOUT = '5s'
const HEALTH_RETRIES = 3
/** A role drains within 10 s. */
const STOP_GRACE = '12s'
const TMP_SIZE = '64m'
const LOG_SIZE = '20m'
const LEG_MEMORY = '256m'
const LEG_PIDS = 64
/** Nobody answers, so a question ends soon. */
const DNS_OPTIONS = ['timeout:1', 'attempts:1']
const PRODUCT_USER = '1000:1000'

/** Project name: what tells one testnet's containers, networks and volumes from another's. */
export const projectName = (plan: Plan, run?: string): string =>
  run === undefined ? `warren-${plan.slot}-${plan.topology}` : `warren-${run}`

const labels = (plan: Plan, run: string | undefined, more: Record<string, string> = {}): Fields => ({
  [`${LABEL_PREFIX}topology`]: plan.topology,
  [`${LABEL_PREFIX}slot`]: String(plan.slot),
  ...(run === undefined ? {} : { [`${LABEL_PREFIX}run`]: run }),
  ...Object.fromEntries(Object.entries(more).map(([key, value]) => [LABEL_PREFIX + key, value]))
})

/** `$` is Compose's own: doubled, it is a plain one. */
const plain = (env: Record<string, string>): Fields =>
  Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value.replaceAll('$', '$$$$')]))

const hardened: Fields = {
  pull_policy: 'never',
  restart: 'no',
  init: true,
  read_only: true,
  cap_drop: ['ALL'],
  security_opt: ['no-new-privileges:true'],
  logging: { driver: 'json-file', options: { 'max-size': LOG_SIZE } }
}

/** Asks the role whether it is ready, with bash alone: the image has no curl and Node would be slow to start. */
const readiness = (port: number, path: string): Fields => ({
  test: [
    'CMD',
    'bash',
    '-c',
    `exec 3<>/dev/tcp/127.0.0.1/${port} && printf 'GET ${path} HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ code _ <&3 && [ "$$code" = 200 ]`
  ],
  interval: HEALTH_INTERVAL,
  timeout: HEALTH_TIMEOUT,
  retries: HEALTH_RETRIES
})

function productBase(role: Role): Fields {
  const facts = roles[role]
  return {
    image: facts.image,
    ...hardened,
    user: PRODUCT_USER,
    tmpfs: [`/tmp:size=${TMP_SIZE},mode=1777`],
    mem_limit: `${facts.memoryMiB}m`,
    pids_limit: facts.maxPids,
    stop_grace_period: STOP_GRACE,
    healthcheck: readiness(facts.httpPort, facts.readyPath)
  }
}

const legBase: Fields = {
  image: LEG_IMAGE,
  ...hardened,
  // Its own process is the first one: it ends at once on SIGTERM and leaves no orphan.
  init: false,
  cap_add: ['NET_ADMIN'],
  tmpfs: ['/run:size=1m,mode=0755', `/tmp:size=${TMP_SIZE},mode=1777`],
  mem_limit: LEG_MEMORY,
  pids_limit: LEG_PIDS,
  healthcheck: {
    test: ['CMD', 'test', '-f', '/run/leg/ready'],
    interval: HEALTH_INTERVAL,
    timeout: HEALTH_TIMEOUT,
    retries: HEALTH_RETRIES
  }
}

const fixedAddresses = ({ address, ipv6 }: PlannedAttachment): Fields => ({
  ipv4_address: address,
  ...(ipv6 === undefined ? {} : { ipv6_address: ipv6 })
})

/** Attachment, name resolution and the one published port: what belongs to whoever owns the host's network. */
const attachment = (host: PlannedHost): Fields => ({
  networks: { [host.attachment.network]: fixedAddresses(host.attachment) },
  // Docker's resolver would carry questions out of the lab; here nobody answers them, but a NAT64 router's DNS64.
  dns: [host.isIpv6Only && host.ipv6?.defaultGateway != null ? host.ipv6.defaultGateway : host.attachment.address],
  dns_opt: DNS_OPTIONS,
  ports: [`127.0.0.1:${host.controlPort}:${roles[host.role].httpPort}`]
})

const started = (services: string[], more: Fields = {}): Fields =>
  services.length === 0
    ? {}
    : { depends_on: Object.fromEntries(services.map(name => [name, { condition: 'service_started', ...more }])) }

/** What every host of a role has in its environment, so that it is written once. */
function commonEnv(envs: Array<Record<string, string>>): Record<string, string> {
  const [first, ...others] = envs
  if (first === undefined || others.length === 0) return {}
  return Object.fromEntries(Object.entries(first).filter(([name, value]) => others.every(env => env[name] === value)))
}

const without = (env: Record<string, string>, common: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !(name in common)))

function routerService(plan: Plan, router: PlannedRouter, options: RenderOptions): Fields {
  const { NAT_KIND, ...rest } = routerEnv(plan, router)
  const variable = options.natVariables?.[router.name]
  return {
    '<<': '*leg',
    environment: {
      NAT_KIND: variable === undefined ? NAT_KIND! : `\${${variable}:-${NAT_KIND}}`,
      ...plain(rest)
    },
    sysctls: routerSysctls(router),
    // The translator of NAT64 is a program behind a TUN interface.
    ...(router.ipv6?.nat64 == null ? {} : { devices: ['/dev/net/tun:/dev/net/tun'] }),
    networks: {
      [router.outside.network]: fixedAddresses(router.outside),
      [router.inside.network]: fixedAddresses(router.inside)
    },
    dns: [router.inside.address],
    dns_opt: DNS_OPTIONS,
    labels: labels(plan, options.run, { router: router.name })
  }
}

function hostServices(plan: Plan, host: PlannedHost, common: Record<string, string>, options: RenderOptions): Fields {
  const router = plan.networks.find(({ name }) => name === host.attachment.network)?.router
  const first = router == null ? [] : [router]
  const own = plain(without(roleProcess(plan, host, IN_CONTAINER).env, common))
  const product: Fields = {
    '<<': `*${host.role}`,
    environment: Object.keys(common).length === 0 ? own : { '<<': `*${host.role}-env`, ...own },
    volumes: [
      { type: 'volume', source: host.volume, target: IN_CONTAINER.data },
      {
        type: 'bind',
        source: `${options.keys ?? `./keys/${plan.topology}`}/${host.name}`,
        target: IN_CONTAINER.files,
        read_only: true,
        bind: { create_host_path: false }
      }
    ],
    labels: labels(plan, options.run, { host: host.name })
  }
  if (!host.leg) return { [host.name]: { ...product, ...attachment(host), ...started(first) } }
  const leg: Fields = {
    '<<': '*leg',
    environment: plain(legEnv(host)),
    ...(Object.keys(legSysctls(host)).length === 0 ? {} : { sysctls: legSysctls(host) }),
    ...attachment(host),
    ...started(first),
    labels: labels(plan, options.run, { leg: host.name })
  }
  return {
    [legName(host)]: leg,
    [host.name]: {
      ...product,
      network_mode: `service:${legName(host)}`,
      // A product in a restarted leg would be left with loopback only.
      ...started([legName(host)], { restart: true })
    }
  }
}

function networkFields(plan: Plan, network: PlannedNetwork, run: string | undefined): Fields {
  return {
    driver: 'bridge',
    ...(network.ipv6 === undefined ? {} : { enable_ipv6: true }),
    driver_opts: {
      'com.docker.network.bridge.name': network.bridge,
      'com.docker.network.bridge.enable_ip_masquerade': 'false',
      'com.docker.network.bridge.trusted_host_interfaces': plan.networks.map(({ bridge }) => bridge).join(':')
    },
    ipam: {
      config: [
        {
          subnet: network.subnet,
          gateway: network.bridgeAddress,
          aux_addresses: { DefaultGatewayIPv4: network.defaultGateway }
        },
        ...(network.ipv6 === undefined
          ? []
          : [
              {
                subnet: network.ipv6.subnet,
                gateway: network.ipv6.bridgeAddress,
                aux_addresses: { DefaultGatewayIPv6: network.ipv6.defaultGateway }
              }
            ])
      ]
    },
    labels: labels(plan, run)
  }
}

/**
 * The document as data, in the order it is written. `<<: *name` stands where `x-name` is merged in.
 */
export function composeDocument(plan: Plan, options: RenderOptions = {}): Record<string, Value> {
  const present = [...new Set(plan.hosts.map(({ role }) => role))].sort()
  const common = new Map(
    present.map(role => [
      role,
      commonEnv(plan.hosts.filter(host => host.role === role).map(host => roleProcess(plan, host, IN_CONTAINER).env))
    ])
  )
  const services: Fields = {}
  for (const router of plan.routers) services[router.name] = routerService(plan, router, options)
  for (const host of plan.hosts) Object.assign(services, hostServices(plan, host, common.get(host.role)!, options))
  const volumes = [...new Set(plan.hosts.map(({ volume }) => volume))]
  const usesLegs = plan.routers.length > 0 || plan.hosts.some(({ leg }) => leg)
  return {
    name: projectName(plan, options.run),
    ...(usesLegs ? { 'x-leg': legBase } : {}),
    ...Object.fromEntries(
      present.flatMap(role => {
        const env = common.get(role)!
        const base: Array<[string, Value]> = [[`x-${role}`, productBase(role)]]
        return Object.keys(env).length === 0 ? base : [...base, [`x-${role}-env`, plain(env)] as [string, Value]]
      })
    ),
    services,
    networks: Object.fromEntries(plan.networks.map(each => [each.name, networkFields(plan, each, options.run)])),
    volumes: Object.fromEntries(volumes.map(volume => [volume, { labels: labels(plan, options.run) }]))
  }
}

/** The document as text, its first lines saying where it comes from. */
export function renderCompose(plan: Plan, options: RenderOptions = {}): string {
  const origin = options.origin ?? `from the topology '${plan.topology}' with seed '${plan.seed}'`
  return toYaml(composeDocument(plan, options), [
    origin,
    plan.description,
    'The keys it mounts are derived from the seed: INSECURE, for a testnet only.'
  ])
}
