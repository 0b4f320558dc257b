/** A store as the comparison asks it, by HTTP or by messages. */
import type { ChildProcess } from 'node:child_process'
import { firstFile, numbered } from '../files.ts'
import type { GetRequest, LoadOrder, PutRequest } from '../load.ts'
import { ask } from '../peers.ts'
import type { HeliaAnswer, HeliaOrder } from './helia-peer.ts'

export interface Way {
  /** Of the process that stores and reads. */
  pid: number
  /** Adds the first so many files of a seed; answers how long that took, ms. */
  add: (order: { seed: string; bytes: number; count: number; atOnce: number }) => Promise<number>
  /** Reads files in turn until so many are read; answers how long that took, ms. */
  cat: (order: { cids: string[]; bytes: number; count: number; atOnce: number }) => Promise<number>
  /** Adds the first so many files of a seed one after the other and answers the CID of each. */
  prepare: (seed: string, bytes: number, count: number) => Promise<string[]>
  /** The bytes of one file. */
  read: (cid: string, bytes: number) => Promise<Uint8Array>
}

export interface HttpInit {
  /** A `load-peer.ts`. */
  client: ChildProcess
  pid: number
  port: number
  /** Path and query that files are posted to, as the body or as the file of a form. */
  addPath: string
  isForm?: boolean
  /** Field of the answer's JSON that has the CID. */
  cidField: string
  catPath: (cid: string, bytes: number) => string
  /** Default: GET. */
  catMethod?: 'GET' | 'POST'
}

export function wayByHttp(init: HttpInit): Way {
  const { client, pid, port, addPath, isForm = false, cidField, catPath, catMethod: method = 'GET' } = init
  const url = (path: string) => `http://127.0.0.1:${port}${path}`
  const load = async (count: number, atOnce: number, request: PutRequest | GetRequest): Promise<number> =>
    (await ask<LoadOrder, { ms: number }>(client, { port, count, atOnce, request })).ms

  async function addOne(file: Uint8Array<ArrayBuffer>): Promise<string> {
    const blob = new Blob([file])
    const form = new FormData()
    form.set('file', blob)
    const answer = await fetch(url(addPath), { method: 'POST', body: isForm ? form : blob })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${addPath} answered ${answer.status}: ${text}`)
    return (JSON.parse(text) as Record<string, string>)[cidField]!
  }

  return {
    pid,
    add: ({ seed, bytes, count, atOnce }) => load(count, atOnce, { do: 'put', path: addPath, bytes, seed, isForm }),
    cat: ({ cids, bytes, count, atOnce }) =>
      load(count, atOnce, { do: 'get', paths: cids.map(cid => catPath(cid, bytes)), bytes, method }),
    async prepare(seed, bytes, count) {
      const file = firstFile(seed, bytes)
      const cids: string[] = []
      for (let index = 0; index < count; index += 1) cids.push(await addOne(numbered(file, index)))
      return cids
    },
    read: async (cid, bytes) => await (await fetch(url(catPath(cid, bytes)), { method })).bytes()
  }
}

/** Helia where nothing is between it and the one who asks; only `read` goes by HTTP. */
export function wayInProcess(helia: ChildProcess, byHttp: Way): Way {
  const order = (what: HeliaOrder) => ask<HeliaOrder, HeliaAnswer>(helia, what)
  return {
    ...byHttp,
    add: async what => (await order({ do: 'add', ...what })).ms,
    cat: async what => (await order({ do: 'cat', ...what })).ms
  }
}
