import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { capabilities, shapingMeans } from './capabilities.ts'
import { run } from './exec.ts'
import { ASKED, type LabFacts } from './fixtures/lab-facts.ts'

/** Everything of the lab lives and dies with this command; an ordinary user may run it too. */
const INSIDE = [
  ...['unshare', '--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--mount-proc', '--kill-child'],
  ...[
    'sh',
    '-c',
    'mount -t tmpfs tmpfs /run && exec "$0" "$@"',
    process.execPath,
    '--disable-warning=ExperimentalWarning'
  ]
]
const ETHERNET_IP_UDP_BYTES = 14 + 20 + 8
/** Room for a busy machine; the lab itself needs about 5 s. */
const TIMEOUT_MS = 120_000

describe('a plan in network namespaces', function () {
  this.timeout(TIMEOUT_MS)
  let facts: LabFacts

  before(async function () {
    const reports = await capabilities()
    const missing = reports.filter(
      ({ what, has }) => !has && ['user-namespaces', 'iproute2', 'nftables', 'nat'].includes(what)
    )
    if (shapingMeans(reports) === null) missing.push(...reports.filter(({ what, has }) => what === 'nfqueue' && !has))
    if (missing.length > 0) {
      console.log(
        missing.map(({ what, why, fix }) => `    skipped, no ${what}: ${why}; mend it with: ${fix}`).join('\n')
      )
      this.skip()
    }
    const script = fileURLToPath(new URL('fixtures/lab-facts.ts', import.meta.url))
    const { stdout } = await run([...INSIDE, script], { timeoutMs: TIMEOUT_MS })
    facts = JSON.parse(stdout) as LabFacts
  })

  it('keeps the port and the mapping behind a port-preserving NAT', () => {
    deepEqual(facts.seen.alice, Array(3).fill('11.0.1.1:40000'))
  })

  it('gives every destination another port behind a symmetric NAT, also from a NAT behind it', () => {
    for (const host of ['bob', 'ines']) {
      equal(facts.seen[host]?.length, 3)
      equal(new Set(facts.seen[host]).size, 3)
      for (const seen of facts.seen[host]!) match(seen, /^11\.0\.1\.2:/)
    }
  })

  it('routes without translation where the NAT is none', () => {
    deepEqual(facts.seen.rita, Array(3).fill('11.64.6.10:40000'))
  })

  it('drops what nobody asked for without a word', () => {
    equal(facts.strangersAfterIntrusion, 0)
    equal(facts.tcpToRouter, 'silence')
  })

  it("delays by at least what was asked, on a router's line and on a host's own", () => {
    ok(facts.shortestMs.alice! >= ASKED.homeDelayMs.up + ASKED.homeDelayMs.down, `${facts.shortestMs.alice} ms`)
    ok(facts.shortestMs.wanda! >= ASKED.hostDelayMs.up + ASKED.hostDelayMs.down, `${facts.shortestMs.wanda} ms`)
  })

  it('loses and limits as asked', () => {
    const sent = ASKED.lossRounds * ASKED.lossPackets
    const expected = sent * (1 - ASKED.lossPct / 100)
    const deviation = Math.sqrt((expected * ASKED.lossPct) / 100)
    ok(Math.abs(facts.lossAnswers - expected) < 6 * deviation, `${facts.lossAnswers} of ${sent} came back`)
    const shortestMs = (ASKED.ratePackets * (ASKED.rateBytes + ETHERNET_IP_UDP_BYTES) * 8) / ASKED.rateKbit
    // The first packet's sending overlaps nothing; only the clock's own grain is forgiven.
    ok(facts.rateLastMs > shortestMs - 1, `${facts.rateLastMs} ms, at least ${shortestMs} ms were due`)
  })

  it('cuts a host off and heals it', () => {
    equal(facts.cutAnswers, 0)
    equal(facts.healedAnswers, 1)
  })

  it('has no way out of any host or router', () => {
    ok(facts.routeLookups > 0)
    deepEqual(facts.routeProblems, [])
  })

  it('notices the death of a shaper', () => equal(facts.shaperDeath, 'SHAPER_DIED'))

  it('leaves nothing behind', () => deepEqual(facts.leftovers, []))
})
