/**
 * Plain files over HTTP, in a process of its own: `/file/<bytes>/<name>` piped from the disk, `/memory/<bytes>/<name>` out of
 * memory, which shows what the client can take. Nothing is looked up: the size is in the path. What is posted is thrown away.
 */
import { createReadStream } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { basename, join } from 'node:path'
import { obeyOrders } from './peers.ts'

export interface ServeOrder {
  folder: string
}

obeyOrders<ServeOrder>(async ({ folder }) => {
  const pieces = new Map<number, Buffer>()
  const server = createServer((req, res) => {
    if (req.method === 'POST') {
      req.resume().once('end', () => res.end('{}'))
      return
    }
    const [, kind, size, name = ''] = (req.url ?? '').split('/')
    const bytes = Number(size)
    res.setHeader('content-length', bytes)
    if (kind === 'file') {
      createReadStream(join(folder, basename(name)))
        .on('error', () => res.destroy())
        .pipe(res)
      return
    }
    const piece = pieces.get(bytes) ?? Buffer.alloc(bytes)
    pieces.set(bytes, piece)
    res.end(piece)
  })
  server.listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  return { port: (server.address() as AddressInfo).port }
})
