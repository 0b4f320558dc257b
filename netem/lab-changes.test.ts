import { deepEqual, equal, match, notEqual } from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { capabilities } from './capabilities.ts'
import { run } from './exec.ts'
import type { ChangeFacts } from './fixtures/change-facts.ts'

/** Everything of the lab lives and dies with this command; an ordinary user may run it too. */
const INSIDE = [
  ...['unshare', '--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--mount-proc', '--kill-child'],
  ...['sh', '-c', 'mount -t tmpfs tmpfs /run && exec "$0" "$@"'],
  ...[process.execPath, '--disable-warning=ExperimentalWarning']
]
/** Room for a busy machine; the lab itself needs about 8 s. */
const TIMEOUT_MS = 120_000

describe('a lab that is changed while it stands', function () {
  this.timeout(TIMEOUT_MS)
  let facts: ChangeFacts

  before(async function () {
    const missing = (await capabilities()).filter(
      ({ what, has }) => !has && ['user-namespaces', 'iproute2', 'nftables', 'nat'].includes(what)
    )
    if (missing.length > 0) {
      console.log(
        missing.map(({ what, why, fix }) => `    skipped, no ${what}: ${why}; mend it with: ${fix}`).join('\n')
      )
      this.skip()
    }
    const script = fileURLToPath(new URL('fixtures/change-facts.ts', import.meta.url))
    const { stdout } = await run([...INSIDE, script], { timeoutMs: TIMEOUT_MS })
    facts = JSON.parse(stdout) as ChangeFacts
  })

  it('gives the same flow another port after a rebind, and not before', () => {
    const { before, again, rebound } = facts.symmetric
    equal(again, before)
    match(rebound, /^11\.0\.1\.3:/)
    notEqual(rebound, before)
    equal(facts.flowsAfterRebind, 0)
  })

  it('forgets at a rebind that a mapping was open to everybody', () =>
    deepEqual(facts.intrusions, { open: 1, rebound: 0 }))

  it('changes the public address and back', () => {
    deepEqual(facts.address, { before: '11.0.1.1:41003', changed: '11.0.2.1:41003', undone: '11.0.1.1:41003' })
  })

  it("changes the outer address of a NAT behind a NAT, whose hosts keep the outer NAT's", () => {
    match(facts.inner.changed, /^10\.40\.2\.3 11\.0\.1\.2:/)
    match(facts.inner.undone, /^10\.40\.2\.253 11\.0\.1\.2:/)
  })

  it('switches the kind and back', () => {
    deepEqual(facts.kind.changed, Array(3).fill('11.0.1.3:41007'))
    equal(new Set(facts.kind.undone).size, 3)
  })

  it('refuses kinds that need routes elsewhere, and another address where others have routes to it', () => {
    const [toRouted, toTranslating, address] = facts.refused
    match(toRouted!, /^CHANGE_REFUSED: .*\n.*NEEDS_ROUTES.*nobody outside has a route to 10\.40\.3\.0\/24/)
    match(toTranslating!, /^CHANGE_REFUSED: .*\n.*HAS_ROUTES.*past it/)
    match(address!, /^CHANGE_REFUSED: site-nat translates nothing/)
  })

  it('takes the carrier and nothing else when it unplugs, and plugs in again', () => {
    const { operstate, seen, address, plugged } = facts.unplugged
    deepEqual({ operstate, seen, address }, { operstate: 'DOWN', seen: 'silence', address: '10.40.3.10/24' })
    match(plugged, /^11\.0\.1\.3:/)
  })

  it('moves a host to the address the plan tells, cut or not, and back', () => {
    const { address, seen, whileCut, healed, back, routes } = facts.moved
    equal(address, '10.40.1.17/24')
    equal(seen, '11.0.1.1:41007')
    equal(whileCut, 'silence')
    equal(healed, '11.0.1.2:41007')
    match(back, /^11\.0\.1\.3:/)
    deepEqual(
      routes
        .trim()
        .split('\n')
        .map(line => line.trim()),
      ['default via 10.40.3.254 dev eth0', '10.40.3.0/24 dev eth0 proto kernel scope link src 10.40.3.10']
    )
  })

  it('loses what one host sends to one other and nothing else, whatever NATs are between', () => {
    equal(facts.drops.length, 30)
    for (const { pair, lost } of facts.drops) deepEqual(lost, [pair])
  })

  it('loses what neighbours send round their NAT as well', () => {
    const isHome = (name: string) => ['alice', 'anna'].includes(name)
    for (const { pair, hairpinsLost } of facts.drops) {
      deepEqual(hairpinsLost, isHome(pair.from) && isHome(pair.to) ? [pair] : [])
    }
  })

  it('keeps acts apart, outlives a change of address, and heals', () => {
    const alice = { from: 'alice', to: 'bob' }
    const others = [
      { from: 'anna', to: 'bob' },
      { from: 'bob', to: 'relay' }
    ]
    deepEqual(facts.together, { lost: [alice, ...others], afterOne: others, elsewhere: others, healed: [] })
    deepEqual(facts.rulesLeft, [])
  })

  it('takes nothing from a link that holds packets when others are parted, and goes on shaping after a rebind', () =>
    deepEqual(facts.held, { throughDrops: ['first'], afterRebind: ['fourth'] }))
})
