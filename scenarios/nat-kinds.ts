/** Every NAT kind is what it claims, and pairs of them open to each other exactly where reason says that they can. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  ALLOCATIONS,
  behaviourOf,
  DEPENDENCES,
  NAT_KINDS,
  type NatKind,
  type NatSpec,
  overloadsPorts,
  type Topology
} from '../netem/index.ts'
import { comeAgain } from './harness/come-again.ts'
import { expectedPunch } from './harness/expected-punches.ts'
import { type GridCell, gridPage } from './harness/grid-page.ts'
import { keptByAnswers, type SeenAs, seenAs, waitedOut } from './harness/nat-trials.ts'
import { withReflectors } from './harness/prove-nats.ts'
import { controlPunch } from './harness/punch.ts'
import type { PunchPair } from './harness/punch-programs.ts'
import { type Occasion, type Story, scenario } from './harness/scenario.ts'

/** Kinds that must be proved, by runtime. */
const KINDS_NEEDED = { netns: 16, docker: 12 }
/** Short enough to be waited out. */
const SCALED = { udpS: 2, udpStreamS: 4, tcpEstablishedS: 4 }
const SCALED_KINDS: NatKind[] = ['symmetric', 'full-cone', 'address-restricted', 'firewall']
/** Kinds that an engine gets a second host behind: each container costs it a second. */
const SHARED_ON_DOCKER: NatKind[] = ['full-cone', 'port-restricted', 'symmetric', 'carrier']
const PAIRS_WHEN_SHORT = 12
/** Twice as patient at what came out otherwise: a crowded machine is no NAT. */
const SECOND_PATIENCE = 2
/** A local port that no role and no kernel chooses. */
const ONE_PORT = 11_111

/** `a-symmetric` behind `symmetric`, `c-symmetric` beside it, `b-symmetric` behind another of the kind. */
function topology({ runtime, depth }: Occasion): Topology {
  const networks: Topology['networks'] = { internet: {} }
  const hosts: Topology['hosts'] = {
    east: { role: 'client', on: 'internet' },
    west: { role: 'client', on: 'internet' }
  }
  const behind = (network: string, nat: NatSpec, outer = 'internet', host = `a-${network}`): void => {
    networks[network] = { behind: outer, nat }
    hosts[host] = { role: 'client', on: network }
  }
  for (const kind of NAT_KINDS) {
    behind(kind, kind)
    const isShared = runtime === 'netns' || SHARED_ON_DOCKER.includes(kind)
    if (isShared && kind !== 'one-to-one') hosts[`c-${kind}`] = { role: 'client', on: kind }
    if (runtime === 'netns') behind(`t-${kind}`, kind, 'internet', `b-${kind}`)
  }
  behind('home-of-carrier', 'port-restricted', 'carrier')
  behind('office-of-cone', 'symmetric', 'full-cone')
  for (const kind of SCALED_KINDS) behind(`w-${kind}`, { kind, timeouts: SCALED })
  if (runtime === 'netns' && depth === 'full') for (const [n, nat] of combinations().entries()) behind(`x-${n}`, nat)
  return {
    name: 'nat-kinds',
    description: 'One NAT of each kind, some twice, some one behind the other.',
    networks,
    hosts
  }
}

/** Every mapping with every filter and every way to give out ports that do not contradict each other, hairpin by turns. */
function combinations(): NatSpec[] {
  const all = DEPENDENCES.flatMap(mapping =>
    DEPENDENCES.flatMap(filtering => ALLOCATIONS.map(allocation => ({ mapping, filtering, allocation })))
  )
  return all
    .filter(({ mapping, allocation }) => mapping === 'endpoint-independent' || allocation !== 'preserving')
    .map((words, n) => ({ kind: 'port-restricted', ...words, hairpin: n % 2 === 0 }))
}

export default scenario({
  about: 'every NAT kind is what it claims, and a raw puncher opens exactly the pairs of kinds that reason says can be',
  topology,
  needs: ['nat', 'exec', 'router-change'],
  withinMs: 900_000,

  async story(story) {
    const { testnet, runtime, check, step } = story
    // Nothing gets here unless the prober agreed with every claim.
    const kinds = new Set(testnet.plan.routers.map(({ kind }) => kind))
    check.that(`${KINDS_NEEDED[runtime]} kinds are proved`, kinds.size >= KINDS_NEEDED[runtime], `${kinds.size}`)
    await withReflectors(testnet, story.signal, async reflectors => {
      step('two hosts behind one NAT use the same local port')
      await apart(story, reflectors)
      step('a NAT that forgot everything')
      await again(story, reflectors)
      step('timeouts are waited out')
      await expiries(story, reflectors)
    })
    step('punch pairs')
    await grid(story)
  }
})

/** No two hosts share an outer endpoint towards the same place; where mappings are recorded, towards no place. */
async function apart({ testnet, check, signal }: Story, reflectors: string[]): Promise<void> {
  const kinds = NAT_KINDS.filter(kind => testnet.plan.hosts.some(({ name }) => name === `c-${kind}`))
  const problems = await Promise.all(
    kinds.map(async kind => {
      const { behaviour } = testnet.plan.routers.find(({ nat }) => nat === kind)!
      if (behaviour.translation !== 'napt') return []
      const [first, second] = reflectors as [string, string]
      // The other speaks to another place first: where ports are shared at all, they are shared there.
      const one = await seenAs(testnet.host(`a-${kind}`), ONE_PORT, [first], signal)
      const other = await seenAs(testnet.host(`c-${kind}`), ONE_PORT, [second, first], signal)
      return (['udp', 'tcp'] as const)
        .filter(protocol => protocol === 'tcp' || !behaviour.udpBlocked)
        .flatMap(protocol => {
          const [ports, otherPorts] = [portsOf(one, protocol), portsOf(other, protocol)]
          const isComplete = ports.length === 1 && otherPorts.length === 2
          const keeps = behaviour.mapping === 'endpoint-independent' && !overloadsPorts(behaviour)
          const sharing = keeps
            ? otherPorts.includes(ports[0]!) || new Set(otherPorts).size > 1
            : otherPorts[1] === ports[0]
          return isComplete && !sharing
            ? []
            : [`${kind} by ${protocol}: ${ports.join(', ')} and ${otherPorts.join(', ')}`]
        })
    })
  )
  check.equal(`two hosts with one local port keep apart behind ${kinds.length} kinds`, problems.flat(), [])
}

function portsOf(seen: SeenAs, protocol: 'udp' | 'tcp'): number[] {
  return seen[protocol].flatMap(endpoint => endpoint?.[1] ?? [])
}

/** Ports that are computed come again; ports that are drawn do not. */
async function again({ testnet, check, signal }: Story, reflectors: string[]): Promise<void> {
  for (const [kind, same] of [
    ['symmetric-hash', true],
    ['full-cone', true],
    ['full-cone-random', false]
  ] as const) {
    const look = async (): Promise<number[]> =>
      portsOf(await seenAs(testnet.host(`a-${kind}`), ONE_PORT, reflectors, signal), 'udp')
    const seen = await comeAgain(look, async () => await testnet.router(`${kind}-nat`).rebind(), reflectors.length)
    check.that(
      `${kind} gives ${same ? 'the same ports' : 'other ports'} after it forgot everything`,
      seen.verdict === (same ? 'same' : 'other'),
      seen.looks.map(ports => ports.join(', ')).join(' and ')
    )
  }
}

async function expiries({ testnet, check, row, signal }: Story, [reflector]: string[]): Promise<void> {
  const routerOf = (kind: NatKind) => testnet.plan.routers.find(({ nat }) => nat === `w-${kind}`)!
  const rows = await Promise.all([
    ...SCALED_KINDS.map(async kind => await waitedOut(testnet.host(`a-w-${kind}`), routerOf(kind), reflector!, signal)),
    keptByAnswers(testnet.host('a-w-full-cone'), routerOf('full-cone'), reflector!, signal)
  ])
  for (const each of rows) row({ ...each })
  for (const { kind, observed, proved } of rows) check.that(kind, proved, observed)
}

async function grid(story: Story): Promise<void> {
  const { testnet, depth, random, check, row, signal, folder, runtime } = story
  const hasTwin = (kind: NatKind): boolean => testnet.plan.hosts.some(({ name }) => name === `b-${kind}`)
  const all = NAT_KINDS.flatMap(a => NAT_KINDS.filter(b => a !== b || hasTwin(b)).map(b => ({ a, b })))
  const chosen = depth === 'full' ? all : random.pick(all, PAIRS_WHEN_SHORT)
  const pairs = chosen.flatMap(({ a, b }) =>
    (['udp', 'tcp'] as const).map(
      (protocol): PunchPair => ({ a: `a-${a}`, b: `${a === b ? 'b' : 'a'}-${b}`, protocol })
    )
  )
  const judge = async (tried: PunchPair[], patience: number): Promise<GridCell[]> => {
    const results = await controlPunch(testnet, tried, { signal, patience })
    return results.map(({ a, b, protocol, tookMs, problem }) => {
      const [kindA, kindB] = [a.slice(2) as NatKind, b.slice(2) as NatKind]
      const sides = [behaviourOf(kindA), behaviourOf(kindB)] as const
      const { path, why } = expectedPunch(...sides, protocol)
      const observed = tookMs === null ? 'none' : 'direct'
      // A host that cannot even learn its endpoint says nothing of the pair, but where no UDP passes.
      const isBlocked = protocol === 'udp' && sides.some(({ udpBlocked }) => udpBlocked)
      const ok = observed === path && (problem === undefined || isBlocked)
      const shown = problem === undefined ? why : `${why}; ${problem}`
      return { a: kindA, b: kindB, transport: protocol, expected: path, observed, why: shown, ok, ms: tookMs }
    })
  }
  const cells = await judge(pairs, 1)
  const differing = cells.flatMap(({ ok }, index) => (ok ? [] : [index]))
  if (differing.length > 0) {
    const retried = await judge(
      differing.map(index => pairs[index]!),
      SECOND_PATIENCE
    )
    for (const [nth, index] of differing.entries()) cells[index] = retried[nth]!
  }
  for (const cell of cells) row({ ...cell })
  const wrong = cells
    .filter(({ ok }) => !ok)
    .map(cell => `${cell.a} × ${cell.b} by ${cell.transport}: ${cell.observed}`)
  check.that(
    `${cells.length} punches of ${chosen.length} ordered pairs of kinds go as reason says`,
    wrong.length === 0,
    wrong.join('; ')
  )
  const about = `A raw puncher between hosts behind each pair of NATs, ${runtime}, seed ${testnet.plan.seed}.`
  await writeFile(join(folder, 'report.html'), gridPage('NAT kinds: who reaches whom', about, cells))
}
