/**
 * The process that the fault programs kill and disturb: a store, and puts and deletions on it. What it has done it says
 * at once, a line each, on stdout: `+ cid seed size` a blob is acknowledged, `? cid` its deletion begins, `- cid` it is
 * deleted, `p cid` it is pinned. Argument: the data directory. With `--asked` it does what lines on stdin say, one at a
 * time: `open dir`, `put seed size`, `delete cid`, `compact`; the answer is the line, or `! code`, with the times it took.
 * With `--packed` small blobs go into packs, and those are compacted now and then.
 */
import { randomInt } from 'node:crypto'
import { writeSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import type { BlobStore } from '../blobs/store.types.ts'
import { openCidList } from '../keeping/cid-list.ts'
import { bytesOf, openWriterStore, put } from './testing.ts'

/** Blobs written at the same time. */
const WRITERS = 4
/** Acknowledged blobs beyond this number are deleted again, so that a long run stays small. */
const KEPT_MAX = 60
/** The same with packs: soon there is something to compact. */
const KEPT_PACKED_MAX = 12
const PIN_EVERY = 5
/** Puts between two compactions. */
const COMPACT_EVERY = 6
/** Sizes, and how often each comes: small ones, some of several chunks, a few that have a file of leaf digests too. */
const SIZES = [
  { maxBytes: 5000, times: 30 },
  { maxBytes: 700_000, times: 10 },
  { maxBytes: 6_000_000, times: 1 }
]

const say = (line: string) => writeSync(1, `${line}\n`)
const never = new AbortController().signal

async function writeUntilKilled(dataDir: string, options: { packed: boolean }): Promise<void> {
  const store = await openWriterStore(dataDir, options)
  const pins = await openPinsFile(dataDir)
  const mine = [...store.list()].filter(cid => !pins.has(cid))
  say('ready')
  let number = 0
  const worker = async (): Promise<void> => {
    for (;;) {
      number += 1
      const seed = `${process.pid}-${Date.now()}-${number}`
      const sizeBytes = 1 + randomInt(anySize())
      const cid = await put(store, bytesOf(seed, sizeBytes))
      say(`+ ${cid} ${seed} ${sizeBytes}`)
      if (number % PIN_EVERY === 0 && pins.size < KEPT_MAX) {
        await pins.add(cid, '')
        say(`p ${cid}`)
      } else {
        mine.push(cid)
      }
      if (mine.length <= (options.packed ? KEPT_PACKED_MAX : KEPT_MAX)) continue
      const oldest = mine.shift()!
      say(`? ${oldest}`)
      await store.delete(oldest)
      say(`- ${oldest}`)
      if (number % COMPACT_EVERY === 0) await store.compact({ signal: never })
    }
  }
  await Promise.all(Array.from({ length: WRITERS }, worker))
}

async function doAsAsked(options: { packed: boolean }): Promise<void> {
  let store: BlobStore | null = null
  const act = async (line: string): Promise<string> => {
    const [verb, subject = '', size] = line.split(' ')
    if (verb === 'open') {
      await store?.close()
      store = await openWriterStore(subject, options)
    }
    if (verb === 'compact') await store!.compact({ signal: never })
    if (verb === 'put') return `+ ${await put(store!, bytesOf(subject, Number(size)))} ${subject} ${size}`
    if (verb === 'delete') await store!.delete(subject)
    return `- ${subject}`
  }
  // The thread for files is there once there was work for it.
  await stat(import.meta.filename)
  say('ready')
  for await (const line of createInterface({ input: process.stdin })) {
    const beganMs = wallMs()
    const answer = await act(line).catch((error: { code?: string }) => `! ${error.code ?? 'BUG'}`)
    say(`${beganMs} ${wallMs()} ${answer}`)
  }
}

function anySize(): number {
  const all = SIZES.flatMap(({ maxBytes, times }) => Array<number>(times).fill(maxBytes))
  return all[randomInt(all.length)]!
}

/** Finer than Date.now(), on the same clock as strace's. */
function wallMs(): number {
  return performance.timeOrigin + performance.now()
}

/** The pins of a node without the node. */
export function openPinsFile(dataDir: string) {
  const full = () => new Error('full')
  return openCidList({ path: `${dataDir}/pins.txt`, title: 'Pins.', max: 1000, full, checked: true })
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    options: { asked: { type: 'boolean' }, packed: { type: 'boolean', default: false } },
    allowPositionals: true
  })
  const options = { packed: values.packed }
  await (values.asked ? doAsAsked(options) : writeUntilKilled(positionals[0]!, options))
}
