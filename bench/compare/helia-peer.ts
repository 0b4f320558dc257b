/**
 * Helia in a process of its own: `createHeliaLight`, which has no libp2p, no routing and no gateway to ask, with its files
 * in `blockstore-fs` and `datastore-fs`. It is asked by messages, where nothing is in between, and by HTTP.
 */
import { mkdir, open, rename } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { firstFile, numbered } from '../files.ts'
import { obeyOrders } from '../peers.ts'

export type HeliaOrder =
  /** Comes first. `isSynced`: a block is on the disk, and so is its name, before it counts as stored. */
  | { do: 'open'; home: string; folder: string; isSynced: boolean }
  /** Adds files of `files.ts`, from 0 on. */
  | { do: 'add'; seed: string; bytes: number; count: number; atOnce: number }
  | { do: 'cat'; cids: string[]; bytes: number; count: number; atOnce: number }

export interface HeliaAnswer {
  /** Of HTTP: `POST /add`, `GET /cat/<bytes>/<cid>`. */
  port: number
  ms: number
  /** Of `add`, by number. */
  cids: string[]
}

/** What is taken of the packages, which are not here when types are checked. */
interface Helia {
  createHeliaLight: (init: { blockstore: Blockstore; datastore: object }) => { start: () => Promise<unknown> }
  unixfs: (helia: object) => {
    addBytes: (bytes: Uint8Array) => Promise<Cid>
    cat: (cid: Cid) => AsyncIterable<Uint8Array>
  }
  FsBlockstore: new (path: string) => Blockstore
  FsDatastore: new (path: string) => { open: () => Promise<void> }
  CID: { parse: (text: string) => Cid }
}
type Cid = { toString: () => string }
interface Blockstore {
  open: () => Promise<void>
  put: (cid: Cid, bytes: Uint8Array) => Promise<Cid>
  path: string
  shardingStrategy: { encode: (cid: Cid) => { dir: string; file: string } }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  await folder.sync()
  await folder.close()
}

/** The same files, written as the limit of `put` writes them: `blockstore-fs` has no option for it. */
function synced(store: Blockstore): Blockstore {
  let temporaries = 0
  store.put = async (cid, bytes) => {
    const { dir, file } = store.shardingStrategy.encode(cid)
    const path = join(store.path, dir, file)
    if ((await mkdir(dirname(path), { recursive: true })) !== undefined) await syncFolder(store.path)
    temporaries += 1
    const temporary = `${path}.${temporaries}.tmp`
    const handle = await open(temporary, 'wx')
    await handle.writeFile(bytes)
    await handle.datasync()
    await handle.close()
    await rename(temporary, path)
    await syncFolder(dirname(path))
    return cid
  }
  return store
}

async function start({ home, folder, isSynced }: HeliaOrder & { do: 'open' }) {
  const { CID, FsBlockstore, FsDatastore, createHeliaLight, unixfs }: Helia = await import(
    pathToFileURL(join(home, 'index.js')).href
  )
  const blockstore = new FsBlockstore(join(folder, 'blocks'))
  const datastore = new FsDatastore(join(folder, 'data'))
  await blockstore.open()
  await datastore.open()
  const helia = createHeliaLight({ blockstore: isSynced ? synced(blockstore) : blockstore, datastore })
  await helia.start()
  return { fs: unixfs(helia), parse: (text: string) => CID.parse(text) }
}
type Store = Awaited<ReturnType<typeof start>>

/** The least that a server can do: a body whose length is known, added; a file, sent as it comes. */
async function serve({ fs, parse }: Store, req: IncomingMessage, res: ServerResponse): Promise<void> {
  if (req.method === 'POST') {
    const body = Buffer.allocUnsafe(Number(req.headers['content-length']))
    let at = 0
    for await (const piece of req as AsyncIterable<Buffer>) at += piece.copy(body, at)
    const answer = JSON.stringify({ cid: String(await fs.addBytes(body)) })
    res.writeHead(201, { 'content-type': 'application/json', 'content-length': answer.length }).end(answer)
    return
  }
  const [, , bytes, cid] = req.url!.split('/') as string[]
  res.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': Number(bytes) })
  for await (const piece of fs.cat(parse(cid!))) {
    if (!res.write(piece)) await new Promise(resolve => res.once('drain', resolve))
  }
  res.end()
}

let store: Store | undefined
const server = createServer((req, res) => {
  serve(store!, req, res).catch(error => res.destroy(error))
})

/** Does it `count` times, `atOnce` at a time, and answers how long that took, ms. */
async function timed(count: number, atOnce: number, one: (at: number, worker: number) => Promise<void>) {
  let next = 0
  const begun = performance.now()
  const work = async (_: unknown, worker: number) => {
    for (let at = next++; at < count; at = next++) await one(at, worker)
  }
  await Promise.all(Array.from({ length: atOnce }).map(work))
  return performance.now() - begun
}

obeyOrders<HeliaOrder>(async order => {
  const answer: HeliaAnswer = { port: 0, ms: 0, cids: [] }
  if (order.do === 'open') {
    store = await start(order)
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    answer.port = (server.address() as AddressInfo).port
    return answer
  }
  const { fs, parse } = store!
  const { bytes, count, atOnce } = order
  if (order.do === 'add') {
    const first = firstFile(order.seed, bytes)
    const bodies = Array.from({ length: atOnce }, () => Buffer.from(first))
    answer.ms = await timed(count, atOnce, async (at, worker) => {
      answer.cids[at] = String(await fs.addBytes(numbered(bodies[worker]!, at)))
    })
    return answer
  }
  const cids = order.cids.map(parse)
  answer.ms = await timed(count, atOnce, async at => {
    let seen = 0
    for await (const piece of fs.cat(cids[at % cids.length]!)) seen += piece.length
    if (seen !== bytes) throw new Error(`${seen} bytes read where ${bytes} are due`)
  })
  return answer
})
