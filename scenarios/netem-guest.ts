import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { bundleProgram, ensureGuest } from '../compose/index.ts'
import {
  type Impairment,
  judgeStream,
  type LinkFigure,
  plan as planOf,
  STRICT,
  type StreamAsk,
  type StreamSeen,
  type Strictness
} from '../netem/index.ts'
import { reason } from './harness/check.ts'
import { routersOf } from './harness/expect-nats.ts'
import { runGuest, whyNoGuest } from './harness/guest.ts'
import { type Asked, GUEST_TOPOLOGY, guestProbes } from './harness/guest-probes.ts'
import type { GuestAsk, GuestWord } from './harness/guest-program.ts'
import { type StandaloneStory, scenario } from './harness/scenario.ts'

const WITHIN_MS = 1_500_000
const GUEST_WITHIN_MS = 1_200_000
/**
 * The guest's clock knows nothing of how slow its emulation is, so that figures are held from both sides; the chance of a
 * misjudgement is smaller because there are many figures in one run.
 */
const STRICTNESS: Strictness = { ...STRICT, misjudged: 1e-6 }
async function story(told: StandaloneStory): Promise<void> {
  const { check, depth, step, seed, folder, progress, signal, row, history } = told
  const missing = await whyNoGuest()
  if (missing !== null) {
    check.skip('the guest can run', `${missing.why}; mend it: ${missing.fix}`)
    return
  }
  const made = progress.stage('Make the guest')
  const guest = await ensureGuest()
  made(`${guest.what}${guest.isFresh ? ', fresh' : ''}`)
  const plan = planOf(GUEST_TOPOLOGY, seed)
  const probes = guestProbes(depth)
  const ask: GuestAsk = { plan, probes, nat: { from: 'alice', to: ['near', 'far'] } }
  await mkdir(folder, { recursive: true })

  const words: GuestWord[] = []
  step(`boot ${guest.what}, lay the plan out, measure ${probes.length} links`)
  try {
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
  } catch (error) {
    signal.throwIfAborted()
    const failed = words.find(word => 'failed' in word)
    // What the program itself says is about the commands; anything else may be the emulator or its limit.
    if (failed !== undefined) check.that('the guest runs to its end', false, failed.failed)
    else check.unknown('the guest runs to its end', reason(error))
  }
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
  for (const probe of probes)
    judge(
      told,
      probe,
      words.find(word => 'name' in word && word.name === probe.name)
    )
  check.equal('nothing of the lab is left', words.find(word => 'left' in word)?.left, [])
}

function judge(
  { check, row }: StandaloneStory,
  { name, streams, impairments }: Asked,
  word: GuestWord | undefined
): void {
  const seen = word !== undefined && 'seen' in word ? word.seen : []
  const figures = seen.flatMap((stream, index) => {
    const ask = streams[index]!
    const link = `${name}, ${ask.direction}`
    return figuresOf(impairments[index]!, stream, ask).map(figure => ({ link, ...figure }))
  })
  for (const figure of figures) row(figure)
  const wrong = figures.filter(({ ok }) => !ok)
  const detail = wrong.map(({ link, what, asked, got }) => `${link}: ${what} ${asked}, got ${got}`).join('; ')
  const shown = new Set(figures.map(({ link }) => link)).size
  const holds = shown === new Set(streams.map(({ direction }) => direction)).size && wrong.length === 0
  check.that(`netem does: ${name}`, holds, detail || `${figures.length} figures`)
}

function figuresOf(impairment: Impairment | null, seen: StreamSeen, ask: StreamAsk): LinkFigure[] {
  if (impairment !== null) return judgeStream(impairment, seen, ask, STRICTNESS)
  const middleMs = seen.delayMs?.p50 ?? null
  const got = middleMs === null ? 'nothing came' : `${middleMs} ms, ${seen.received} of ${seen.sent}`
  const ok = middleMs !== null && middleMs <= STRICTNESS.lateMs && seen.received === seen.sent
  return [{ what: 'delay', asked: '0 ms, none lost', got, ok }]
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
