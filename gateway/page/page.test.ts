import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { networkView, type PictureInput } from '../network/hosts.ts'
import type { HostObservation, InventoryHost } from '../network/hosts.types.ts'
import { startBrowser } from '../testing/browser.ts'
import { eventually, startChain, startGateway } from '../testing/fixtures.ts'
import { liveFragment, PAGE_HEADERS, page } from './page.ts'

const AT = new Date('2026-01-02T03:04:05Z')

function host(name: string, role: string, nat: string | null = null, natKind: string | null = null): InventoryHost {
  return { name, role, nat, natKind, site: null, control: null, peerId: role === 'chain' ? null : `peer-${name}` }
}

function observation(name: string, facts: Partial<HostObservation> = {}): HostObservation {
  return {
    peerId: `peer-${name}`,
    state: 'up',
    reason: null,
    nodeId: name,
    storedBlobs: 2,
    storedBytes: 2048,
    failureGroup: null,
    connections: [],
    ...facts
  }
}

const INVENTORY = [
  host('relay', 'relay'),
  host('gw', 'gateway'),
  host('chain', 'chain'),
  host('home-10', 'node', 'home', 'symmetric'),
  host('home-2', 'node', 'home', 'symmetric')
]

function input(facts: Partial<PictureInput> = {}): PictureInput {
  return {
    at: AT,
    self: {
      name: 'gw',
      peerId: 'peer-gw',
      connections: [
        { peerId: 'peer-relay', path: 'direct' },
        { peerId: 'peer-home-2', path: 'relayed', via: 'peer-relay' }
      ]
    },
    inventory: INVENTORY,
    observations: [
      observation('relay', { nodeId: null, storedBlobs: null, storedBytes: null }),
      observation('home-2', { connections: [{ peerId: 'peer-gw', path: 'relayed', via: 'peer-relay' }] }),
      observation('home-10', { state: 'down', reason: 'it does not answer', storedBlobs: null, storedBytes: null })
    ],
    named: new Map([['chain', { state: 'up', reason: null }]]),
    since: () => AT,
    ...facts
  }
}

describe('the picture of the network', () => {
  it('joins what is known beforehand with what is found', () => {
    const view = networkView(input())
    assert.deepEqual(
      view.hosts.map(({ name, state, path }) => [name, state, path]),
      [
        ['gw', 'up', null],
        ['relay', 'up', 'direct'],
        ['chain', 'up', null],
        ['home-2', 'up', 'relayed'],
        ['home-10', 'down', null]
      ]
    )
    assert.deepEqual(view.nats, [{ name: 'home', kind: 'symmetric', hosts: ['home-2', 'home-10'] }])
  })

  it('has one path a pair, direct when either end has it so', () => {
    assert.deepEqual(networkView(input()).paths, [
      { a: 'gw', b: 'home-2', path: 'relayed', via: 'relay' },
      { a: 'gw', b: 'relay', path: 'direct', via: null }
    ])
    const punched = observation('home-2', { connections: [{ peerId: 'peer-gw', path: 'direct' }] })
    const path = networkView(input({ observations: [punched] })).paths.find(found => found.b === 'home-2')
    assert.equal(path?.path, 'direct')
  })

  it('shows strangers beside listed hosts, never in their place', () => {
    const liar = observation('liar', { nodeId: 'relay' })
    const view = networkView(input({ observations: [liar, ...input().observations] }))
    assert.equal(view.hosts.filter(found => found.name === 'relay').length, 1)
    assert.ok(view.hosts.some(found => found.name.startsWith('relay (')))
  })

  it('works without an inventory', () => {
    const view = networkView(input({ inventory: [], named: new Map() }))
    assert.deepEqual(view.hosts.map(found => found.role).sort(), ['gateway', 'node', 'node', 'peer'])
  })
})

describe('the page', () => {
  it('says in words what the picture says in colour', () => {
    const text = liveFragment(networkView(input()))
    assert.match(text, /Down: home-10/)
    assert.match(text, /down since 03:04:05 UTC: it does not answer/)
    assert.match(text, /home \(symmetric NAT\)/)
    assert.match(text, /2 blobs, 2\.0 KiB/)
    assert.match(text, /<b>1<\/b> relayed path/)
  })

  it('escapes what strangers call themselves', () => {
    const name = '"><script>alert(1)</script>'
    const text = page(networkView(input({ observations: [observation('x', { nodeId: name, reason: name })] })))
    assert.ok(!text.includes('<script>alert'))
    assert.ok(text.includes('&lt;script&gt;alert(1)'))
  })

  it('loads nothing and lets only its own style and script in', () => {
    const text = page(networkView(input()))
    const [, script] = /<script>([\s\S]*?)<\/script>/.exec(text) ?? []
    const [, style] = /<style>([\s\S]*?)<\/style>/.exec(text) ?? []
    const policy = PAGE_HEADERS['Content-Security-Policy'] as string
    for (const part of [script, style]) {
      assert.ok(
        policy.includes(
          createHash('sha256')
            .update(part as string)
            .digest('base64')
        )
      )
    }
    assert.match(policy, /default-src 'none'/)
    assert.doesNotMatch(text, /\ssrc=|@import|url\(|\sstyle=|\son\w+=/)
  })

  it('draws a hundred hosts behind ten NATs without a felt of lines', () => {
    const many = Array.from({ length: 100 }, (_, at) => host(`n${at}`, 'node', `lan-${at % 10}`, 'symmetric'))
    const peers = many.map(({ peerId }) => ({ peerId: peerId as string, path: 'direct' as const }))
    const view = networkView(
      input({
        inventory: [host('gw', 'gateway'), ...many],
        self: { name: 'gw', peerId: 'peer-gw', connections: peers },
        observations: many.map(({ name }) => observation(name, { connections: peers }))
      })
    )
    assert.equal(view.paths.length + view.omitted.paths, 100 + (100 * 99) / 2)
    const text = liveFragment(view)
    assert.match(text, /Only the 100 paths of gw are drawn, of 5050/)
    assert.ok(text.length < 400_000)
  })
})

describe('the page in a browser', function () {
  this.timeout(60_000)

  it('asks while it has no socket, says when it is old, and is told as soon as it has one', async function () {
    await using browser = await startBrowser()
    if (browser === null) {
      console.log('      skipped: no chromium here (apt-get install chromium)')
      return this.skip()
    }
    await using chain = await startChain()
    const options = { inventory: [...INVENTORY], environment: { ...chain.environment, NODE_ID: 'gw' } }
    const first = await startGateway({ ...options, socketLimits: { socketsMax: 0 } })
    const shown = await browser.open(`${first.url}/`)
    const said = () => shown.evaluate("document.getElementById('fresh').textContent") as Promise<string>
    await eventually(async () => /^Live: last asked at \d\d:\d\d:\d\d UTC\.$/.test(await said()))
    await first[Symbol.asyncDispose]()
    await eventually(() => shown.evaluate("document.body.classList.contains('stale')") as Promise<boolean>)

    await using _second = await startGateway({ ...options, port: first.port })
    await eventually(async () => /^Live: last told at \d\d:\d\d:\d\d UTC\.$/.test(await said()), 30_000)
    assert.equal(await shown.evaluate("document.body.classList.contains('stale')"), false)
    chain.fail()
    await eventually(
      async () => (await shown.evaluate("document.querySelector('.alarm')?.textContent")) === 'Down: chain'
    )
    assert.equal(await shown.evaluate("document.querySelectorAll('svg.picture').length"), 1)
    assert.equal(await shown.evaluate('document.body.dataset.violation ?? null'), null)
  })
})
