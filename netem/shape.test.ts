import { deepEqual, equal, throws } from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { bufferPackets, burstChances } from './buffer.ts'
import { copyProgram } from './copy-program.ts'
import { cutRuleset, healRuleset } from './cut.ts'
import { LINK_CASES } from './link-cases.ts'
import { readLink } from './links.ts'
import { behaviourOf } from './nat-kinds.ts'
import type { ShapingMeans } from './shape.ts'
import { netemArguments } from './shape-netem.ts'
import { fitHost, fitRouter, refitHost, refitRouter, scriptOf } from './steps.ts'
import type { Link } from './topology.ts'

const link = { up: { delayMs: 20, jitterMs: 5, lossPct: 1 }, down: { delayMs: 10, rateKbit: 50_000 } }
const router = {
  name: 'home-nat',
  behaviour: behaviourOf('symmetric'),
  insideHost: null,
  inside: { network: 'home', address: '10.40.1.2', prefixLength: 24 },
  outside: { network: 'internet', address: '11.0.1.1', prefixLength: 16 },
  insideGateway: '10.40.1.254',
  outsideGateway: null,
  routes: [{ to: '10.40.2.0/24', via: '11.0.1.2' }],
  link
}
const host = { defaultGateway: '10.40.1.254', routes: [], link }
const at = { interfaceName: 'eth0', address: '10.40.1.10', subnet: '10.40.1.0/24', control: '10.40.1.1' }

const interfaces = { inside: 'inside', outside: 'outside' }
const MEANS: ShapingMeans[] = ['netem', 'nfqueue']

/** What a link becomes while it stands, one after another. */
const CHANGES: Record<ShapingMeans, Link[]> = {
  netem: changes('corruptPct'),
  nfqueue: changes('duplicatePct')
}

function changes(word: 'corruptPct' | 'duplicatePct'): Link[] {
  return [
    { up: { delayMs: 50 } },
    { up: { delayMs: 80, rateKbit: 1000 }, down: { lossPct: 5, lossBurst: 4 } },
    {
      up: { [word]: 10 },
      down: { [word]: 10 },
      peers: { '11.0.0.0/24': { up: { delayMs: 5 }, down: {} }, '11.0.0.7/32': { [word]: 20 } }
    },
    { up: { duplicatePct: 10 } },
    { up: { duplicatePct: 20 } },
    { up: { delayMs: 5 } },
    {}
  ]
}

/** Compares with a golden file, or writes it. */
function golden(name: string, text: string): void {
  const file = new URL(`golden/${name}`, import.meta.url)
  if (process.env.UPDATE_GOLDEN === '1') writeFileSync(file, text)
  equal(text, readFileSync(file, 'utf8'))
}

describe('shaping', () => {
  for (const means of MEANS) {
    it(`fits a router and a host with ${means} as netem/golden/shape-${means}.sh says (UPDATE_GOLDEN=1 writes it)`, () => {
      const text = [
        '# router',
        scriptOf(fitRouter(router, interfaces, { means })),
        '# host',
        scriptOf(fitHost(host, at, { means }))
      ].join('\n')
      golden(`shape-${means}.sh`, text)
    })

    it(`changes both while they stand with ${means} as netem/golden/reshape-${means}.sh says`, () => {
      const text: string[] = []
      let standing = fitRouter({ ...router, link: readLink({}) }, interfaces, { means }).standing
      for (const change of CHANGES[means]) {
        const shape = refitRouter({ link: readLink(change) }, interfaces, { means, standing })
        standing = shape.standing
        text.push(`# router: ${JSON.stringify(change)}`, scriptOf({ sysctls: {}, ...shape }))
      }
      standing = fitHost({ ...host, link: readLink({}) }, at, { means }).standing
      for (const change of CHANGES[means]) {
        const shape = refitHost({ ...host, link: readLink(change) }, at, { means, standing })
        standing = shape.standing
        text.push(`# host: ${JSON.stringify(change)}`, scriptOf(shape))
      }
      golden(`reshape-${means}.sh`, text.join('\n'))
    })
  }

  it('says every case of the table to tc as netem/golden/netem-words.txt has it', () => {
    const lines = LINK_CASES.map(({ name, impairment }) => `${name}: tc ${netemArguments(impairment).join(' ')}`)
    golden('netem-words.txt', `${lines.join('\n')}\n`)
  })

  it('refuses what newer kernels refuse of netem: duplicates beside the impairments of a peer', () => {
    const twice = readLink({ up: { duplicatePct: 10 }, peers: { '11.0.0.0/24': { delayMs: 5 } } })
    throws(() => fitRouter({ ...router, link: twice }, interfaces, { means: 'netem' }), { code: 'DUPLICATES_BY_PEER' })
    const alone = readLink({ up: { duplicatePct: 10 }, peers: { '11.0.0.0/24': {} } })
    equal(fitRouter({ ...router, link: alone }, interfaces, { means: 'netem' }).queues.length, 0)
  })

  it('asks for nothing where nothing is impaired', () => {
    const perfect = { up: null, down: null }
    for (const means of MEANS) {
      const { steps, queues } = fitHost({ ...host, defaultGateway: null, link: perfect }, at, { means })
      deepEqual([steps, queues], [[], []])
      deepEqual(fitRouter({ ...router, link: perfect }, interfaces, { means }).queues, [])
    }
  })

  it('shapes IPv6 in the same queues where it is spoken', () => {
    const { steps } = refitHost(
      host,
      { ...at, ipv6: { address: '2a11:10:1::a', subnet: '2a11:10:1::/64' } },
      { means: 'nfqueue' }
    )
    const rules = steps.find(({ argv }) => argv[0] === 'ip6tables-restore')?.input ?? ''
    equal(rules.match(/NFQUEUE --queue-num [12]$/gm)?.length, 2)
    equal(rules.match(/icmpv6-type 13[3-6] -j ACCEPT/g)?.length, 4)
  })

  it('holds a quarter of a second beyond the delay at a rate, and nearly everything without one', () => {
    equal(bufferPackets({ delayMs: 50, rateKbit: 100_000 }), 2477)
    equal(bufferPackets({ rateKbit: 8 }), 32)
    equal(bufferPackets({ delayMs: 60_000 }), 100_000)
    equal(bufferPackets({ rateKbit: 1000, limitPackets: 7 }), 7)
  })

  it('knows how often a link fails and recovers for bursts', () => {
    deepEqual(burstChances({ lossPct: 20, lossBurst: 4 }), { fail: 0.0625, recover: 0.25 })
    equal(burstChances({ lossPct: 20 }), null)
    equal(burstChances({ lossPct: 100, lossBurst: 4 }), null)
  })

  it('never bypasses a queue', () => {
    const all = CHANGES.nfqueue.map(change => refitRouter({ link: readLink(change) }, interfaces, { means: 'nfqueue' }))
    equal(JSON.stringify(all).includes('bypass'), false)
  })

  it('copies by a program that allows for copies of copies, and asks whose packet it is', () => {
    const rule = { pct: 100, family: 'ip', peer: 'source', match: null, except: [] } as const
    equal(copyProgram({ ...rule, except: [] }), '4,32 0 0 4294963256,53 1 0 2147483648,6 0 0 4294967295,6 0 0 0')
    const only = copyProgram({ ...rule, except: ['10.0.0.1/32'], match: '10.0.0.0/8' })
    deepEqual(only.split(',').slice(1, 9), [
      '32 0 0 26',
      '84 0 0 4294967295',
      '21 0 1 167772161',
      '6 0 0 0',
      '32 0 0 26',
      '84 0 0 4278190080',
      '21 1 0 167772160',
      '6 0 0 0'
    ])
    const ipv6 = copyProgram({ ...rule, except: [], family: 'ip6', peer: 'destination', match: '2a11:10::/32' })
    equal(ipv6.split(',')[1], '32 0 0 38')
    equal(ipv6.split(',')[3], '21 1 0 705757200')
  })

  it('cuts all but control, and heals', () => {
    equal(
      cutRuleset('11.0.0.1')
        .split('\n')
        .filter(line => line.includes('policy drop')).length,
      2
    )
    equal(healRuleset().endsWith('delete table inet warren_cut\n'), true)
  })
})
