/**
 * `node node/faults/flips.ts --flips 1000`: three nodes with three replicas of every blob; two copies of each get one
 * flipped bit, in data or metadata. One half is read through every node: all right. The other half is scrubbed: every
 * flip is found. Afterwards there are three good copies of everything and no good copy was touched. Counts go to
 * `reports/faults/flips.json`. With `--packed`, or PACK_SMALL_BLOBS=true, the blobs are in packs
 * (`reports/faults/flips-packed.json`).
 */
import { randomBytes, randomInt } from 'node:crypto'
import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cidOf } from '../blobs/cid.ts'
import { cidWith } from '../blobs/pack/cid-key.ts'
import { listPacks, packPath, scanPack } from '../blobs/pack/pack-file.ts'
import { RECORD_HEADER_BYTES } from '../blobs/pack/record.ts'
import { eventually } from '../net/testing.ts'
import { startNodes, type TestNode } from '../testing.ts'
import { flipBit, inPieces, writeReport } from './testing.ts'

const NODES = 3
/** Flipped copies of one blob; the third stays good. */
const FLIPS_EACH = 2
const SIZE_MAX = 8000
/** One in so many flips is in the metadata. */
const META_ONE_IN = 3
const REPAIR_TIMEOUT_MS = 120_000
const AT_ONCE = 8

export interface FlipReport {
  flips: number
  blobs: number
  reads: number
  wrongReads: number
  /** Flips in the half that was scrubbed. */
  scrubbed: number
  /** Copies of that half that were set aside: by a scrub, or by a repair that was there first. */
  found: number
  foundByScrub: number
  /** Blobs with three good copies at the end. */
  whole: number
  /** Good copies that are not the same file any more. */
  touched: number
  seconds: number
}

interface Flipped {
  cid: string
  bytes: Buffer
  damaged: TestNode[]
  good: TestNode
  /** What tells its good copy from one written later. */
  goodCopy: number
}

/** A part of a file: the data or the metadata of a copy. */
interface Part {
  path: string
  at: number
  bytes: number
}

interface Copy {
  /** The same as long as the copy is: of a file its inode, of a record its sequence, which it keeps when it is moved. */
  id: number
  data: Part
  meta: Part
}

/** @param options.packed keep the blobs in packs */
export async function flipBits({ flips, packed = false }: { flips: number; packed?: boolean }): Promise<FlipReport> {
  const startedMs = performance.now()
  const count = Math.ceil(flips / FLIPS_EACH)
  await using nodes = await startNodes(NODES, {
    REPLICATION_QUORUM: '3',
    GC_MAX_BLOB_AGE_DAYS: '0',
    SCRUB_RATE_MB: '0',
    PACK_SMALL_BLOBS: String(packed),
    // What is judged is whether bytes are right, not how fast a busy machine is.
    REPLICATION_TIMEOUT_MS: '60000'
  })
  await eventually(() => nodes.every(({ node }) => node.network.members().length === NODES), 'nodes know each other')
  const report: FlipReport = {
    flips: 0,
    blobs: count,
    reads: 0,
    wrongReads: 0,
    scrubbed: 0,
    found: 0,
    foundByScrub: 0,
    whole: 0,
    touched: 0,
    seconds: 0
  }
  const blobs = await each(Array.from({ length: count }), async (_, index): Promise<Flipped> => {
    const bytes = randomBytes(1 + randomInt(SIZE_MAX))
    const { cid } = await nodes[index % NODES]!.node.blobs.put(inPieces(bytes), { sizeHint: bytes.length })
    const good = nodes[randomInt(NODES)]!
    const damaged = nodes.filter(peer => peer !== good)
    return { cid, bytes, good, damaged, goodCopy: 0 }
  })
  const first = await copiesOf(nodes)
  for (const blob of blobs) blob.goodCopy = (await first(blob.good, blob.cid))?.id ?? 0
  const flip = async (part: readonly Flipped[]): Promise<void> => {
    const copyOf = await copiesOf(nodes)
    await each(part, async ({ cid, damaged }) => {
      for (const peer of damaged) {
        const copy = await copyOf(peer, cid)
        if (copy === null) throw new Error(`a copy of ${cid} is not on disk`)
        const { path, at, bytes } = randomInt(META_ONE_IN) === 0 ? copy.meta : copy.data
        await flipBit(path, at * 8 + randomInt(bytes * 8))
        report.flips += 1
      }
    })
  }

  const half = Math.ceil(count / 2)
  const [toRead, toScrub] = [blobs.slice(0, half), blobs.slice(half)]
  await flip(toRead)
  await each(toRead, async ({ cid, bytes }) => {
    for (const { url } of nodes) {
      const answer = await fetch(`${url}/retrieve/${cid}`)
      const right = Buffer.from(await answer.arrayBuffer()).equals(bytes)
      report.reads += 1
      if (!right || answer.status !== 200) report.wrongReads += 1
    }
  })
  await whole(toRead, nodes)

  // Counted from before the flips: a repair that looks at a blob meanwhile may be the first to see one.
  const setAside = () => nodes.reduce((sum, { node }) => sum + node.store.stats().quarantinedBlobs, 0)
  const before = setAside()
  await flip(toScrub)
  report.scrubbed = toScrub.length * FLIPS_EACH
  const passes = nodes.map(({ node }) => node.keeping.scrub.start().ended)
  await Promise.all(passes)
  report.foundByScrub = nodes.reduce((sum, { node }) => sum + node.keeping.scrub.integrity().failed, 0)
  await whole(toScrub, nodes)
  report.found = setAside() - before
  // What a collection would do with so many repairs behind it: nothing.
  await Promise.all(nodes.map(({ node }) => node.keeping.collector.run()))

  const last = await copiesOf(nodes)
  await each(blobs, async ({ cid, good, goodCopy }) => {
    const copies = await Promise.all(nodes.map(peer => isGood(peer, cid)))
    if (copies.every(Boolean)) report.whole += 1
    if ((await last(good, cid))?.id !== goodCopy) report.touched += 1
  })
  report.seconds = Math.round((performance.now() - startedMs) / 1000)
  return report
}

/** Wait until every node has a copy of each again. Whether it is a good one is looked at in the end. */
async function whole(blobs: readonly Flipped[], nodes: readonly TestNode[]): Promise<void> {
  const missing = () => blobs.filter(({ cid }) => nodes.some(({ node }) => !node.store.has(cid))).length
  await eventually(() => missing() === 0, 'three copies of everything', REPAIR_TIMEOUT_MS)
}

async function isGood({ node }: TestNode, cid: string): Promise<boolean> {
  return (await cidOf(node.store.read(cid)).catch(() => null)) === cid
}

/** Where the copies of these nodes are on disk now: records of packs are looked for once, files when they are asked for. */
async function copiesOf(nodes: readonly TestNode[]): Promise<(peer: TestNode, cid: string) => Promise<Copy | null>> {
  const records = new Map<TestNode, Map<string, Copy>>()
  for (const peer of nodes) records.set(peer, await recordsOf(join(peer.dataDir, 'packs')))
  return async (peer, cid) => {
    const [data, meta] = await Promise.all(
      ['data', 'meta.json'].map(async name => {
        const path = join(peer.dataDir, 'blobs', cid, name)
        const file = await stat(path).catch(() => null)
        return file && { id: file.ino, path, at: 0, bytes: file.size }
      })
    )
    return data && meta ? { id: data.id, data, meta } : (records.get(peer)!.get(cid) ?? null)
  }
}

/** The newest whole record of each CID in a folder of packs, where it is a blob's. */
async function recordsOf(folder: string): Promise<Map<string, Copy>> {
  const newest = new Map<string, Copy | { id: number; data: null }>()
  const { packs } = await listPacks(folder).catch(() => ({ packs: [] }))
  for (const pack of packs) {
    const path = packPath(folder, pack)
    await using file = await open(path, 'r')
    for (const { offset, record } of (await scanPack(file, pack)).rows.entries(pack)) {
      const { kind, sequence: id, metaBytes, dataBytes } = record
      const cid = cidWith(record.digest)
      if ((newest.get(cid)?.id ?? -1) > id) continue
      const at = offset + RECORD_HEADER_BYTES
      const meta = { path, at, bytes: metaBytes }
      const data = { path, at: at + metaBytes, bytes: dataBytes }
      newest.set(cid, kind === 'blob' ? { id, meta, data } : { id, data: null })
    }
  }
  return new Map([...newest].flatMap(([cid, copy]) => (copy.data === null ? [] : [[cid, copy]])))
}

/** Some at once, all in the end. */
async function each<T, R>(items: readonly T[], work: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next
      next += 1
      results[index] = await work(items[index]!, index)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return results
}

/** Whether a report shows what is promised. Where nothing was flipped, read or scrubbed it shows nothing. */
export function healedAll(report: FlipReport): boolean {
  const { flips, reads, wrongReads, scrubbed, found, whole: good, blobs, touched } = report
  const isShown = flips > 0 && reads > 0 && scrubbed > 0 && blobs > 0
  return isShown && wrongReads === 0 && found === scrubbed && good === blobs && touched === 0
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      flips: { type: 'string', default: '1000' },
      packed: { type: 'boolean', default: process.env.PACK_SMALL_BLOBS === 'true' }
    }
  })
  const { packed } = values
  const report = await flipBits({ flips: Number(values.flips), packed })
  const verdict = healedAll(report) ? 'pass' : 'fail'
  const path = await writeReport(packed ? 'flips-packed' : 'flips', { ...report, verdict })
  process.stdout.write(`${JSON.stringify(report)}\n${path}\n`)
  process.exit(healedAll(report) ? 0 : 1)
}
