/** Links do what is asked of them, on an idle machine to the figure, and nothing that is not. */
import {
  type Impairment,
  judgeStream,
  LINK_CASES,
  LINK_PRESET_NAMES,
  LINK_PRESETS,
  type LinkCase,
  type LinkFigure,
  linkProbeArgv,
  type PlannedLink,
  readLink,
  STRICT,
  type StreamAsk,
  type StreamSeen,
  streamOf,
  type Topology
} from '../netem/index.ts'
import { type LinkRow, linkRows, streamsFor } from './harness/expect-links.ts'
import { nodeProgram } from './harness/probe-programs.ts'
import { type Story, scenario } from './harness/scenario.ts'
import { pourTcp, sinkTcp, type TcpResult } from './harness/tcp-programs.ts'

const REFLECTOR_PORT = 46_041
const SINK_PORT = 46_042
const RUN_FOR_MS = 900_000
/** Noise of a machine that others use too passes; a link that is not what was asked stays so. */
const ATTEMPTS = 3
const DIRECTIONS = ['up', 'down'] as const
/** A short run shows these; a full one all, by an access line and by a host's own link. */
const SHORT_CASES = [
  'delay 5 ms',
  'delay 50 ms',
  'delay 200 ms',
  'jitter, normal',
  'loss 5 %',
  'loss 5 % in bursts of 4',
  'reorder 25 %',
  'duplicate 10 %',
  'corrupt 10 %',
  'rate 10 Mbit/s',
  'limit 20 packets'
]
/** A leg shapes in a container as it does in a namespace: there a short run shows that it gets the words. */
const SHORT_CASES_ON_DOCKER = ['delay 50 ms', 'loss 5 %', 'duplicate 10 %', 'rate 10 Mbit/s']
const SHORT_SHARE = 0.25
const FEWEST_PACKETS = 400

/** Through one shaped link, none of them lost unasked. */
const MANY = { perSecond: 20_000, packets: 60_000, payloadBytes: 100 }
const MANY_DELAY_MS = 5
const TCP_DELAY_MS = 50
const TCP_MS = { short: 4000, full: 8000 }
/** Slow start takes some round trips. */
const TCP_START_UP_MS = 1500
const TCP_SHARE = 0.7

const HOME_ROUTER = 'home-nat'
const OWN_LINK_HOST = 'wanda'

const topology: Topology = {
  name: 'links',
  description: 'One home, one host with a link of its own, and two hosts on the internet.',
  networks: { internet: {}, home: { behind: 'internet', nat: 'port-preserving', link: { delayMs: 5 } } },
  hosts: {
    near: { role: 'client', on: 'internet' },
    far: { role: 'client', on: 'internet' },
    alice: { role: 'client', on: 'home' },
    // Its link is perfect until the story changes it; in Docker it has a leg for that.
    wanda: { role: 'client', on: 'internet', link: {} }
  }
}

/** The cases of a depth; a short run sends fewer packets. */
function casesOf({ depth, runtime }: Story): LinkCase[] {
  if (depth === 'full') return [...LINK_CASES]
  const names = runtime === 'docker' ? SHORT_CASES_ON_DOCKER : SHORT_CASES
  return LINK_CASES.filter(({ name }) => names.includes(name)).map(each => {
    if (each.perSecond === 0) return each
    return { ...each, packets: Math.max(FEWEST_PACKETS, Math.round(each.packets * SHORT_SHARE)) }
  })
}

export default scenario({
  about: 'links delay, spread, lose, limit, reorder, copy and corrupt as asked, by peer too, and lose nothing unasked',
  topology,
  needs: ['delay', 'loss', 'rate', 'exec', 'impair'],
  withinMs: 900_000,

  async story(story) {
    const { depth, host, step, signal } = story
    const ending = new AbortController()
    const programs = [
      { name: 'near', argv: linkProbeArgv({ reflect: { port: REFLECTOR_PORT, forMs: RUN_FOR_MS } }) },
      { name: 'far', argv: linkProbeArgv({ reflect: { port: REFLECTOR_PORT, forMs: RUN_FOR_MS } }) },
      { name: 'near', argv: nodeProgram(sinkTcp, SINK_PORT, RUN_FOR_MS) }
    ]
    const running = programs.map(({ name, argv }) =>
      host(name)
        .exec(argv, { signal: AbortSignal.any([signal, ending.signal]) })
        .catch(() => undefined)
    )
    try {
      step('every word on an access line')
      for (const each of casesOf(story)) await tryCase(story, each, { owner: HOME_ROUTER, prober: 'alice' })
      step("every word on a host's own link")
      for (const each of casesOf(story)) {
        if (depth === 'full' || each.name.startsWith('delay 50') || each.name.startsWith('loss'))
          await tryCase(story, each, { owner: OWN_LINK_HOST, prober: OWN_LINK_HOST })
      }
      step('peers')
      await tryPeers(story)
      step('presets')
      await tryPresets(story)
      step('many packets')
      await tryMany(story)
      step('TCP')
      await tryTcp(story)
    } finally {
      ending.abort()
      await Promise.all(running)
    }
  }
})

interface Place {
  /** Who has the link. */
  owner: string
  /** Who measures it, against `near`. */
  prober: string
}

/** Give the link, measure one direction after the other, hold every figure against what was asked. */
async function tryCase(story: Story, each: LinkCase, { owner, prober }: Place): Promise<void> {
  const { nemesis, check, row } = story
  for (const direction of DIRECTIONS) {
    const undo = await nemesis.impair(owner, { [direction]: each.impairment })
    const ask = streamOf(each, direction)
    const figures = await untilRight(async () => {
      const [seen] = await measure(story, prober, 'near', [ask])
      return judgeStream(each.impairment, seen!, ask, STRICT)
    })
    await undo()
    for (const figure of figures) row({ link: `${owner} ${direction}`, ...figure } satisfies LinkRow)
    check.that(
      `${owner} ${direction}: ${each.name}`,
      figures.length > 0 && figures.every(({ ok }) => ok),
      said(figures)
    )
  }
}

/** Two peers that the same line treats differently, the longer prefix before the shorter. */
async function tryPeers(story: Story): Promise<void> {
  const { nemesis, check, row, host } = story
  const { address } = host('far').planned.attachment
  const ours: Impairment = { delayMs: 20 }
  const theirs: Impairment = { delayMs: 80 }
  const undo = await nemesis.impair(HOME_ROUTER, {
    up: ours,
    down: ours,
    peers: { '11.0.0.0/8': {}, [`${address}/32`]: theirs, '11.0.0.0/16': ours }
  })
  for (const [to, impairment] of [['near', ours] as const, ['far', theirs] as const]) {
    const each: LinkCase = { name: to, impairment, packets: FEWEST_PACKETS, payloadBytes: 100, perSecond: 500 }
    for (const direction of DIRECTIONS) {
      const ask = streamOf(each, direction)
      const figures = await untilRight(async () => {
        const [seen] = await measure(story, 'alice', to, [ask])
        return judgeStream(impairment, seen!, ask, STRICT)
      })
      for (const figure of figures) row({ link: `${HOME_ROUTER} ${direction}, ${to}`, ...figure } satisfies LinkRow)
      const holds = figures.length > 0 && figures.every(({ ok }) => ok)
      check.that(`${HOME_ROUTER} ${direction}: its own delay for ${to}`, holds, said(figures))
    }
  }
  await undo()
}

/** Every preset is what the start of a run would prove of it. */
async function tryPresets(story: Story): Promise<void> {
  const { nemesis, check, row, depth } = story
  const presets = depth === 'full' ? LINK_PRESET_NAMES : (['mobile-4g'] as const)
  for (const preset of presets) {
    const undo = await nemesis.impair(HOME_ROUTER, preset)
    const link: PlannedLink = readLink(preset)
    for (const direction of DIRECTIONS) {
      const way = { host: HOME_ROUTER, reflector: 'near', address: '', direction, impairments: [link[direction]!] }
      const streams = streamsFor(way)
      const rows = await untilRight(async () =>
        linkRows(way, streams, await measure(story, 'alice', 'near', streams), 0)
      )
      for (const each of rows) row({ ...each, link: `${each.link}, ${preset}` })
      const asked = JSON.stringify(LINK_PRESETS[preset][direction])
      check.that(`${preset} ${direction}`, rows.length > 0 && rows.every(({ ok }) => ok), `${said(rows)} of ${asked}`)
    }
    await undo()
  }
}

async function tryMany(story: Story): Promise<void> {
  const { nemesis, check, row } = story
  const impairment = { delayMs: MANY_DELAY_MS }
  const undo = await nemesis.impair(HOME_ROUTER, { up: impairment })
  const ask = streamOf({ name: 'many', impairment, ...MANY }, 'up')
  const [figure] = await untilRight(async () => {
    const [seen] = await measure(story, 'alice', 'near', [ask])
    const { received, sent, notRead } = seen!
    // What the measuring program did not read in time is no loss of the link's.
    const lost = sent - received - notRead
    const late = notRead === 0 ? '' : `, ${notRead} came and were not read in time`
    return [
      { what: 'loss' as const, asked: 'none', got: `${lost} of ${sent}${late}`, ok: lost <= 0 && notRead < sent / 100 }
    ]
  })
  await undo()
  row({ link: `${HOME_ROUTER} up, ${MANY.perSecond} packets/s`, ...figure! } satisfies LinkRow)
  check.that(`${MANY.perSecond} packets/s through one shaped link, none lost unasked`, figure!.ok, figure!.got)
}

async function tryTcp(story: Story): Promise<void> {
  const { nemesis, check, row, depth } = story
  const figures = await untilRight(async () => {
    const perfect = await nemesis.impair(HOME_ROUTER, null)
    const unshaped = await pour(story, TCP_MS[depth])
    await perfect()
    const undo = await nemesis.impair(HOME_ROUTER, { up: { delayMs: TCP_DELAY_MS } })
    const shaped = await pour(story, TCP_MS[depth])
    await undo()
    const byWindow = (shaped.windowBytes * 8) / 1000 / TCP_DELAY_MS
    const bound = Math.min(byWindow, unshaped.goodputMbit)
    const window = `window ${Math.round(shaped.windowBytes / 1024)} KiB ÷ ${TCP_DELAY_MS} ms = ${Math.round(byWindow)} Mbit/s`
    const asked = `${TCP_SHARE * 100} % of min(${window}, unshaped ${Math.round(unshaped.goodputMbit)} Mbit/s)`
    return [
      {
        what: 'rate' as const,
        asked,
        got: `${Math.round(shaped.goodputMbit)} Mbit/s`,
        ok: shaped.goodputMbit >= TCP_SHARE * bound
      }
    ]
  })
  row({ link: `${HOME_ROUTER} up, ${TCP_DELAY_MS} ms, TCP`, ...figures[0]! } satisfies LinkRow)
  check.that(`TCP over a link of ${TCP_DELAY_MS} ms`, figures[0]!.ok, said(figures))
}

async function pour({ host, signal }: Story, sendMs: number): Promise<TcpResult> {
  const { address } = host('near').planned.attachment
  const { code, stdout, stderr } = await host('alice').exec(
    nodeProgram(pourTcp, address, SINK_PORT, sendMs, TCP_START_UP_MS),
    { signal }
  )
  if (code !== 0) throw new Error(`the TCP probe ended with ${code}: ${stderr}`)
  return JSON.parse(stdout) as TcpResult
}

async function measure({ host, signal }: Story, from: string, to: string, streams: StreamAsk[]): Promise<StreamSeen[]> {
  const { address } = host(to).planned.attachment
  const argv = linkProbeArgv({ probe: { address, port: REFLECTOR_PORT, streams } })
  const { code, stdout, stderr } = await host(from).exec(argv, { signal })
  if (code !== 0) throw new Error(`the link probe in ${from} ended with ${code}: ${stderr}`)
  return JSON.parse(stdout) as StreamSeen[]
}

async function untilRight<F extends { ok: boolean }>(look: () => Promise<F[]>): Promise<F[]> {
  for (let attempt = 1; ; attempt++) {
    const figures = await look()
    if (attempt === ATTEMPTS || figures.every(({ ok }) => ok)) return figures
  }
}

function said(figures: LinkFigure[]): string {
  return figures.map(({ what, asked, got }) => `${what}: asked ${asked}, got ${got}`).join('; ')
}
