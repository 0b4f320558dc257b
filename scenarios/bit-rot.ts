/** Disks spoil copies silently: no wrong byte is ever read, scrub finds every one of them, repair makes three good copies. */
import { adminToken, flipByte, sealedHash } from './harness/blob-files.ts'
import { scenario } from './harness/scenario.ts'
import { readBack, untilReplicated, writeBlobs } from './storage/blobs.ts'
import { BLOBS, READ_WITHIN_MS, REPLICAS, REPLICATED_WITHIN_MS, storageLab } from './storage/lab.ts'

const SCRUBBED_WITHIN_MS = 120_000

export default scenario({
  about: 'one byte of a copy of every blob is flipped on disk; reads stay right, scrub finds each, repair restores all',
  topology: storageLab,
  needs: ['nat', 'exec'],
  withinMs: 600_000,

  async story(story) {
    const { hosts, check, random, row, step, depth, signal } = story
    const nodes = hosts('node')

    step('write')
    const blobs = await writeBlobs(story, nodes, BLOBS[depth])
    const holders = await untilReplicated(story, `${REPLICAS} nodes hold each blob`, nodes, blobs, {
      replicas: REPLICAS,
      withinMs: REPLICATED_WITHIN_MS
    })

    step('one copy of each is spoiled')
    const spoiled: Array<{ cid: string; on: string; hash: string }> = []
    for (const { cid } of blobs) {
      const [on] = random.pick(holders.get(cid)!, 1)
      spoiled.push({ cid, on: on!, hash: await flipByte(story.host(on!), cid) })
    }
    await readBack(story, 'every blob is read right', nodes, blobs, { withinMs: READ_WITHIN_MS })

    step('scrub')
    for (const node of nodes) {
      const response = await fetch(`${node.control}/admin/scrub`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${await adminToken(node)}` },
        signal
      })
      // 409: a pass of its own is under way, which is as good.
      check.that(`${node.planned.name} scrubs`, [202, 409].includes(response.status), `${response.status}`)
    }
    const beganMs = performance.now()
    await check.eventually(
      'no spoiled copy is left on any disk',
      async () => {
        const left: string[] = []
        for (const { cid, on, hash } of spoiled) {
          if ((await sealedHash(story.host(on), cid)) === hash) left.push(`${on} ${cid}`)
        }
        return left
      },
      left => left.length === 0,
      { withinMs: SCRUBBED_WITHIN_MS }
    )
    row({
      what: 'spoiled copies found and set aside',
      count: spoiled.length,
      tookMs: Math.round(performance.now() - beganMs)
    })
    await untilReplicated(story, `${REPLICAS} good copies of each blob again`, nodes, blobs, {
      replicas: REPLICAS,
      withinMs: SCRUBBED_WITHIN_MS
    })
    const untouched = await Promise.all(
      blobs.map(async ({ cid }) => {
        const bad = spoiled.find(each => each.cid === cid)!
        const good = holders.get(cid)!.filter(name => name !== bad.on)
        const hashes = await Promise.all(good.map(async name => await sealedHash(story.host(name), cid)))
        return hashes.some(hash => hash === null) ? [cid] : []
      })
    )
    check.equal('no good copy is deleted', untouched.flat(), [])
    await readBack(story, 'every blob is read right afterwards', nodes, blobs, { withinMs: READ_WITHIN_MS })
  }
})
