/** The part of the contract suite that changes the network: routers, links, networks, partitions. */
import assert from 'node:assert/strict'
import { type DirectedPair, outerAddresses, placeOn } from '../netem/index.ts'
import { listAddresses, type MeshHearing, mesh, seenFrom } from './harness/change-programs.ts'
import { PARTITION_SHAPES, partition } from './harness/partitions.ts'
import { nodeProgram, reflectUdp } from './harness/probe-programs.ts'
import { seededRandom } from './harness/random.ts'
import type { Host, Router, Testnet } from './harness/runtime.ts'

const REFLECT_FOR_MS = 300_000
const REFLECTOR_PORT = 46_001
const LOCAL_PORT = 46_101
const MESH_PORT = 46_200
const PATIENT_MS = 10_000
/** How long nothing must come before it counts as silence. */
const QUIET_MS = 800
/** How long a mesh listens, and how long its hosts get to begin at first. */
const WINDOW_MS = 400
const LEAD_MS = 700
const LEADS = 6
const LEAD_GROWTH = 1.5

export interface ChangesSuite {
  testnet: () => Testnet
  /** Whether a host's control port answers. */
  answer: (host: Host) => Promise<void>
  becomesReady: () => Promise<void>
}

/** To be called within the suite's `describe`, where its tests run in order with the others; leaves the testnet as it was. */
export function changesContract({ testnet, answer, becomesReady }: ChangesSuite): void {
  const ending = new AbortController()
  let reflecting: Array<Promise<unknown>> | null = null
  let unpredictable: () => Promise<void> = async () => {}
  let leadMs = LEAD_MS
  const host = (name: string): Host => testnet().host(name)
  const routerOf = (name: string): Router => testnet().router(`${host(name).planned.nat}-nat`)
  const said = async (from: Host, argv: string[]): Promise<string> => {
    const { code, stdout, stderr } = await from.exec(argv)
    assert.equal(code, 0, stderr)
    return stdout.trim()
  }
  const reflect = (): Array<Promise<unknown>> =>
    ['relay', 'gateway'].map(name =>
      host(name)
        .exec(nodeProgram(reflectUdp, [REFLECTOR_PORT], REFLECT_FOR_MS), { signal: ending.signal })
        .catch(() => undefined)
    )
  const seen = async (name: string, by = 'relay', withinMs = PATIENT_MS): Promise<string> => {
    reflecting ??= reflect()
    const target = `${host(by).planned.attachment.address}:${REFLECTOR_PORT}`
    return await said(host(name), nodeProgram(seenFrom, LOCAL_PORT, target, withinMs))
  }
  const addresses = async (name: string): Promise<string[]> =>
    JSON.parse(await said(host(name), nodeProgram(listAddresses))) as string[]

  it('forgets the mappings of a NAT', async () => {
    const first = await seen('bob')
    assert.equal(await seen('bob'), first, 'a mapping was forgotten unasked')
    await routerOf('bob').rebind()
    assert.notEqual(await seen('bob'), first)
    const { code, stdout } = await routerOf('bob').exec(['nft', 'list', 'tables'])
    assert.equal(code, 0)
    assert.doesNotMatch(stdout, /hold/, 'the router still holds everything back')
  })

  it('gives a NAT another public address and takes it back', async () => {
    const router = routerOf('alice')
    const [planned, spare] = outerAddresses(testnet().plan, router.planned)
    assert.equal((await seen('alice')).split(':')[0], planned)
    const undo = await router.setPublicAddress()
    assert.equal(await router.publicAddress(), spare)
    assert.equal((await seen('alice')).split(':')[0], spare)
    await undo()
    await undo()
    assert.equal((await seen('alice')).split(':')[0], planned)
  })

  it('makes another NAT of a NAT and takes it back', async () => {
    const undo = await routerOf('alice').setNat('symmetric')
    assert.notEqual(await seen('alice', 'relay'), await seen('alice', 'gateway'), 'it is not symmetric')
    await undo()
    await undo()
    const kept = `${routerOf('alice').planned.outside.address}:${LOCAL_PORT}`
    assert.deepEqual([await seen('alice', 'relay'), await seen('alice', 'gateway')], [kept, kept])
  })

  it('refuses a NAT that needs routes elsewhere, and one that contradicts itself', async () => {
    await assert.rejects(routerOf('alice').setNat('none'), { code: 'CHANGE_REFUSED', message: /NEEDS_ROUTES/ })
    const nat = { kind: 'symmetric', allocation: 'preserving' } as const
    await assert.rejects(routerOf('alice').setNat(nat), { code: 'CHANGE_REFUSED', message: /NAT_CONTRADICTION/ })
  })

  it('unplugs a host, which then has no link, and plugs it in again', async () => {
    const own = host('alice').planned.attachment.address
    assert.deepEqual(await addresses('alice'), [own])
    const undo = await host('alice').unplug()
    assert.equal((await testnet().status()).hosts.alice?.unplugged, true)
    assert.deepEqual(await addresses('alice'), [], 'the product cannot notice it')
    assert.equal(await seen('alice', 'relay', QUIET_MS), 'silence')
    if (testnet().runtime === 'netns') await answer(host('alice'))
    await undo()
    await undo()
    assert.equal((await testnet().status()).hosts.alice?.unplugged, false)
    assert.match(await seen('alice'), /^11\./)
    await answer(host('alice'))
  })

  it('moves a host to another network and back', async () => {
    const { planned } = host('alice')
    const other = host('bob').planned.attachment.network
    const undo = await host('alice').move(other)
    assert.equal((await testnet().status()).hosts.alice?.network, other)
    assert.deepEqual(await addresses('alice'), [placeOn(testnet().plan, planned, other).attachment.address])
    assert.equal((await seen('alice')).split(':')[0], routerOf('bob').planned.outside.address)
    await answer(host('alice'))
    await undo()
    await undo()
    assert.deepEqual(await addresses('alice'), [planned.attachment.address])
    assert.equal((await seen('alice')).split(':')[0], routerOf('alice').planned.outside.address)
    await answer(host('alice'))
    await assert.rejects(host('alice').move('nowhere'), { code: 'UNKNOWN_NETWORK' })
  })

  /** Whom each host hears when all say their names to all. */
  const hearings = async (): Promise<Record<string, string[]>> => {
    const hosts = testnet().hosts()
    const endpoints = hosts.map(({ planned }, index) => {
      const { nat, name, attachment } = planned
      const address = nat === null ? attachment.address : routerOf(name).planned.outside.address
      return { name, port: MESH_PORT + index, endpoint: `${address}:${MESH_PORT + index}` }
    })
    for (let attempt = 0; attempt < LEADS; attempt++) {
      const startAtMs = Date.now() + leadMs
      const results = await Promise.all(
        endpoints.map(async ({ name, port }) => {
          const peers = endpoints.filter(each => each.name !== name).map(({ endpoint }) => endpoint)
          const argv = nodeProgram(mesh, name, port, peers, startAtMs, WINDOW_MS)
          return [name, JSON.parse(await said(host(name), argv)) as MeshHearing] as const
        })
      )
      if (results.every(([, { late }]) => !late))
        return Object.fromEntries(results.map(([name, { heard }]) => [name, heard]))
      leadMs *= LEAD_GROWTH
    }
    throw new Error('this machine is too slow to start a program in every host at one time')
  }
  const expected = (pairs: readonly DirectedPair[]): Record<string, string[]> => {
    const names = testnet()
      .hosts()
      .map(({ planned }) => planned.name)
    const isLost = (from: string, to: string): boolean => pairs.some(pair => pair.from === from && pair.to === to)
    return Object.fromEntries(
      names.map(to => [to, names.filter(from => from !== to && !isLost(from, to)).sort()] as const)
    )
  }

  it('lets every host hear every other before it is parted', async () => {
    // So that everyone's outer port is its own, and all can send to all.
    unpredictable = await routerOf('bob').setNat('port-preserving')
    assert.deepEqual(await hearings(), expected([]))
  })

  for (const shape of PARTITION_SHAPES) {
    it(`loses what '${shape}' says and nothing else`, async () => {
      const names = testnet()
        .hosts()
        .map(({ planned }) => planned.name)
      const { pairs } = partition(shape, names, seededRandom(`contract ${shape}`))
      const undo = await testnet().dropBetween(pairs)
      try {
        assert.deepEqual(await hearings(), expected(pairs))
      } finally {
        await undo()
        await undo()
      }
    })
  }

  it('heals a partition', async () => {
    assert.deepEqual(await hearings(), expected([]))
    await unpredictable()
  })

  it('refuses to part hosts that are not there', async () => {
    const pairs = [{ from: 'alice', to: 'zoe' }]
    await assert.rejects(testnet().dropBetween(pairs), { code: 'UNKNOWN_HOST' })
  })

  it('is ready again after all of this', async () => {
    ending.abort()
    await Promise.all(reflecting ?? [])
    await becomesReady()
  })
}
