/**
 * What each peer sent and got through this relay, and each circuit: what one bills by. Kept across restarts, bounded:
 * peers beyond the cap, those longest unused first, are added up under `others`, so that totals always hold.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import type { Log } from '../node/index.ts'
import type { CircuitEnd } from './splice.ts'

/** The first bytes of a session are coordination between its peers and cost nothing (10,240 bytes in the seed). */
export const FREE_COORDINATION_BYTES = 10_240

/** Bytes through this relay. */
export interface Account {
  /** What the peer sent. */
  upBytes: number
  /** What the peer was sent. */
  downBytes: number
  /** Circuits it opened or was reached by. */
  circuits: number
}

/** One circuit. */
export interface Session {
  /** Unique to this run of the relay. */
  id: number
  /** Peer that opened it. */
  from: string
  /** Peer it leads to. */
  to: string
  /** ms since the epoch. */
  startedAt: number
  endedAt: number | null
  end: CircuitEnd | null
  /** Bytes of `from`. */
  upBytes: number
  /** Bytes of `to`. */
  downBytes: number
}

export interface OpenSession extends Session {
  /** Bytes of `from` (0) or `to` (1). */
  add: (from: 0 | 1, bytes: number) => void
  close: (end: CircuitEnd) => void
}

export interface Accounting {
  /** A circuit begins. */
  open: (from: string, to: string) => OpenSession
  /** One peer; null when nothing is known of it. */
  of: (peerId: string) => Readonly<Account> | null
  /** Every account, the one longest unused first. */
  peers: () => Iterable<readonly [string, Readonly<Account>]>
  /** All bytes of peers that are no longer counted one by one. */
  others: () => Readonly<Account>
  /** Bytes carried and circuits opened, ever. A byte from one peer to another is one. */
  totals: () => { bytes: number; circuits: number }
  /** Circuits that are open, and the last ones that ended, oldest first. */
  sessions: () => Session[]
  /** Writes to the file what changed. */
  save: () => Promise<void>
  /** Reads the file and saves from time to time. */
  start: () => Promise<void>
  /** Saves a last time. */
  stop: () => Promise<void>
}

const SAVE_INTERVAL_MS = 30_000
const MAX_ENDED_SESSIONS = 1000

const count = z.int().min(0)
const accountSchema = z.object({ upBytes: count, downBytes: count, circuits: count })
const fileSchema = z.object({
  version: z.literal(1),
  totals: z.object({ bytes: count, circuits: count }),
  others: accountSchema,
  peers: z.array(accountSchema.extend({ peerId: z.string().max(128) }))
})

/** Of the bytes of a session: what is free, and what is billed as relayed. */
export function billable({ upBytes, downBytes }: Session): { coordinationBytes: number; relayBytes: number } {
  const coordinationBytes = Math.min(upBytes + downBytes, FREE_COORDINATION_BYTES)
  return { coordinationBytes, relayBytes: upBytes + downBytes - coordinationBytes }
}

/**
 * @param options.file JSON; null: nothing is kept
 * @param options.maxPeers peers counted one by one
 */
export function createAccounting(options: { file: string | null; maxPeers: number; log: Log }): Accounting {
  const { file, maxPeers, log } = options
  /** In the order of their last circuit. */
  const accounts = new Map<string, Account>()
  const others: Account = { upBytes: 0, downBytes: 0, circuits: 0 }
  const totals = { bytes: 0, circuits: 0 }
  const open = new Set<OpenSession>()
  const ended: Session[] = []
  let lastId = 0
  let hasChanged = false
  let saving: Promise<void> = Promise.resolve()
  let interval: NodeJS.Timeout | undefined

  function touch(peerId: string): void {
    const account = accounts.get(peerId) ?? { upBytes: 0, downBytes: 0, circuits: 0 }
    accounts.delete(peerId)
    for (const [oldest, given] of accounts) {
      if (accounts.size < maxPeers) break
      accounts.delete(oldest)
      add(others, given)
    }
    account.circuits++
    accounts.set(peerId, account)
  }

  /** The account of a peer of an open circuit; it may have been folded into the others meanwhile. */
  const accountOf = (peerId: string): Account => accounts.get(peerId) ?? others

  async function read(): Promise<void> {
    if (file === null) return
    try {
      const kept = fileSchema.parse(JSON.parse(await readFile(file, 'utf8')))
      Object.assign(totals, kept.totals)
      Object.assign(others, kept.others)
      for (const { peerId, ...account } of kept.peers) {
        if (accounts.size < maxPeers) accounts.set(peerId, account)
        else add(others, account)
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      // It must not keep the relay from its work; the file stays for whoever wants to look.
      log.warn({ file, why: (error as Error).message }, 'accounting not read: it begins anew beside the old file')
      await rename(file, `${file}.unreadable`).catch(() => undefined)
    }
  }

  async function write(path: string): Promise<void> {
    const peers = [...accounts].map(([peerId, account]) => ({ peerId, ...account }))
    await mkdir(dirname(path), { recursive: true })
    await writeFile(`${path}.new`, JSON.stringify({ version: 1, totals, others, peers }), { mode: 0o600, flush: true })
    await rename(`${path}.new`, path)
  }

  function save(): Promise<void> {
    if (file !== null && hasChanged) {
      hasChanged = false
      saving = saving
        .then(() => write(file))
        .catch((error: Error) => {
          hasChanged = true
          log.warn({ file, why: error.message }, 'accounting not saved; it is tried again')
        })
    }
    return saving
  }

  return {
    open(from, to) {
      touch(from)
      touch(to)
      totals.circuits++
      hasChanged = true
      const session: OpenSession = {
        id: ++lastId,
        from,
        to,
        startedAt: Date.now(),
        endedAt: null,
        end: null,
        upBytes: 0,
        downBytes: 0,
        add(end, bytes) {
          session[end === 0 ? 'upBytes' : 'downBytes'] += bytes
          accountOf(end === 0 ? from : to).upBytes += bytes
          accountOf(end === 0 ? to : from).downBytes += bytes
          totals.bytes += bytes
          hasChanged = true
        },
        close(end) {
          open.delete(session)
          session.endedAt = Date.now()
          session.end = end
          if (ended.push(plain(session)) > MAX_ENDED_SESSIONS) ended.shift()
        }
      }
      open.add(session)
      return session
    },
    of: peerId => accounts.get(peerId) ?? null,
    peers: () => accounts,
    others: () => others,
    totals: () => totals,
    sessions: () => [...ended, ...[...open].map(plain)],
    save,
    async start() {
      await read()
      interval = setInterval(() => void save(), SAVE_INTERVAL_MS)
      interval.unref()
    },
    async stop() {
      clearInterval(interval)
      await save()
    }
  }
}

function add(sum: Account, { upBytes, downBytes, circuits }: Account): void {
  sum.upBytes += upBytes
  sum.downBytes += downBytes
  sum.circuits += circuits
}

function plain({ add: _add, close: _close, ...session }: OpenSession): Session {
  return session
}
