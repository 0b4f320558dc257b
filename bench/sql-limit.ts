/** The least that a point read over HTTP takes: raw node:http, a body of JSON, one prepared SELECT. No check of anything. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Database from 'better-sqlite3'
import { obeyOrders } from './peers.ts'

export interface SqlLimitOrder {
  /** A database that has `points (id INTEGER PRIMARY KEY, body)`. */
  path: string
}

obeyOrders<SqlLimitOrder>(async ({ path }) => {
  const database = new Database(path, { readonly: true })
  const select = database.prepare('SELECT id, body FROM points WHERE id = ?').raw()
  const server = createServer((request, response) => {
    const pieces: Buffer[] = []
    request.on('data', piece => pieces.push(piece))
    request.on('end', () => {
      const { args } = JSON.parse(Buffer.concat(pieces).toString()) as { args: [number] }
      const rows = select.all(args[0])
      const body = JSON.stringify({ columns: ['id', 'body'], rows, count: rows.length })
      response.setHeader('Content-Type', 'application/json; charset=utf-8')
      response.setHeader('Content-Length', Buffer.byteLength(body))
      response.end(body)
    })
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  return { port: (server.address() as AddressInfo).port }
})
