/**
 * Small blobs: 4 KiB stored by 32 at once, in packs and in folders of their own, and the bare file work of the latter; then
 * a node with 100,000 of them in packs: its start, its memory, `/health`.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, open, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openStore, silentLog } from '../node/index.ts'
import type { Bench } from './main.ts'
import { end, freePort, residentBytes, untilFirstLine, wallMs } from './processes.ts'
import { median, type Row, row } from './report.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const BLOB_BYTES = 4096
const AT_ONCE = 32
const REPETITIONS = 5
/** Puts of one repetition; the first, a quarter as long, warms up and is not counted. */
const PUTS = 1500
const CAPACITY_BYTES = 8 * 2 ** 30

const MANY = 100_000
const MANY_BYTES = 1000
const START_TARGET_S = 5
const MEMORY_TARGET_MIB = 300
const HEALTH_TARGET_MS = 10
const HEALTH_ASKS = 50
const INDEX_TARGET_BYTES = 100
/** A process is weighed when its start-up garbage had this long to go. */
const SETTLE_MS = 3000

async function* whole(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

type Put = (bytes: Uint8Array) => Promise<void>

/** Puts a second, and CPU time of this process for each, µs. */
async function measure(put: Put, count: number): Promise<{ rate: number; cpuUs: number }> {
  const blobs = Array.from({ length: count }, () => randomBytes(BLOB_BYTES))
  const cpu = process.cpuUsage()
  const begun = performance.now()
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < blobs.length) {
      next += 1
      await put(blobs[next - 1]!)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  const seconds = (performance.now() - begun) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { rate: count / seconds, cpuUs: (user + system) / count }
}

async function storeIn(dataDir: string, packSmall: boolean) {
  const options = { dataDir, capacityBytes: CAPACITY_BYTES, secret: randomBytes(32), log: silentLog() }
  const store = await openStore({ ...options, packSmall })
  const put: Put = async bytes => {
    const staged = await store.stage(whole(bytes), { maxBytes: 2 ** 20, sizeHint: bytes.length })
    await staged.commit()
  }
  return { store, put }
}

/** The least that a file of its own takes to be durable: nothing sealed, no CID, no metadata. */
async function bareFiles(folder: string): Promise<Put> {
  await mkdir(join(folder, 'blobs'), { recursive: true })
  let number = 0
  return async bytes => {
    number += 1
    const [temporary, target] = [join(folder, `${number}`), join(folder, 'blobs', `${number}`)]
    const file = await open(temporary, 'wx')
    await file.write(bytes)
    await file.datasync()
    await file.close()
    await rename(temporary, target)
    const parent = await open(join(folder, 'blobs'), 'r')
    await parent.sync()
    await parent.close()
  }
}

/** A node over a data directory that is full of small blobs. */
async function startMany(dataDir: string, say: (text: string) => void): Promise<Row[]> {
  const { store, put } = await storeIn(dataDir, true)
  let next = 0
  const worker = async (): Promise<void> => {
    for (; next < MANY; ) {
      next += 1
      await put(randomBytes(MANY_BYTES))
    }
  }
  await Promise.all(Array.from({ length: 4 * AT_ONCE }, worker))
  const { storedBlobs, packs } = store.stats()
  await store.close()
  if (packs?.packedBlobs !== MANY) throw new Error(`${packs?.packedBlobs} of ${MANY} blobs are in packs`)
  say(`${storedBlobs} blobs in ${packs.packs} packs, ${(packs.fileBytes / 2 ** 20).toFixed(0)} MiB`)
  const opening = performance.now()
  await (await storeIn(dataDir, true)).store.close()
  say(`the store alone opens in ${(performance.now() - opening).toFixed(0)} ms`)

  const port = await freePort()
  const { child, readyMs } = await untilFirstLine([process.execPath, join(ROOT, 'dist/node.js')], {
    ...process.env,
    WARREN_OFFLINE: '1',
    PACK_SMALL_BLOBS: 'true',
    LOG_LEVEL: 'warn',
    DATA_DIR: dataDir,
    PORT: String(port),
    P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0'
  })
  try {
    await delay(SETTLE_MS)
    const asks: number[] = []
    for (let i = 0; i < HEALTH_ASKS; i += 1) {
      const begun = performance.now()
      const health = (await (await fetch(`http://127.0.0.1:${port}/health`)).json()) as { storedBlobs: number }
      asks.push(performance.now() - begun)
      if (health.storedBlobs !== storedBlobs)
        throw new Error(`the node has ${health.storedBlobs} of ${storedBlobs} blobs`)
    }
    const lower = { better: 'lower' } as const
    return [
      row({
        what: `node ready with ${MANY} packed blobs`,
        value: readyMs / 1000,
        unit: 's',
        target: START_TARGET_S,
        ...lower
      }),
      row({
        what: 'its resident memory',
        value: (await residentBytes(child.pid as number)) / 2 ** 20,
        unit: 'MiB',
        target: MEMORY_TARGET_MIB,
        ...lower
      }),
      row({ what: 'its /health, median', value: median(asks), unit: 'ms', target: HEALTH_TARGET_MS, ...lower }),
      row({
        what: 'memory of the index a blob',
        value: packs.indexBytes / storedBlobs,
        unit: 'B',
        target: INDEX_TARGET_BYTES,
        ...lower
      })
    ]
  } finally {
    await end(child)
  }
}

const bench: Bench = async say => {
  await wallMs([process.execPath, join(ROOT, 'compose/build.ts')])
  const folder = await mkdtemp(join(tmpdir(), 'warren-bench-small-'))
  try {
    const packed = await storeIn(join(folder, 'packed'), true)
    const folders = await storeIn(join(folder, 'folders'), false)
    const ways = { packs: packed.put, folders: folders.put, bare: await bareFiles(join(folder, 'bare')) }
    const names = Object.keys(ways) as Array<keyof typeof ways>
    const runs = { packs: [], folders: [], bare: [] } as Record<
      keyof typeof ways,
      Array<{ rate: number; cpuUs: number }>
    >
    for (const name of names) await measure(ways[name], PUTS / 4)
    for (let i = 0; i < REPETITIONS; i += 1) {
      // Another one goes first each time.
      for (const name of [...names.slice(i % 3), ...names.slice(0, i % 3)]) {
        runs[name].push(await measure(ways[name], PUTS))
      }
    }
    for (const name of names) {
      say(`${name}: ${runs[name].map(({ rate }) => rate.toFixed(0)).join(' ')} puts a second`)
    }
    await packed.store.close()
    const middle = (name: keyof typeof ways, of: 'rate' | 'cpuUs') => median(runs[name].map(run => run[of]))
    const rates = [
      row({
        what: `4 KiB × ${AT_ONCE} into packs (floor: a folder each)`,
        value: middle('packs', 'rate'),
        unit: '/s',
        floor: middle('folders', 'rate'),
        better: 'higher',
        target: 3
      }),
      row({
        what: `4 KiB × ${AT_ONCE} into packs (floor: a bare file each)`,
        value: middle('packs', 'rate'),
        unit: '/s',
        floor: middle('bare', 'rate'),
        better: 'higher',
        aim: 3
      }),
      row({
        what: 'CPU of one into packs (floor: a folder each)',
        value: middle('packs', 'cpuUs'),
        unit: 'µs',
        floor: middle('folders', 'cpuUs'),
        better: 'lower'
      })
    ]
    return [...rates, ...(await startMany(join(folder, 'many'), say))]
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

export default bench
