/** Holders die one after another, and what they held is repaired elsewhere before the next. */
import type { Host } from './harness/runtime.ts'
import { scenario } from './harness/scenario.ts'
import { readBack, untilReplicated, writeBlobs } from './storage/blobs.ts'
import { BLOBS, READ_WITHIN_MS, REPLICAS, REPLICATED_WITHIN_MS, storageLab } from './storage/lab.ts'

const DEATHS = { short: 2, full: 4 }
/** Until a node is known to be away, the pause for those that only restart, and the copies. */
const REPAIRED_WITHIN_MS = 180_000

export default scenario({
  about: 'holders of blobs are killed one after another, each loss is repaired on other nodes, and every blob is read',
  topology: storageLab,
  needs: ['nat', 'kill', 'exec'],
  withinMs: 1_200_000,

  async story(story) {
    const { hosts, nemesis, random, row, step, depth } = story
    const nodes = hosts('node')

    step('write')
    const blobs = await writeBlobs(story, nodes, BLOBS[depth])
    let holders = await untilReplicated(story, `${REPLICAS} nodes hold each blob`, nodes, blobs, {
      replicas: REPLICAS,
      withinMs: REPLICATED_WITHIN_MS
    })

    let alive: Host[] = nodes
    for (let death = 1; death <= DEATHS[depth]; death++) {
      const counts = alive.map(node => ({ node, held: [...holders.values()].flat().filter(is(node)).length }))
      const holding = counts.filter(({ held }) => held > 0).map(({ node }) => node)
      const [victim] = random.pick(holding, 1)
      const lost = counts.find(({ node }) => node === victim)?.held ?? 0
      step(`${victim!.planned.name} dies with ${lost} of ${blobs.length} blobs`)
      await nemesis.kill(victim!.planned.name)
      alive = alive.filter(node => node !== victim)
      const beganMs = performance.now()
      holders = await untilReplicated(story, `after death ${death} all is repaired on living nodes`, alive, blobs, {
        replicas: REPLICAS,
        withinMs: REPAIRED_WITHIN_MS
      })
      row({ death, victim: victim!.planned.name, lost, repairedMs: Math.round(performance.now() - beganMs) })
      await readBack(story, `after death ${death} every blob is read by who has it not`, alive, blobs, {
        withinMs: READ_WITHIN_MS
      })
    }

    step('the dead come back')
    await nemesis.undoAll()
    await readBack(story, 'every blob is read when all are back', nodes, blobs, { withinMs: READ_WITHIN_MS })
  }
})

function is({ planned }: Host): (name: string) => boolean {
  return name => name === planned.name
}
