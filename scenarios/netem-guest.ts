import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { bundleProgram, ensureGuest } from '../compose/index.ts'
import {
  judgeStream,
  LINK_CASES,
  LOWER_BOUNDS,
  type Plan,
  plan as planOf,
  type StreamAsk,
  type StreamSeen,
  streamOf,
  type Topology
} from '../netem/index.ts'
import { routersOf } from './harness/expect-nats.ts'
import { runGuest, whyNoGuest } from './harness/guest.ts'
import type { GuestAsk, GuestProbe, GuestWord } from './harness/guest-program.ts'
import { type StandaloneStory, scenario } from './harness/scenario.ts'

const WITHIN_MS = 1_500_000
const GUEST_WITHIN_MS = 1_200_000
const DIRECTIONS = ['up', 'down'] as const

const caseHost = (index: number): string => `case-${index + 1}`

/** A host for each case, which has it as its own link both ways; a home whose access line is impaired. */
const topology: Topology = {
  name: 'netem-guest',
  description: 'Every link case at a host of its own, and a home behind a NAT with an impaired access line.',
  networks: {
    internet: {},
    home: {
      behind: 'internet',
      nat: 'port-preserving',
      link: { up: { delayMs: 30, rateKbit: 2000 }, down: { delayMs: 20, lossPct: 5 } }
    }
  },
  hosts: {
    near: { role: 'client', on: 'internet' },
    far: { role: 'client', on: 'internet' },
    alice: { role: 'client', on: 'home' },
    ...Object.fromEntries(
      LINK_CASES.map(({ impairment: link }, index) => [caseHost(index), { role: 'client', on: 'internet', link }])
    )
  }
}

/** A probe, and what each of its streams went through. */
interface Asked extends GuestProbe {
  impairments: Array<NonNullable<Plan['hosts'][number]['link']['up']>>
}

function probesOf(plan: Plan): Asked[] {
  const { up, down } = plan.routers[0]!.link
  const cases = LINK_CASES.map((linkCase, index) => ({
    name: linkCase.name,
    from: caseHost(index),
    to: 'near',
    streams: DIRECTIONS.map(direction => streamOf(linkCase, direction)),
    impairments: DIRECTIONS.map(() => linkCase.impairment)
  }))
  const line = (direction: 'up' | 'down', more: Pick<StreamAsk, 'packets' | 'payloadBytes' | 'perSecond'>): StreamAsk =>
    streamOf({ name: 'access line', impairment: (direction === 'up' ? up : down)!, ...more }, direction)
  const access = {
    name: 'access line of a home',
    from: 'alice',
    to: 'near',
    streams: [
      line('up', { packets: 100, payloadBytes: 100, perSecond: 50 }),
      line('up', { packets: 200, payloadBytes: 1200, perSecond: 400 }),
      line('down', { packets: 4000, payloadBytes: 100, perSecond: 1000 })
    ],
    impairments: [up!, up!, down!]
  }
  return [access, ...cases]
}

async function story(told: StandaloneStory): Promise<void> {
  const { check, depth, step, seed, folder, progress, signal, row, history } = told
  if (depth === 'short') {
    check.skip('the guest can run', 'minutes of emulation: DEPTH=full runs it')
    return
  }
  const missing = await whyNoGuest()
  if (missing !== null) {
    check.skip('the guest can run', `${missing.why}. ${missing.fix}`)
    return
  }
  const made = progress.stage('Make the guest')
  const guest = await ensureGuest()
  made(`${guest.what}${guest.isFresh ? ', fresh' : ''}`)
  const plan = planOf(topology, seed)
  const probes = probesOf(plan)
  const ask: GuestAsk = { plan, probes, nat: { from: 'alice', to: ['near', 'far'] } }
  await mkdir(folder, { recursive: true })

  const words: GuestWord[] = []
  step(`boot ${guest.what}, lay the plan out, measure ${probes.length} links`)
  await runGuest(guest, {
    program: await bundleProgram('scenarios/harness/guest-program.ts'),
    input: ask,
    consoleFile: join(folder, 'guest-console.txt'),
    withinMs: GUEST_WITHIN_MS,
    signal,
    onWord(word) {
      words.push(word as unknown as GuestWord)
      if ('name' in word) progress.note(`measured ${word.name}`)
    }
  })
  history.event('guest', { words })

  const found = words.find(word => 'capabilities' in word)
  const netem = found?.capabilities.find(({ what }) => what === 'netem')
  check.that("Debian's kernel is found to have netem", netem?.has === true, netem?.why ?? 'nothing was said')
  check.equal('links are shaped by netem where it is there', found?.means, 'netem')
  const probed = words.find(word => 'nat' in word)
  if (probed !== undefined) {
    const host = plan.hosts.find(({ name }) => name === 'alice')!
    const { localPort, seen } = probed.nat
    const observed = [...new Set(seen.map(({ address, port }) => `${address}:${port}`))].join(', ')
    const claimed = `${routersOf(plan, host)[0]?.outside.address}:${localPort}`
    row({ kind: host.natKind, claimed, observed, proved: observed === claimed })
    check.equal('the NAT beside an impaired line keeps mapping and port', observed, claimed)
  } else check.that('the NAT beside an impaired line keeps mapping and port', false, 'nothing was seen')
  for (const probe of probes) {
    const seen = words.find(word => 'name' in word && word.name === probe.name)
    judge(told, probe, seen !== undefined && 'seen' in seen ? seen.seen : null)
  }
  check.equal('nothing of the lab is left', words.find(word => 'left' in word)?.left, [])
}

function judge(
  { check, row }: StandaloneStory,
  { name, streams, impairments }: Asked,
  seen: StreamSeen[] | null
): void {
  const figures = (seen ?? []).flatMap((stream, index) => {
    const ask = streams[index]!
    return judgeStream(impairments[index]!, stream, ask, LOWER_BOUNDS).map(figure => {
      const link = `${name}, ${ask.direction}`
      row({ link, ...figure })
      return { link, ...figure }
    })
  })
  const wrong = figures.filter(({ ok }) => !ok)
  const detail = wrong.map(({ link, what, asked, got }) => `${link}: ${what} ${asked}, got ${got}`).join('; ')
  check.that(`netem does: ${name}`, figures.length > 0 && wrong.length === 0, detail || `${figures.length} figures`)
}

export default scenario({
  about:
    "tc netem by this project's own commands, in an emulated machine with Debian's kernel: the table of link cases.",
  topology: null,
  only: 'netns',
  needs: [],
  withinMs: WITHIN_MS,
  story
})
