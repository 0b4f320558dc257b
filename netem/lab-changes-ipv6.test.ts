import { deepEqual } from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { capabilities } from './capabilities.ts'
import { CommandFailedError, run } from './exec.ts'
import type { ChangeIpv6Facts } from './fixtures/change-ipv6-facts.ts'
import { NAT64_PROGRAM } from './nat64.ts'

const INSIDE = [
  ...['unshare', '--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--mount-proc', '--kill-child'],
  ...['sh', '-c', 'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$0" "$@"'],
  ...[process.execPath, '--disable-warning=ExperimentalWarning']
]
const TIMEOUT_MS = 120_000

describe('a lab with IPv6 that is changed while it stands', function () {
  this.timeout(TIMEOUT_MS)
  let facts: ChangeIpv6Facts

  before(async function () {
    const needs = ['user-namespaces', 'iproute2', 'nftables', 'nat']
    const missing = (await capabilities()).filter(({ what, has }) => !has && needs.includes(what))
    const translator = await run([NAT64_PROGRAM, '--help']).catch((error: CommandFailedError) => error)
    if (translator instanceof CommandFailedError && translator.exitCode === null) {
      console.log(`    skipped, no ${NAT64_PROGRAM}; mend it with: apt-get install ${NAT64_PROGRAM}`)
      this.skip()
    }
    if (missing.length > 0) {
      console.log(missing.map(({ what, why, fix }) => `    skipped, no ${what}: ${why}; mend: ${fix}`).join('\n'))
      this.skip()
    }
    const script = fileURLToPath(new URL('fixtures/change-ipv6-facts.ts', import.meta.url))
    const { stdout } = await run([...INSIDE, script], { timeoutMs: TIMEOUT_MS })
    facts = JSON.parse(stdout) as ChangeIpv6Facts
  })

  it('loses both families of a pair, and what goes through NAT64, but not that of a neighbour', () => {
    const lost = { harry: ['harry 4', 'harry 6'], mona: ['mona 6', 'mona nat64'], otto: ['otto 4'] }
    const expected = Object.entries(lost).flatMap(([host, ways]) => [
      { pair: { from: host, to: 'relay' }, lost: ways },
      { pair: { from: 'relay', to: host }, lost: ways }
    ])
    deepEqual(
      Object.values(facts.before).filter(seen => seen === null),
      []
    )
    deepEqual(facts.drops, expected)
  })

  it('gives a host IPv6 where it is moved to, takes it where there is none, and likewise IPv4', () => {
    deepEqual(facts.ottoAtHome, { 'otto 4': '::ffff:11.0.1.1', 'otto 6': '2a11:10:2::f' })
    deepEqual(facts.harryAtMobile, { 'harry 4': null, 'harry 6': '2a11:10:3::e', 'harry nat64': '::ffff:11.0.1.2' })
    deepEqual(facts.back, {
      'otto 4': '::ffff:11.0.1.3',
      'otto 6': null,
      'harry 4': '::ffff:11.0.1.1',
      'harry 6': '2a11:10:2::a'
    })
  })

  it('changes the address that NAT64 leaves by', () => deepEqual(facts.elsewhere, '::ffff:11.0.2.2'))
})
