/** A lab in network namespaces changed while it stands: links, addresses, NATs, who hears whom. */
import {
  placeSteps,
  plannedState,
  type RouterState,
  rebindSteps,
  refuseMove,
  routerSteps,
  withNat,
  withNextAddress
} from './changes.ts'
import { type DirectedPair, dropRulesets, noDrops } from './drops.ts'
import { ShapingMissingError, UnknownHostError, UnknownRouterError } from './errors.ts'
import { CommandFailedError, type Run } from './exec.ts'
import { argvIn, HOST_INTERFACE, hostInterface, portOf, ROUTER_INTERFACES, shaperQueues } from './namespaces.ts'
import type { NatSpec } from './nat-kinds.ts'
import { networkNamed, placeOn } from './places.ts'
import type { Plan, PlannedHost, PlannedLink, PlannedRouter } from './plan.types.ts'
import { NOTHING_STANDS, type ShapeOptions, type ShapingMeans, type Standing } from './shape.ts'
import type { ShaperQueue } from './shaper.types.ts'
import { type Fitting, refitHost, refitRouter, type Step, scriptOf } from './steps.ts'

type RefitOptions = Omit<ShapeOptions, 'ipv6'>

export interface LabChanges {
  /** Drop every packet from and to a host, at once and without a word; its interface keeps its carrier. */
  cut: (host: string) => Promise<void>
  /** Undo `cut`. */
  heal: (host: string) => Promise<void>
  /** Take the carrier from a host's interface, as when its cable is pulled; addresses and routes stay. */
  unplug: (host: string) => Promise<void>
  /** Undo `unplug`. */
  plug: (host: string) => Promise<void>
  /** Put a host on another network, or back on its own: without carrier for a moment, then with the address `placeOn` says. */
  move: (host: string, network: string) => Promise<void>
  /** The network a host is on now. */
  networkOf: (host: string) => string
  /** Forget every mapping of a router. */
  rebind: (router: string) => Promise<void>
  /** What a router is now. */
  routerState: (router: string) => RouterState
  /** Make a router what `state` says and forget every mapping; undoes the next two. */
  restoreRouter: (router: string, state: RouterState) => Promise<void>
  /** Give a router its next address; answers what it was. @throws ChangeRefusedError */
  setPublicAddress: (router: string) => Promise<RouterState>
  /** Give a router another NAT; answers what it was. @throws ChangeRefusedError */
  setNat: (router: string, nat: NatSpec) => Promise<RouterState>
  /** Lose what these hosts send to each other, besides what other acts lose. @param act a name to undo it by */
  drop: (act: string, pairs: readonly DirectedPair[]) => Promise<void>
  /** Undo `drop`; harmless when there was none. */
  undrop: (act: string) => Promise<void>
  /**
   * Give a host or router another link, from the next packet on; answers what it had. What was shaped and stays so is
   * never unshaped between. @throws ShapingMissingError where nothing can shape
   */
  impair: (owner: string, link: PlannedLink) => Promise<PlannedLink>
}

/** What links are shaped with, and what shaping has left in each namespace. */
export interface LinkShaping {
  /** Null: nothing here can. */
  means: ShapingMeans | null
  standings: Map<string, Standing>
  /** Serve queues of the shaper, which is started by the first of them. */
  serve: (queues: ShaperQueue[]) => Promise<void>
}

/** Acts come one after another, in the order they were asked for. */
export function labChanges(plan: Plan, run: Run, shaping: LinkShaping): LabChanges {
  const cut = new Set<string>()
  const unplugged = new Set<string>()
  const at = new Map(plan.hosts.map(({ name, attachment }) => [name, attachment.network]))
  const routers = new Map(plan.routers.map(router => [router.name, plannedState(router)]))
  const links = new Map([...plan.hosts, ...plan.routers].map(({ name, link }) => [name, link]))
  const drops = new Map<string, readonly DirectedPair[]>()
  let ruled = new Set<string>()
  let turn: Promise<unknown> = Promise.resolve()

  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const next = turn.then(act, act)
    turn = next
    return next
  }
  const within = (name: string, steps: Step[], sysctls: Record<string, string> = {}) =>
    run(argvIn(name, ['sh', '-s']), { input: scriptOf({ sysctls, steps }) })
  const hostNamed = (name: string): PlannedHost => {
    const host = plan.hosts.find(each => each.name === name)
    if (host === undefined) throw new UnknownHostError(name, plan)
    return host
  }
  const routerNamed = (name: string): PlannedRouter => {
    const router = plan.routers.find(each => each.name === name)
    if (router === undefined)
      throw new UnknownRouterError(
        name,
        plan.routers.map(each => each.name)
      )
    return router
  }
  const link = async (host: string, ...words: string[]) => {
    await run(['ip', 'link', 'set', portOf(plan, host), ...words])
  }
  const bridgeOf = (host: string) => networkNamed(plan, at.get(host)!).bridge

  const setRouter = async (name: string, state: RouterState): Promise<RouterState> => {
    const former = routers.get(name)!
    await within(name, routerSteps(routerNamed(name), state, ROUTER_INTERFACES))
    routers.set(name, state)
    return former
  }
  const refit = (owner: string, link: PlannedLink, how: RefitOptions): Omit<Fitting, 'sysctls'> & Partial<Fitting> => {
    const router = plan.routers.find(({ name }) => name === owner)
    if (router !== undefined) return refitRouter({ ...router, link }, ROUTER_INTERFACES, how)
    const network = networkNamed(plan, at.get(hostNamed(owner).name)!)
    const place = placeOn(plan, hostNamed(owner), network.name)
    return refitHost({ ...place, link }, hostInterface(place.attachment, network), how)
  }
  const impair = async (owner: string, link: PlannedLink): Promise<PlannedLink> => {
    const former = links.get(owner) ?? hostNamed(owner).link
    const { means, standings, serve } = shaping
    if (means === null) throw new ShapingMissingError()
    const standing = standings.get(owner) ?? NOTHING_STANDS
    const { sysctls, steps, queues, standing: left } = refit(owner, link, { means, standing })
    // Served before a rule leads packets there, so that none is lost to a queue that nobody reads.
    if (queues.length > 0) await serve(shaperQueues(owner, queues))
    await within(owner, steps, sysctls)
    standings.set(owner, left)
    links.set(owner, link)
    return former
  }
  const applyDrops = async () => {
    const rulesets = dropRulesets(plan, host => at.get(host)!, [...drops.values()].flat())
    await Promise.all(
      [...new Set([...ruled, ...rulesets.keys()])].map(owner =>
        within(owner, [{ argv: ['nft', '-f', '-'], input: rulesets.get(owner) ?? noDrops(plan) }])
      )
    )
    ruled = new Set(rulesets.keys())
  }

  return {
    cut: host =>
      inTurn(async () => {
        await link(host, 'nomaster')
        cut.add(host)
      }),
    heal: host =>
      inTurn(async () => {
        await link(host, 'master', bridgeOf(host))
        cut.delete(host)
      }),
    unplug: host =>
      inTurn(async () => {
        await link(host, 'down')
        unplugged.add(host)
      }),
    plug: host =>
      inTurn(async () => {
        await link(host, 'up')
        unplugged.delete(host)
      }),
    move: (name, network) =>
      inTurn(async () => {
        const host = hostNamed(name)
        const place = placeOn(plan, host, network)
        if (at.get(name) === network) return
        refuseMove({ name, link: links.get(name)! })
        await link(name, 'down')
        at.set(name, network)
        if (!cut.has(name)) await link(name, 'master', bridgeOf(name))
        await within(name, placeSteps(place, HOST_INTERFACE))
        if (!unplugged.has(name)) await link(name, 'up')
        if (drops.size > 0) await applyDrops()
      }),
    networkOf: name => at.get(hostNamed(name).name)!,
    rebind: name =>
      inTurn(async () => {
        await within(name, rebindSteps(routers.get(routerNamed(name).name)!))
      }),
    routerState: name => routers.get(routerNamed(name).name)!,
    restoreRouter: (name, state) =>
      inTurn(async () => {
        await setRouter(name, state)
      }),
    setPublicAddress: name =>
      inTurn(async () => {
        const router = routerNamed(name)
        return await setRouter(name, withNextAddress(plan, router, routers.get(name)!))
      }),
    setNat: (name, nat) =>
      inTurn(async () => {
        const router = routerNamed(name)
        return await setRouter(name, withNat(plan, router, routers.get(name)!, nat))
      }),
    drop: (act, pairs) =>
      inTurn(async () => {
        drops.set(act, pairs)
        try {
          await applyDrops()
        } catch (error) {
          drops.delete(act)
          // Half a partition is none that anybody asked for.
          if (error instanceof CommandFailedError) await applyDrops()
          throw error
        }
      }),
    impair: (owner, link) => inTurn(() => impair(owner, link)),
    undrop: act =>
      inTurn(async () => {
        if (drops.delete(act)) await applyDrops()
      })
  }
}
