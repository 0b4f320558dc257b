/** What the process of a peer holds: its sockets by kind, from the kernel's own tables, and its memory. */
import { readdir, readFile, readlink } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** `elsewhere`: of another network namespace, as the control port that was handed over. */
export type SocketKind = 'tcp' | 'udp' | 'unix' | 'elsewhere'

const TABLES: ReadonlyArray<[kind: SocketKind, file: string]> = [
  ['tcp', 'tcp'],
  ['tcp', 'tcp6'],
  ['udp', 'udp'],
  ['udp', 'udp6'],
  ['unix', 'unix']
]
/** proc(5): column of the inode, from 0. */
const INODE_COLUMN = { tcp: 9, udp: 9, unix: 6, elsewhere: 0 } as const
/** Finalizers of native objects run after the collection that found them. */
const COLLECTIONS = 3
const BETWEEN_COLLECTIONS_MS = 50

/** Open sockets of this process, those of `node` itself included. */
export async function ownSockets(): Promise<Record<SocketKind, number>> {
  const tables = await Promise.all(
    TABLES.map(
      async ([kind, file]): Promise<[SocketKind, string]> => [
        kind,
        await readFile(`/proc/self/net/${file}`, 'utf8').catch(() => '')
      ]
    )
  )
  const numbers = await readdir('/proc/self/fd')
  // One that was closed meanwhile is none.
  const links = await Promise.all(numbers.map(async each => await readlink(`/proc/self/fd/${each}`).catch(() => '')))
  return socketsOf(links, tables)
}

/**
 * Pure.
 * @param links where a process's descriptors lead
 * @param tables text of the kernel's tables of sockets
 */
export function socketsOf(
  links: readonly string[],
  tables: ReadonlyArray<[kind: SocketKind, text: string]>
): Record<SocketKind, number> {
  const kinds = new Map<string, SocketKind>()
  for (const [kind, text] of tables) {
    for (const line of text.split('\n').slice(1)) {
      const inode = line.trim().split(/\s+/)[INODE_COLUMN[kind]]
      if (inode !== undefined) kinds.set(inode, kind)
    }
  }
  const counts: Record<SocketKind, number> = { tcp: 0, udp: 0, unix: 0, elsewhere: 0 }
  for (const link of links) {
    const inode = /^socket:\[(\d+)\]$/.exec(link)?.[1]
    if (inode !== undefined) counts[kinds.get(inode) ?? 'elsewhere']++
  }
  return counts
}

let gc: (() => void) | undefined

/** Ends what nobody holds any longer: the QUIC package closes its native sockets no sooner. */
export function collectGarbage(): void {
  if (gc === undefined) {
    setFlagsFromString('--expose-gc')
    gc = runInNewContext('gc') as () => void
  }
  gc()
}

/** JavaScript's heap after everything that nobody holds is gone, and what the machine keeps for the process; bytes. */
export async function settledMemory(): Promise<{ heapBytes: number; rssBytes: number }> {
  for (let n = 0; n < COLLECTIONS; n++) {
    collectGarbage()
    await delay(BETWEEN_COLLECTIONS_MS)
  }
  const { heapUsed, rss } = process.memoryUsage()
  return { heapBytes: heapUsed, rssBytes: rss }
}
