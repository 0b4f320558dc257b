/** The network changes under two peers that are directly connected: they go on over a relay, and are direct again. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Topology } from '../netem/index.ts'
import { type Occasion, type Story, scenario } from './harness/scenario.ts'
import {
  chosen,
  EVENT_LABS,
  type EventLab,
  HOME_KIND,
  homeOf,
  hostOf,
  isShared,
  type Played,
  type Side
} from './punching/events.ts'
import { relaysFor } from './punching/lab.ts'
import type { Opened } from './punching/peer.types.ts'
import { type PeerClient, peerClient } from './punching/peer-client.ts'
import { type Recovery, recoveryOf } from './punching/recovery.ts'
import { playAll } from './punching/schedule.ts'
import { readSettings } from './punching/settings.ts'
import { quantile } from './punching/statistics.ts'
import { clockMs } from './punching/watch.ts'

const OPEN_WITHIN_MS = 20_000
const DIRECT_WITHIN_MS = 15_000
const EVERY_MS = 100
/** A request that takes longer is lost. */
const ANSWER_WITHIN_MS = 15_000
/** Direct answers before the event, so that there is something to lose. */
const STEADY = 10
const STEADY_WITHIN_MS = 15_000
/** How long a pair is looked at after the event. */
const LOOK_FOR_MS = 12_000
/** Looked at for so long after it is direct again: it must stay so. */
const STAY_MS = 1500
const LOOK_EVERY_MS = 250
const TRAFFIC_WITHIN_MS = 3000
const DIRECT_AGAIN_WITHIN_MS = 5000

interface EventRow extends Record<string, unknown> {
  event: string
  side: Side
  transports: string
  ip: 4 | 6
  runs: number
  requests: number
  lost: number
  toTrafficMs: Array<number | null>
  toDirectMs: Array<number | null>
  /** Why a run said nothing, or requests were lost. */
  problems: string[]
  wrong: string | null
}

function topology({ depth }: Occasion): Topology {
  const { linkMs, lossPct } = readSettings(process.env, { depth })
  const link = linkMs + lossPct === 0 ? {} : { link: { delayMs: linkMs, lossPct } }
  const networks: Topology['networks'] = { internet: { ipv6: 'dual' } }
  const hosts: Topology['hosts'] = {
    'relay-1': { role: 'relay', on: 'internet' },
    'relay-2': { role: 'relay', on: 'internet' }
  }
  for (const lab of EVENT_LABS) {
    for (const side of ['a', 'b'] as const) {
      for (const spare of [false, true]) {
        const ipv6 = lab.family === 6 ? { ipv6: 'dual' as const } : {}
        networks[homeOf(lab, side, spare)] = { behind: 'internet', nat: HOME_KIND, ...ipv6, ...link }
      }
      hosts[hostOf(lab, side)] = { role: 'client', on: homeOf(lab, side), env: { CLIENT_PROGRAM: 'puncher' } }
    }
  }
  return {
    name: 'network-events',
    description: 'Pairs of homes, a spare uplink for each, and two relays.',
    networks,
    hosts
  }
}

export default scenario({
  about: 'two peers go on without losing a request while the network changes under them, and are direct again',
  topology,
  needs: ['nat', 'exec', 'router-change', 'move', 'kill'],
  withinMs: 1_800_000,
  settings: ['RUNS', 'LINK', 'LOSS', 'EVENTS', 'LABS', 'SIDES', 'AT_ONCE'],
  reportFolder: ({ depth }) => (depth === 'full' ? 'network-events' : 'network-events-short'),

  async story(story) {
    const { depth, check, step, row } = story
    const settings = readSettings(process.env, { depth })
    const runs = process.env.RUNS ? settings.runs : depth === 'full' ? FULL_RUNS : 1
    const played = chosen(process.env, depth)
    const rows = new Map(played.map(each => [each, rowFor(each)]))
    let number = 0
    const playing = async (each: Played): Promise<void> => {
      const seen = await playOnce(story, each, `event-${++number}`)
      note(rows.get(each)!, seen)
    }
    const cold = depth === 'full' ? firstOfEachLab(played) : []
    if (cold.length > 0) {
      step(
        `${cold.length} events that are not measured: processes compile what an event needs when they first meet one`
      )
      const seen = await Promise.all(cold.map(async (each, at) => await playOnce(story, each, `first-${at}`)))
      const lost = seen.flatMap(each => ('problem' in each ? [each.problem] : Object.keys(each.problems)))
      check.that('no request of these is lost', lost.length === 0, lost.join('; '))
    }
    for (const shared of [false, true]) {
      const these = played.filter(({ event }) => isShared(event) === shared)
      step(`${these.length} events ${shared ? 'of relays, one at a time' : 'of homes, labs side by side'}`)
      const jobs = these.flatMap(each =>
        Array.from({ length: runs }, () => ({
          hosts: [hostOf(each.lab, 'a'), hostOf(each.lab, 'b')] as [string, string],
          play: async () => await playing(each)
        }))
      )
      await playAll(jobs, shared ? 1 : Math.min(EVENT_LABS.length, settings.atOnce))
    }
    for (const each of rows.values()) {
      each.wrong = judgeRow(each)
      row(each)
    }
    const all = [...rows.values()]
    const list = (of: (each: EventRow) => string | null): string[] =>
      all.flatMap(each => {
        const why = of(each)
        return why === null ? [] : [`${nameOf(each)}: ${why}`]
      })
    const lost = all.reduce((sum, each) => sum + each.lost, 0)
    const requests = all.reduce((sum, each) => sum + each.requests, 0)
    check.that(
      `0 of ${requests} requests are lost`,
      lost === 0,
      list(({ lost, problems }) => (lost === 0 ? null : `${lost}: ${problems.join(', ')}`)).join('; ')
    )
    const wrong = list(({ wrong }) => wrong)
    check.that(
      `after ${all.length} events traffic flows within ${TRAFFIC_WITHIN_MS} ms and is direct within ${DIRECT_AGAIN_WITHIN_MS} ms at p95 where it can be`,
      wrong.length === 0,
      wrong.join('; ')
    )
  }
})

const FULL_RUNS = 5

/** Of the events of homes, which labs play side by side; a rebind is over before anybody notices. */
function firstOfEachLab(played: readonly Played[]): Played[] {
  const homes = played.filter(({ event }) => !isShared(event) && event.name !== 'rebind')
  return EVENT_LABS.flatMap(lab => homes.find(each => each.lab === lab) ?? [])
}

function rowFor({ event, lab, side }: Played): EventRow {
  return {
    event: event.name,
    side,
    transports: lab.transports.join('+'),
    ip: lab.family,
    runs: 0,
    requests: 0,
    lost: 0,
    toTrafficMs: [],
    toDirectMs: [],
    problems: [],
    wrong: null
  }
}

const nameOf = ({ event, side, transports, ip }: EventRow): string => `${event} at ${side}, ${transports}, IPv${ip}`

function note(row: EventRow, seen: Recovery | { problem: string }): void {
  row.runs++
  if ('problem' in seen) {
    row.problems.push(seen.problem)
    row.toTrafficMs.push(null)
    row.toDirectMs.push(null)
    return
  }
  row.requests += seen.requests
  row.lost += seen.lost
  row.toTrafficMs.push(seen.toTrafficMs)
  row.toDirectMs.push(seen.toDirectMs)
  for (const [problem, times] of Object.entries(seen.problems)) row.problems.push(`${problem} ×${times}`)
}

/** A run that never came back is later than any limit. */
function judgeRow({ toTrafficMs, toDirectMs, problems }: EventRow): string | null {
  const p95 = (times: Array<number | null>): number =>
    quantile(
      times.map(each => each ?? Number.POSITIVE_INFINITY),
      0.95
    )!
  const [traffic, direct] = [p95(toTrafficMs), p95(toDirectMs)]
  if (traffic > TRAFFIC_WITHIN_MS) return `traffic after ${toTrafficMs.join(', ')} ms; ${problems.join(', ')}`
  if (direct > DIRECT_AGAIN_WITHIN_MS) return `direct after ${toDirectMs.join(', ')} ms`
  return null
}

/** Connect two peers directly, let requests flow, act, look. Rejects only when the signal aborts. */
async function playOnce(
  story: Story,
  { event, lab, side }: Played,
  id: string
): Promise<Recovery | { problem: string }> {
  const { host, testnet, history, nemesis, signal } = story
  const a = peerClient(host(hostOf(lab, 'a')), signal)
  const b = peerClient(host(hostOf(lab, 'b')), signal)
  // Undone in the end of this play, not of the run: the next one needs the network as it was.
  const undoing = scoped(nemesis)
  try {
    const [, openedB] = await Promise.all([open(story, a, lab, id), open(story, b, lab, id)])
    const relay = await connect(a, id, openedB)
    if (relay === null) return { problem: 'the two were not direct before the event' }
    await a.stream({ id, peerId: openedB.peerId, everyMs: EVERY_MS, answerWithinMs: ANSWER_WITHIN_MS })
    const steady = async (): Promise<boolean> =>
      (await a.streamed({ id })).filter(({ isDirect, answeredAtMs }) => isDirect && answeredAtMs !== null).length >=
      STEADY
    if (!(await eventually(steady, STEADY_WITHIN_MS, signal))) return { problem: 'no steady stream before the event' }
    const relayHost = testnet.plan.hosts.find(({ identity }) => identity?.peerId === relay)!.name
    await history.operation(
      'act',
      { event: event.name, side, lab: lab.name },
      async () => await event.act(undoing.nemesis, lab, side, relayHost)
    )
    const acted = clockMs()
    const isBack = async (): Promise<boolean> => recoveryOf(await a.streamed({ id }), acted).toDirectMs !== null
    if (await eventually(isBack, LOOK_FOR_MS, signal)) await pause(STAY_MS, signal)
    await a.endStream({ id })
    const isOver = async (): Promise<boolean> =>
      (await a.streamed({ id })).every(({ answeredAtMs, problem }) => answeredAtMs !== null || problem !== undefined)
    await eventually(isOver, ANSWER_WITHIN_MS, signal)
    return recoveryOf(await a.streamed({ id }), acted)
  } catch (error) {
    signal.throwIfAborted()
    return { problem: (error as Error).message }
  } finally {
    await undoing.undoAll()
    await Promise.allSettled([a.close({ id }), b.close({ id })])
  }
}

async function open(
  { testnet }: Story,
  peer: PeerClient,
  { transports, family }: EventLab,
  id: string
): Promise<Opened> {
  const relays = relaysFor(testnet.plan, transports, { family })
  return await peer.open({ id, stack: 'warren', transports, family, role: 'peer', relays, withinMs: OPEN_WITHIN_MS })
}

/** @returns the peer id of the relay that they met through; null when they did not become direct */
async function connect(a: PeerClient, id: string, { peerId, addresses }: Opened): Promise<string | null> {
  const via = addresses.filter(address => address.includes('/p2p-circuit'))
  const { connections } = await a.meet({ id, peerId, via, withinMs: DIRECT_WITHIN_MS })
  const relayed = connections.find(({ isDirect }) => !isDirect)
  if (!connections.some(({ isDirect }) => isDirect) || relayed === undefined) return null
  return /\/p2p\/([^/]+)\/p2p-circuit/.exec(relayed.address)?.[1] ?? null
}

/** The nemesis with its acts remembered, so that these alone can be undone. */
function scoped(nemesis: Story['nemesis']): { nemesis: Story['nemesis']; undoAll: () => Promise<void> } {
  const undos: Array<() => Promise<void>> = []
  const kept =
    <A extends unknown[]>(act: (...args: A) => Promise<() => Promise<void>>) =>
    async (...args: A) => {
      const undo = await act(...args)
      undos.push(undo)
      return undo
    }
  return {
    nemesis: {
      ...nemesis,
      kill: kept(nemesis.kill),
      move: kept(nemesis.move),
      setNat: kept(nemesis.setNat),
      setPublicAddress: kept(nemesis.setPublicAddress)
    },
    async undoAll() {
      for (const undo of undos.splice(0).reverse()) await undo()
    }
  }
}

async function eventually(fact: () => Promise<boolean>, withinMs: number, signal: AbortSignal): Promise<boolean> {
  const deadline = clockMs() + withinMs
  while (clockMs() < deadline) {
    if (await fact()) return true
    await pause(LOOK_EVERY_MS, signal)
  }
  return await fact()
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal })
}
