/**
 * The log's copy on disk: lines appended to one file, which is put aside by size as `.1`, `.2`, …, the oldest dropped.
 * Lines are handed over and written later, so that a slow or full disk never holds up the node; what does not fit in
 * the queue is dropped and counted. pino's own rotating writer keeps a thread for this, which a node need not.
 */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Most bytes of lines that wait for the disk. */
export const LOG_QUEUE_MAX_BYTES = 4 * 1024 * 1024
/** Bytes handed to the disk in one write. */
const BATCH_BYTES = 256 * 1024
/** How long a disk that refused is left alone. */
const RETRY_MS = 5000
const FILE_MODE = 0o600

export interface LogFileOptions {
  path: string
  /** Bytes after which the file is put aside. */
  maxBytes: number
  /** Files kept, the one that is written included. */
  maxFiles: number
}

/** What pino writes to. */
export interface LogFile {
  write: (line: string) => void
  /** Resolves when all lines are with the system, or the disk refuses them. */
  flush: () => Promise<void>
  /** The same, and the file is let go; another line opens it again. */
  close: () => Promise<void>
  /** The last lines, at the end of the process. Never throws. */
  flushSync: () => void
  /** Lines that were lost because the disk was full, slow or gone. */
  readonly dropped: number
}

/** Nothing is opened before the first line. */
export function createLogFile({ path, maxBytes, maxFiles }: LogFileOptions): LogFile {
  let queue: string[] = []
  let queuedBytes = 0
  let file: FileHandle | null = null
  let sizeBytes = 0
  let dropped = 0
  let untold = 0
  let refusedAtMs = Number.NEGATIVE_INFINITY
  let writing: Promise<void> | null = null
  const aside = (index: number): string => (index === 0 ? path : `${path}.${index}`)

  async function rotate(): Promise<void> {
    await file?.close()
    file = null
    await rm(aside(maxFiles - 1), { force: true })
    for (let index = maxFiles - 2; index >= 0; index -= 1) await rename(aside(index), aside(index + 1)).catch(absent)
  }

  async function opened(): Promise<FileHandle> {
    if (file !== null) return file
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    file = await open(path, 'a', FILE_MODE)
    sizeBytes = (await file.stat()).size
    return file
  }

  async function writeOut(): Promise<void> {
    while (queue.length > 0) {
      const batch = takeBatch()
      const bytes = Buffer.byteLength(batch.text)
      try {
        await opened()
        if (sizeBytes > 0 && sizeBytes + bytes > maxBytes) await rotate()
        await (await opened()).appendFile(batch.text)
        sizeBytes += bytes
      } catch {
        // Nobody is told but by the count: an error about the log would be one more line for the log.
        dropped += batch.lines
        untold += batch.lines
        refusedAtMs = performance.now()
        await file?.close().catch(() => undefined)
        file = null
        drop()
        return
      }
    }
  }

  function takeBatch(): { text: string; lines: number } {
    let bytes = 0
    let count = 0
    while (count < queue.length && (count === 0 || bytes + queue[count]!.length <= Math.min(BATCH_BYTES, maxBytes))) {
      bytes += queue[count]!.length
      count += 1
    }
    const lines = queue.splice(0, count)
    queuedBytes -= bytes
    let text = lines.join('')
    if (untold > 0) {
      text = `${JSON.stringify({ level: 40, time: Date.now(), msg: 'log lines lost on disk', lines: untold })}\n${text}`
      untold = 0
    }
    return { text, lines: count }
  }

  function drop(): void {
    dropped += queue.length
    untold += queue.length
    queue = []
    queuedBytes = 0
  }

  function start(): void {
    writing ??= writeOut().finally(() => {
      writing = null
      if (queue.length > 0) start()
    })
  }

  async function flush(): Promise<void> {
    while (writing !== null) await writing
  }

  return {
    flush,
    write(line) {
      const isRefusing = performance.now() - refusedAtMs < RETRY_MS
      if (isRefusing || queuedBytes + line.length > LOG_QUEUE_MAX_BYTES) {
        dropped += 1
        untold += 1
        return
      }
      queue.push(line)
      queuedBytes += line.length
      start()
    },
    async close() {
      await flush()
      await file?.close()
      file = null
    },
    flushSync() {
      if (queue.length === 0) return
      try {
        mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
        const descriptor = openSync(path, 'a', FILE_MODE)
        writeSync(descriptor, queue.join(''))
        closeSync(descriptor)
      } catch {
        // The process ends; there is nobody left to tell.
      }
      queue = []
    },
    get dropped() {
      return dropped
    }
  }
}

/** A file that is not there yet need not be put aside. */
function absent(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}
