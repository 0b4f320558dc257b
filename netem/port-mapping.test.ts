import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { capabilities } from './capabilities.ts'
import { run } from './exec.ts'
import { type PortMappingFacts, SHORT_LEASE_S } from './fixtures/port-mapping-facts.ts'
import { PORT_MAPPER } from './port-mapper.ts'
import { handlesOf, plannedPortMapping, portMapperConfig, portMappingInput, readLeases } from './port-mapping.ts'

const PLACE = {
  outsideInterface: 'outside',
  gateway: '10.40.1.254',
  prefixLength: 24,
  insideSubnet: '10.40.1.0/24',
  leaseFile: '/run/leases',
  uuid: '00000000-0000-0000-0000-000000000000'
}
const NOBODY = '11.0.255.254'
const INSIDE = [
  ...['unshare', '--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--mount-proc', '--kill-child'],
  ...['sh', '-c', 'mount -t tmpfs tmpfs /run && exec "$0" "$@"', process.execPath]
]
/** Room for a busy machine; the lab itself needs about 10 s. */
const TIMEOUT_MS = 120_000

describe('portMapperConfig', () => {
  const config = (spec: Parameters<typeof plannedPortMapping>[0]) =>
    portMapperConfig(plannedPortMapping(spec, NOBODY), PLACE).split('\n')

  it('speaks what is asked for and grants whatever a sound router would', () => {
    const lines = config({ protocols: ['pcp'] })
    ok(lines.includes('enable_upnp=no') && lines.includes('enable_natpmp=yes'))
    ok(lines.includes('allow 1024-65535 10.40.1.0/24 1024-65535'))
    ok(!lines.some(line => line.startsWith('ext_ip=')))
  })

  it('does each thing wrong that is asked for, and only that', () => {
    ok(!config({ protocols: ['upnp'], fault: 'refuse' }).some(line => line.startsWith('allow')))
    ok(config({ protocols: ['upnp'], fault: 'lying-address' }).includes(`ext_ip=${NOBODY}`))
    ok(config({ protocols: ['pcp'], fault: 'short-lease', leaseS: 7 }).includes('max_lifetime=7'))
  })
})

describe('portMappingInput', () => {
  const input = (protocols: Array<'upnp' | 'nat-pmp' | 'pcp'>) =>
    portMappingInput(plannedPortMapping({ protocols }, NOBODY), 'inside').join('\n')

  it('lets in the versions that are spoken, from inside alone', () => {
    match(input(['nat-pmp']), /udp dport 5351 @th,64,8 \{ 0 \} accept/)
    match(input(['pcp']), /@th,64,8 \{ 2 \}/)
    match(input(['nat-pmp', 'pcp']), /@th,64,8 \{ 0, 2 \}/)
    ok(!input(['pcp']).includes('1900'))
    ok(!input(['upnp']).includes('5351'))
    for (const rule of input(['upnp', 'nat-pmp', 'pcp']).split('\n')) match(rule, /^iifname "inside" /)
  })
})

describe('leases', () => {
  it('are read by transport and port; another text is a renewal', () => {
    const leases = readLeases(
      'UDP:7000:10.40.1.10:41000:1795624182:NAT-PMP 7000 udp\nTCP:7000:10.40.1.11:80:0:web\n\nrubbish\n'
    )
    deepEqual([...leases.keys()], ['udp 7000', 'tcp 7000'])
    equal(leases.get('tcp 7000')?.outerPort, 7000)
    const renewed = readLeases('UDP:7000:10.40.1.10:41000:1795624999:NAT-PMP 7000 udp\n')
    ok(renewed.get('udp 7000')?.said !== leases.get('udp 7000')?.said)
  })

  it('are found among the rules by transport and outer port', () => {
    const listed = [
      '\t\tiif "outside" @nh,72,8 0x11 th dport 7000 dnat ip to 10.40.1.10:7001 # handle 8',
      '\t\tiif "outside" @nh,72,8 0x6 th dport 7000 dnat ip to 10.40.1.10:7000 # handle 9',
      '\t\tiif "outside" @nh,72,8 0x11 th dport 7001 dnat ip to 10.40.1.10:7000 # handle 10'
    ].join('\n')
    deepEqual(handlesOf(listed, { transport: 'udp', outerPort: 7000 }), [8])
    deepEqual(handlesOf(listed, { transport: 'tcp', outerPort: 7000 }), [9])
    deepEqual(handlesOf(listed, { transport: 'udp', outerPort: 700 }), [])
  })
})

describe('routers that map ports', function () {
  this.timeout(TIMEOUT_MS)
  let facts: PortMappingFacts

  before(async function () {
    const reports = await capabilities()
    const needed = ['user-namespaces', 'iproute2', 'nftables', 'nat', 'port-mapping']
    const missing = reports.filter(({ what, has }) => !has && needed.includes(what))
    if (missing.length > 0) {
      console.log(
        missing.map(({ what, why, fix }) => `    skipped, no ${what}: ${why}; mend it with: ${fix}`).join('\n')
      )
      this.skip()
    }
    const script = fileURLToPath(new URL('fixtures/port-mapping-facts.ts', import.meta.url))
    const { stdout } = await run([...INSIDE, script], { timeoutMs: TIMEOUT_MS })
    facts = JSON.parse(stdout) as PortMappingFacts
  })

  it('let nobody in before they are asked', () => {
    const seen = Object.values(facts.seen).flatMap(byProtocol => Object.values(byProtocol))
    equal(seen.length, 14)
    ok(seen.every(({ before }) => !before))
  })

  it('open the port that was asked for, by every protocol, behind a symmetric NAT too', () => {
    for (const { answer, after } of Object.values(facts.seen.sound!)) {
      deepEqual(
        { granted: answer.granted, address: answer.address, after },
        { granted: true, address: '11.0.1.1', after: true }
      )
    }
    equal(facts.tcp, true)
  })

  it('open it whatever the filtering of the NAT is, and speak only what they shall', () => {
    equal(facts.seen.cone?.['nat-pmp']?.after, true)
    deepEqual(facts.coneAnswers, ['nat-pmp'])
  })

  it('refuse in the words of each protocol', () => {
    const { upnp, 'nat-pmp': natPmp, pcp } = facts.seen.refusing!
    deepEqual([upnp?.answer.code, natPmp?.answer.code, pcp?.answer.code], [606, 2, 2])
    ok([upnp, natPmp, pcp].every(seen => seen?.after === false))
  })

  it('refuse behind another NAT, where nobody could use it', () => equal(facts.seen.inner?.['nat-pmp']?.answer.code, 3))

  it('name an address that is nobody’s when they lie, and map all the same', () => {
    for (const { answer, after } of Object.values(facts.seen.lying!)) {
      deepEqual({ address: answer.address, after }, { address: NOBODY, after: true })
    }
  })

  it('close a mapping when its lease is over', () => equal(facts.lapsed, true))

  it('forget early with a short lease, and only PCP says so', () => {
    const { upnp, 'nat-pmp': natPmp, pcp } = facts.seen.forgetful!
    equal(pcp?.answer.lifetimeS, SHORT_LEASE_S)
    ok(upnp!.answer.lifetimeS! > SHORT_LEASE_S && natPmp!.answer.lifetimeS! > SHORT_LEASE_S)
    ok([upnp, natPmp, pcp].every(seen => seen?.after))
    deepEqual(facts.forgotten, { upnp: true, 'nat-pmp': true, pcp: true })
  })

  it("keep what was granted when the NAT's rules are loaded again", () => equal(facts.outlivesReload, true))

  it(`are noticed when ${PORT_MAPPER.program} dies`, () => equal(facts.death, 'DAEMON_DIED'))

  it('leave nothing behind', () => deepEqual(facts.leftovers, []))
})
