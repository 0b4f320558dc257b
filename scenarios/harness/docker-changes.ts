/** A docker testnet's network changed while it stands: by commands in legs and routers, or beside a host, and by the engine. */
import { randomUUID } from 'node:crypto'
import { LEG_IMAGE, legName } from '../../compose/index.ts'
import {
  askLegArgv,
  ChangeRefusedError,
  type DirectedPair,
  dropRulesets,
  interfaceHolding,
  isShaped,
  type LegAnswer,
  type Link,
  linkToBe,
  type NatSpec,
  networkNamed,
  noDrops,
  outerAddresses,
  type Place,
  type Plan,
  type PlannedHost,
  type PlannedLink,
  type PlannedRouter,
  placeOn,
  plannedState,
  plugSteps,
  type RouterState,
  rebindSteps,
  refuseMove,
  routerSteps,
  type Step,
  scriptOf,
  waySteps,
  withNat,
  withNextAddress
} from '../../netem/index.ts'
import { type Acts, changeActs, note, readActs } from './docker-acts.ts'
import { type Client, type Container, execIn, runBeside } from './docker-client.ts'
import { EngineError } from './docker-errors.ts'
import { type containerFinder, type Project, resourcesOf, runLabels } from './docker-project.ts'
import { UnknownHostError } from './errors.ts'
import type { Router, Undo } from './runtime.ts'
import { once } from './undo.ts'

/** Containers that look into others' networks at one time: each costs the engine a third of a second. */
const BESIDE_AT_ONCE = 4

export interface DockerChanges {
  unplug: (host: PlannedHost) => Promise<Undo>
  move: (host: PlannedHost, network: string) => Promise<Undo>
  dropBetween: (pairs: readonly DirectedPair[]) => Promise<Undo>
  impair: (owner: string, link: Link | null) => Promise<Undo>
  router: (router: PlannedRouter) => Router
  /** The bridge's own address, from which control traffic comes, on the network a host is on now. */
  controlOf: (host: PlannedHost) => Promise<string>
  /** Everything of these acts that a host's network lost because its container was started anew. */
  again: (host: PlannedHost) => Promise<void>
}

/** Service whose container owns the host's network. */
export const networkOwner = (host: PlannedHost): string => (host.leg ? legName(host) : host.name)

/** Acts come one after another, in the order they were asked for. */
export function dockerChanges(plan: Plan, project: Project, find: ReturnType<typeof containerFinder>): DockerChanges {
  const { folder, run } = project
  let turn: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const next = turn.then(act, act)
    turn = next
    return next
  }
  const acts = async (): Promise<Acts> => await readActs(folder)
  const networkOf = (host: PlannedHost, { moved }: Acts): string => moved[host.name] ?? host.attachment.network

  /** As root of that network. Harmless where the container does not run: it has no network then. */
  const within = async (service: string, steps: Step[]): Promise<void> => {
    const { client, container } = await find(service)
    if (!(await container.inspect()).State.Running) return
    const argv = ['sh', '-c', scriptOf({ sysctls: {}, steps })]
    const isLeg = !plan.hosts.some(({ name }) => name === service)
    const { code, stdout, stderr } = isLeg
      ? await execIn(container, argv)
      : await runBeside(client, container.id, LEG_IMAGE, argv, { capabilities: ['NET_ADMIN'], labels: runLabels(run) })
    if (code !== 0) throw new EngineError(`a change of ${service} failed: ${stderr || stdout}`)
  }

  const stateOf = (router: PlannedRouter, { routers }: Acts): RouterState =>
    routers[router.name] ?? plannedState(router)
  const setRouter = async (router: PlannedRouter, state: RouterState): Promise<RouterState> => {
    const former = stateOf(router, await acts())
    const { container } = await find(router.name)
    const { stdout } = await execIn(container, ['ip', '-json', 'address', 'show'])
    const inside = interfaceHolding(stdout, [router.inside.address])
    const outside = interfaceHolding(stdout, outerAddresses(plan, router))
    if (inside === undefined || outside === undefined) {
      throw new EngineError(`${router.name} has lost an address of the plan: ${stdout}`)
    }
    await within(router.name, routerSteps(router, state, { inside, outside }))
    await changeActs(folder, ({ routers }) => ({ routers: { ...routers, [router.name]: state } }))
    return former
  }
  const changed = async (
    router: PlannedRouter,
    change: (plan: Plan, router: PlannedRouter, state: RouterState) => RouterState
  ): Promise<Undo> => {
    const former = await inTurn(
      async () => await setRouter(router, change(plan, router, stateOf(router, await acts())))
    )
    return once(async () => void (await inTurn(async () => await setRouter(router, former))))
  }

  const dropsOf = (state: Acts): Map<string, string> => {
    const hosts = new Map(plan.hosts.map(host => [host.name, host]))
    return dropRulesets(plan, name => networkOf(hosts.get(name)!, state), Object.values(state.drops).flat())
  }
  /** Make a change of the acts hold in every network that it concerns. */
  const setDrops = async (change: (acts: Acts) => Partial<Acts>): Promise<void> => {
    const before = await acts()
    const rulesets = dropsOf({ ...before, ...change(before) })
    const owners = [...new Set([...dropsOf(before).keys(), ...rulesets.keys()])]
    await changeActs(folder, change)
    const load = async (): Promise<void> => {
      for (let owner = owners.shift(); owner !== undefined; owner = owners.shift()) {
        const host = plan.hosts.find(({ name }) => name === owner)
        const input = rulesets.get(owner) ?? noDrops(plan)
        await within(host === undefined ? owner : networkOwner(host), [{ argv: ['nft', '-f', '-'], input }])
      }
    }
    await Promise.all(Array.from({ length: BESIDE_AT_ONCE }, load))
  }

  /** Docker gives every host a default route, on the internet to an address that nobody has. */
  const placeOf = (host: PlannedHost, network: string): Place => {
    const place = placeOn(plan, host, network)
    const { defaultGateway, ipv6 } = networkNamed(plan, network)
    if (ipv6 === undefined || place.ipv6 === undefined) return { ...place, defaultGateway }
    return { ...place, defaultGateway, ipv6: { ...place.ipv6, defaultGateway: ipv6.defaultGateway } }
  }
  const plug = async (host: PlannedHost, isPlugged: boolean): Promise<void> => {
    const place = placeOf(host, networkOf(host, await acts()))
    await within(networkOwner(host), plugSteps(place, isPlugged))
  }
  const move = async (host: PlannedHost, to: string): Promise<string> => {
    const before = await acts()
    const from = networkOf(host, before)
    const place = placeOf(host, to)
    if (from === to) return from
    refuseMove({ name: host.name, link: before.links[host.name] ?? host.link })
    const { client, container } = await find(networkOwner(host))
    await reattach(client, run, container, networkNamed(plan, from).bridge, networkNamed(plan, to).bridge, place)
    await changeActs(folder, ({ moved }) => ({ moved: { ...moved, [host.name]: to } }))
    if (waySteps(place).length > 1) await within(networkOwner(host), waySteps(place))
    if (before.unplugged.includes(host.name)) await within(networkOwner(host), plugSteps(place, false))
    if (Object.keys(before.drops).length > 0) await setDrops(() => ({}))
    return from
  }

  /** The leg or router whose network has the link, and its address there. */
  const linkOf = (owner: string): { service: string; address: string; link: PlannedLink } => {
    const router = plan.routers.find(({ name }) => name === owner)
    if (router !== undefined) return { service: owner, address: router.outside.address, link: router.link }
    const host = plan.hosts.find(({ name }) => name === owner)
    if (host === undefined)
      throw new UnknownHostError(
        owner,
        [...plan.hosts, ...plan.routers].map(({ name }) => name)
      )
    if (host.leg) return { service: legName(host), address: host.attachment.address, link: host.link }
    throw new ChangeRefusedError(
      `${owner} has no leg that could shape its link; write \`link: {}\` at that host in the topology, and it gets one`
    )
  }
  const impair = async (owner: string, link: PlannedLink): Promise<PlannedLink> => {
    const { service, address, link: planned } = linkOf(owner)
    const { moved, links } = await acts()
    if (moved[owner] !== undefined && isShaped(link))
      throw new ChangeRefusedError(`${owner} is on another network than its own; impair the access line there`)
    const former = links[owner] ?? planned
    const { container } = await find(service)
    const { stdout, stderr } = await execIn(container, askLegArgv({ address, link }))
    const answer = JSON.parse(stdout || JSON.stringify({ ok: false, message: stderr })) as LegAnswer
    if (!answer.ok) throw new EngineError(`the leg of ${owner} cannot change its link: ${answer.message}`)
    await changeActs(folder, acts => ({ links: { ...acts.links, [owner]: link } }))
    return former
  }

  return {
    impair: async (owner, link) => {
      const wanted = linkToBe(owner, link)
      const former = await inTurn(async () => await impair(owner, wanted))
      return once(async () => void (await inTurn(async () => await impair(owner, former))))
    },
    unplug: async host => {
      await inTurn(async () => {
        await note(folder, 'unplugged', host.name, true)
        await plug(host, false)
      })
      return once(
        async () =>
          await inTurn(async () => {
            await plug(host, true)
            await note(folder, 'unplugged', host.name, false)
          })
      )
    },
    move: async (host, network) => {
      const former = await inTurn(async () => await move(host, network))
      return once(async () => void (await inTurn(async () => await move(host, former))))
    },
    dropBetween: async pairs => {
      const act = randomUUID()
      const undrop = ({ drops: { [act]: _, ...drops } }: Acts) => ({ drops })
      await inTurn(async () => {
        try {
          await setDrops(({ drops }) => ({ drops: { ...drops, [act]: pairs } }))
        } catch (error) {
          // Half a partition is none that anybody asked for.
          await setDrops(undrop)
          throw error
        }
      })
      return once(async () => await inTurn(async () => await setDrops(undrop)))
    },
    router: planned => ({
      planned,
      rebind: async () =>
        await inTurn(async () => await within(planned.name, rebindSteps(stateOf(planned, await acts())))),
      publicAddress: async () => stateOf(planned, await acts()).address,
      setPublicAddress: async () => await changed(planned, withNextAddress),
      setNat: async (nat: NatSpec) => await changed(planned, (all, router, state) => withNat(all, router, state, nat)),
      exec: async (argv, options) => await execIn((await find(planned.name)).container, argv, options?.signal)
    }),
    controlOf: async host => networkNamed(plan, networkOf(host, await acts())).bridgeAddress,
    again: async host =>
      await inTurn(async () => {
        const state = await acts()
        const rules = dropsOf(state).get(host.name)
        if (rules !== undefined) await within(networkOwner(host), [{ argv: ['nft', '-f', '-'], input: rules }])
        if (state.unplugged.includes(host.name)) await plug(host, false)
      })
  }
}

/** Take a container from one network and put it on another. The engine moves its published port and default route along. */
async function reattach(
  client: Client,
  run: string,
  container: Container,
  from: string,
  to: string,
  { attachment }: Place
): Promise<void> {
  const { networks } = await resourcesOf(client, run)
  const networkOn = (bridge: string) => {
    const found = networks.find(({ Options }) => Options?.['com.docker.network.bridge.name'] === bridge)
    if (found === undefined) throw new EngineError(`there is no network with bridge ${bridge} in run ${run}`)
    return client.container.dockerode.getNetwork(found.Id)
  }
  const [old, next] = [networkOn(from), networkOn(to)]
  const ipv6 = attachment.ipv6 === undefined ? {} : { IPv6Address: attachment.ipv6 }
  const endpoint = { IPAMConfig: { IPv4Address: attachment.address, ...ipv6 } }
  try {
    await old.disconnect({ Container: container.id })
    await next.connect({ Container: container.id, EndpointConfig: endpoint })
  } catch (cause) {
    throw new EngineError(cause)
  }
}
