/** A whole site behind one NAT goes: every acknowledged blob is read elsewhere, and repaired there. */
import { scenario } from './harness/scenario.ts'
import { readBack, untilReplicated, writeBlobs } from './storage/blobs.ts'
import { BLOBS, READ_WITHIN_MS, REPLICAS, REPLICATED_WITHIN_MS, SITES, storageLab } from './storage/lab.ts'

const REPAIRED_WITHIN_MS = 180_000

export default scenario({
  about:
    'a whole site behind one NAT goes; every acknowledged blob is read at once, and repaired on the nodes that stay',
  topology: storageLab,
  needs: ['nat', 'kill', 'exec'],
  withinMs: 900_000,

  async story(story) {
    const { hosts, nemesis, check, random, row, step, depth } = story
    const nodes = hosts('node')
    const [site] = random.pick(Object.keys(SITES) as Array<keyof typeof SITES>, 1)
    const going = nodes.filter(({ planned }) => SITES[site!].some(name => name === planned.name))
    const staying = nodes.filter(node => !going.includes(node))

    step('write, most of it through the site that will go')
    const blobs = await writeBlobs(story, [...going, staying[0]!], BLOBS[depth])
    const holders = await untilReplicated(story, `${REPLICAS} nodes hold each blob`, nodes, blobs, {
      replicas: REPLICAS,
      withinMs: REPLICATED_WITHIN_MS
    })
    const names = going.map(({ planned }) => planned.name)
    const onlyThere = [...holders].filter(([, held]) => held.every(name => names.includes(name))).map(([cid]) => cid)
    check.equal('no blob has all its replicas in that site', onlyThere, [])

    step(`${site} goes`)
    await nemesis.kill(names)
    const beganMs = performance.now()
    await readBack(story, 'every blob is read by those who stay', staying, blobs, { withinMs: READ_WITHIN_MS })
    row({ site, blobs: blobs.length, readMs: Math.round(performance.now() - beganMs) })
    await untilReplicated(story, `every blob has ${REPLICAS} replicas among those who stay`, staying, blobs, {
      replicas: REPLICAS,
      withinMs: REPAIRED_WITHIN_MS
    })
    row({ site, blobs: blobs.length, repairedMs: Math.round(performance.now() - beganMs) })

    step(`${site} comes back`)
    await nemesis.undoAll()
    await readBack(story, 'every blob is read when the site is back', nodes, blobs, { withinMs: READ_WITHIN_MS })
  }
})
