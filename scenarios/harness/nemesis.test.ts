import { deepEqual, equal, rejects } from 'node:assert/strict'
import { startHistory } from './history.ts'
import { startNemesis } from './nemesis.ts'
import { seededRandom } from './random.ts'
import type { Testnet } from './runtime.ts'

/** A testnet that only writes down what is done to it; `broken` cannot be unplugged. */
function written(): { testnet: Testnet; log: string[] } {
  const log: string[] = []
  const act = (what: string) => async () => {
    log.push(what)
    return async () => void log.push(`undo ${what}`)
  }
  const host = (name: string) => ({
    unplug: async () => {
      if (name === 'broken') throw new Error('no plug')
      return await act(`unplug ${name}`)()
    },
    move: async (network: string) => await act(`move ${name} ${network}`)()
  })
  const router = (name: string) => ({
    rebind: async () => void log.push(`rebind ${name}`),
    setNat: async (nat: string) => await act(`nat ${name} ${nat}`)()
  })
  const testnet = { host, router, dropBetween: async (pairs: unknown[]) => await act(`drop ${pairs.length}`)() }
  return { testnet: testnet as unknown as Testnet, log }
}

describe('the nemesis', () => {
  it('undoes what is left, last first, each once', async () => {
    const { testnet, log } = written()
    const nemesis = startNemesis(testnet, startHistory(), seededRandom('x'))
    await nemesis.move('a', 'home')
    const undo = await nemesis.setNat('r', 'symmetric')
    await nemesis.unplug(['a', 'b'])
    await undo()
    await nemesis.undoAll()
    await nemesis.undoAll()
    deepEqual(log.slice(4), ['undo nat r symmetric', 'undo unplug a', 'undo unplug b', 'undo move a home'])
  })

  it('takes back what could be done of an act that failed', async () => {
    const { testnet, log } = written()
    const nemesis = startNemesis(testnet, startHistory(), seededRandom('x'))
    await rejects(nemesis.unplug(['a', 'broken']), /no plug/)
    deepEqual(log, ['unplug a', 'undo unplug a'])
    await nemesis.undoAll()
    equal(log.length, 2)
  })

  it('parts hosts by the same chance for the same seed, and writes down who', async () => {
    const part = async (seed: string) => {
      const history = startHistory()
      const { partition } = await startNemesis(written().testnet, history, seededRandom(seed)).partition('halves', [
        ...'abcdefgh'
      ])
      return { groups: partition.groups, entries: history.entries }
    }
    const first = await part('1')
    deepEqual((await part('1')).groups, first.groups)
    deepEqual(
      first.entries.map(({ what, detail }) => [what, detail]),
      [['partition halves', first.groups]]
    )
  })

  it('rebinds without an undo', async () => {
    const { testnet, log } = written()
    const nemesis = startNemesis(testnet, startHistory(), seededRandom('x'))
    await nemesis.rebind(['r', 's'])
    await nemesis.undoAll()
    deepEqual(log, ['rebind r', 'rebind s'])
  })
})
