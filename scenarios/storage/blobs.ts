/** What the storage scenarios do with blobs: write them, count their replicas on disk, read them back. */
import { heldBlobs } from '../harness/blob-files.ts'
import { retrieve, store } from '../harness/http-api.ts'
import type { Host } from '../harness/runtime.ts'
import type { Story } from '../harness/scenario.ts'

/** A blob that a node acknowledged. */
export interface Acknowledged {
  cid: string
  bytes: Buffer
  through: string
}

/** Sizes that between them have one chunk, several, and several frames of a transfer. */
const SIZES = [1, 1000, 262_144, 262_145, 1 << 20, 3 << 20]

/** Write `count` blobs, each through the next of these nodes, and keep those that were acknowledged. */
export async function writeBlobs(
  { history, random, signal, check }: Story,
  through: readonly Host[],
  count: number
): Promise<Acknowledged[]> {
  const written: Acknowledged[] = []
  for (let n = 0; n < count; n++) {
    const host = through[n % through.length]!
    const bytes = random.bytes(SIZES[n % SIZES.length]!)
    const { status, cid } = await history.operation(
      'store',
      { through: host.planned.name, bytes: bytes.length },
      async () => await store(host, bytes, signal),
      answer => answer
    )
    if ((status === 200 || status === 201) && cid !== undefined) {
      written.push({ cid, bytes, through: host.planned.name })
    }
  }
  check.equal('every blob is acknowledged', written.length, count)
  return written
}

/** Names of the nodes that have each blob on disk, of those asked. */
export async function holdersOf(
  nodes: readonly Host[],
  blobs: readonly Acknowledged[]
): Promise<Map<string, string[]>> {
  const lists = await Promise.all(nodes.map(async node => new Set(await heldBlobs(node))))
  return new Map(
    blobs.map(({ cid }) => [cid, nodes.filter((_, n) => lists[n]!.has(cid)).map(({ planned }) => planned.name)])
  )
}

/** Every blob has so many replicas on the disks of these nodes, in time. */
export async function untilReplicated(
  { check }: Story,
  name: string,
  nodes: readonly Host[],
  blobs: readonly Acknowledged[],
  { replicas, withinMs }: { replicas: number; withinMs: number }
): Promise<Map<string, string[]>> {
  let holders = new Map<string, string[]>()
  await check.eventually(
    name,
    async () => {
      holders = await holdersOf(nodes, blobs)
      return [...holders].filter(([, names]) => names.length < replicas).map(([cid, names]) => ({ cid, names }))
    },
    short => short.length === 0,
    { withinMs }
  )
  return holders
}

/** Each blob is read through a node that does not have it, where there is one, and is what was written. */
export async function readBack(
  { check, history, signal }: Story,
  name: string,
  nodes: readonly Host[],
  blobs: readonly Acknowledged[],
  { withinMs }: { withinMs: number }
): Promise<void> {
  const wrong: string[] = []
  const holders = await holdersOf(nodes, blobs)
  const missing = new Map(blobs.map(blob => [blob.cid, blob]))
  await check.eventually(
    name,
    async () => {
      for (const [cid, { bytes }] of missing) {
        const away = nodes.filter(({ planned }) => !holders.get(cid)?.includes(planned.name))
        const from = (away.length > 0 ? away : nodes)[missing.size % Math.max(1, away.length || nodes.length)]!
        const fetched = await history.operation(
          'retrieve',
          { from: from.planned.name, cid },
          async () => await retrieve(from, cid, signal),
          answer => ({ status: answer.status, bytes: answer.bytes.length })
        )
        if (fetched.status !== 200) continue
        if (fetched.isWhole && fetched.bytes.equals(bytes)) missing.delete(cid)
        else if (!fetched.bytes.equals(bytes.subarray(0, fetched.bytes.length))) wrong.push(cid)
      }
      return { missing: [...missing.keys()], wrong }
    },
    seen => seen.missing.length === 0,
    { withinMs }
  )
  check.equal(`${name}: nothing else was served`, wrong, [])
}
