/**
 * A durable set of CIDs in one text file that a person can read: `<cid> <note>` a line, `#` begins a comment. It is
 * rewritten whole (temporary file, fsync, rename, fsync of the folder); callers that come while one write runs share the
 * next one.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { parseCid } from '../blobs/cid.ts'
import { onDisk } from '../blobs/disk-errors.ts'
import { errnoOf, replaceFile } from '../blobs/durable.ts'
import { ListFileInvalidError, StoreFailedError } from '../errors.ts'

/** Longest note of one entry, characters. */
export const NOTE_MAX = 200

export interface CidListOptions {
  path: string
  /** What is in it; the file's first comment. */
  title: string
  /** Most entries. */
  max: number
  /** Makes the error when it is full. */
  full: (max: number) => Error
  /** Whether the file carries a checksum, for lists where a flipped bit must not pass; such a file is not for editing. */
  checked: boolean
}

/** A set of CIDs that is on disk. */
export interface CidList {
  has: (cid: string) => boolean
  readonly size: number
  /** CID and note, in the order they came. */
  entries: () => IterableIterator<[string, string]>
  /**
   * Durable when it resolves; holds in memory from the call on, so that whoever looks meanwhile sees it. Whether it is
   * new. On an error of the disk an entry that was new is taken back.
   */
  add: (cid: string, note: string) => Promise<boolean>
  /** Durable when it resolves; until then the entry still holds. Whether it was this call that removed it. */
  remove: (cid: string) => Promise<boolean>
}

const CHECKSUM = '# sha256 '

/** Read the list, or begin an empty one. @throws ListFileInvalidError */
export async function openCidList(options: CidListOptions): Promise<CidList> {
  const { path, title, max, full, checked } = options
  const kept = parseList(await readIfThere(path), options)
  const removing = new Set<string>()
  let running: Promise<void> | null = null
  let next: Promise<void> | null = null

  const text = (): string => {
    const lines = [...kept].filter(([cid]) => !removing.has(cid)).map(([cid, note]) => `${cid} ${note}`.trimEnd())
    const body = `# ${title}\n${lines.map(line => `${line}\n`).join('')}`
    return checked ? `${CHECKSUM}${sha256(body)}\n${body}` : body
  }
  const run = (): Promise<void> => {
    const mine = onDisk(() => replaceFile(path, text())).finally(() => {
      if (running === mine) running = null
    })
    running = mine
    return mine
  }
  /** A write that began after this call. */
  const saved = (): Promise<void> => {
    // Between the end of one write and the beginning of the next neither runs, and the next serves this caller too.
    if (next) return next
    if (!running) return run()
    next = running
      .catch(() => {})
      .then(() => {
        next = null
        return run()
      })
    return next
  }

  return {
    has: cid => kept.has(cid),
    get size() {
      return kept.size
    },
    entries: () => kept.entries(),
    add: async (cid, note) => {
      removing.delete(cid)
      const isNew = !kept.has(cid)
      if (isNew) {
        if (kept.size >= max) throw full(max)
        kept.set(cid, note.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, NOTE_MAX))
      }
      try {
        await saved()
      } catch (error) {
        if (isNew) kept.delete(cid)
        throw error
      }
      // Another caller's write of the same entry failed and took it back.
      if (!kept.has(cid)) throw new StoreFailedError(new Error(`${path} was not written`))
      return isNew
    },
    remove: async cid => {
      if (!kept.has(cid)) return false
      removing.add(cid)
      try {
        await saved()
        // Somebody may have added it again while the file was written; then it stays.
        return removing.has(cid) && kept.delete(cid)
      } finally {
        removing.delete(cid)
      }
    }
  }
}

function parseList(text: string | null, { path, max, checked }: CidListOptions): Map<string, string> {
  const kept = new Map<string, string>()
  if (text === null) return kept
  let body = text
  if (checked) {
    const end = text.indexOf('\n')
    const [head, rest] = [text.slice(0, end), text.slice(end + 1)]
    if (end < 0 || head !== `${CHECKSUM}${sha256(rest)}`) {
      throw new ListFileInvalidError(path, 'its checksum in the first line does not hold, so an entry may be wrong')
    }
    body = rest
  }
  for (const [index, line] of body.split('\n').entries()) {
    const [cid = '', ...note] = line.trim().split(/\s+/)
    if (cid === '' || cid.startsWith('#')) continue
    try {
      kept.set(parseCid(cid), note.join(' ').slice(0, NOTE_MAX))
    } catch {
      throw new ListFileInvalidError(path, `line ${index + 1 + Number(checked)} does not begin with a CID`)
    }
  }
  if (kept.size > max) throw new ListFileInvalidError(path, `it has ${kept.size} entries, ${max} are the most`)
  return kept
}

function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex')
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}
