import { deepEqual, equal } from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { cutRuleset, healRuleset } from './cut.ts'
import { behaviourOf } from './nat-kinds.ts'
import { bufferPackets, netemOnIngress, queueRules, type ShapingMeans } from './shape.ts'
import { fitHost, fitRouter, scriptOf } from './steps.ts'

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

describe('shaping', () => {
  for (const means of ['netem', 'nfqueue'] satisfies ShapingMeans[]) {
    it(`fits a router and a host with ${means} as netem/golden/shape-${means}.sh says (UPDATE_GOLDEN=1 writes it)`, () => {
      const text = [
        '# router',
        scriptOf(fitRouter(router, { inside: 'inside', outside: 'outside' }, means)),
        '# host',
        scriptOf(fitHost(host, at, means))
      ].join('\n')
      const file = new URL(`golden/shape-${means}.sh`, import.meta.url)
      if (process.env.UPDATE_GOLDEN === '1') writeFileSync(file, text)
      equal(text, readFileSync(file, 'utf8'))
    })
  }

  it('asks for nothing where nothing is impaired', () => {
    const perfect = { up: null, down: null }
    for (const means of ['netem', 'nfqueue'] satisfies ShapingMeans[]) {
      deepEqual(fitHost({ ...host, defaultGateway: null, link: perfect }, at, means), {
        sysctls: {},
        steps: [],
        queues: []
      })
      deepEqual(fitRouter({ ...router, link: perfect }, { inside: 'i', outside: 'o' }, means).queues, [])
    }
  })

  it('holds a quarter of a second beyond the delay at a rate, and nearly everything without one', () => {
    equal(bufferPackets({ delayMs: 50, rateKbit: 100_000 }), 2477)
    equal(bufferPackets({ rateKbit: 8 }), 32)
    equal(bufferPackets({ delayMs: 60_000 }), 100_000)
  })

  it('never bypasses a queue', () => {
    equal(queueRules([{ queue: 1, interfaceName: 'eth0' }]).includes('bypass'), false)
    equal(netemOnIngress('eth0', { delayMs: 1 }).length, 5)
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
