/**
 * The least that a key-value store over HTTP takes, in a process of its own: Node's server without a framework, prepared
 * statements, one transaction and one fsync for the writes of a turn of the event loop. No credentials, no encryption,
 * no log, no metrics. `GET` or `POST /v1/storage/…?key=<key>`.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import { obeyOrders } from './peers.ts'

export interface KvLimitOrder {
  folder: string
}

/** A put that waits for its commit. */
interface Waiting {
  key: string
  value: Buffer
  res: ServerResponse
}

const STORED = Buffer.from('{"status":"ok"}')
const STORED_HEADERS = { 'content-type': 'application/json', 'content-length': STORED.length }

obeyOrders<KvLimitOrder>(async ({ folder }) => {
  const database = new Sqlite(join(folder, 'limit.sqlite'))
  database.pragma('journal_mode = WAL')
  database.pragma('synchronous = FULL')
  database.exec('CREATE TABLE kv (k TEXT PRIMARY KEY, v BLOB NOT NULL) STRICT')
  const get = database.prepare<[string], Buffer>('SELECT v FROM kv WHERE k = ?').pluck()
  const put = database.prepare('INSERT INTO kv VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v')
  const putAll = database.transaction((group: Waiting[]) => {
    for (const { key, value } of group) put.run(key, value)
  })

  let waiting: Waiting[] = []
  function commit(): void {
    const group = waiting
    waiting = []
    putAll.immediate(group)
    for (const { res } of group) res.writeHead(201, STORED_HEADERS).end(STORED)
  }

  function read(key: string, res: ServerResponse): void {
    const value = get.get(key)
    if (value === undefined) res.writeHead(404).end()
    else res.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': value.length }).end(value)
  }

  function write(key: string, req: IncomingMessage, res: ServerResponse): void {
    const pieces: Buffer[] = []
    req.on('data', piece => pieces.push(piece))
    req.on('end', () => {
      if (waiting.length === 0) setImmediate(commit)
      waiting.push({ key, value: pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces), res })
    })
  }

  const server = createServer((req, res) => {
    const url = req.url as string
    const key = url.slice(url.indexOf('=') + 1)
    if (req.method === 'GET') read(key, res)
    else write(key, req, res)
  })
  server.listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  return { port: (server.address() as AddressInfo).port }
})
