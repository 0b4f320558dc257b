/**
 * The block list: CIDs this node neither stores nor reads. `blocked.txt` below DATA_DIR, a CID and a reason a line, for
 * the operator to edit while the node is stopped; the routes change it while it runs. Blocking does not erase: an entry
 * can be taken back. `DELETE /admin/blob/:cid?force=true` erases.
 */
import { join } from 'node:path'
import { parseCid } from '../blobs/cid.ts'
import { BlockLimitError } from '../errors.ts'
import { openCidList } from './cid-list.ts'

/** Most CIDs of the block list. */
export const BLOCKED_MAX = 50_000

export interface BlockList {
  /** False for everything when the list is switched off (`ENABLE_BLOCKED_CONTENT=false`). */
  has: (cid: string) => boolean
  readonly count: number
  list: () => Array<{ cid: string; reason: string }>
  /** Durable when this resolves; whether it is new. @throws BlockLimitError */
  add: (cid: string, reason: string) => Promise<boolean>
  /** Durable when this resolves; whether it was there. */
  remove: (cid: string) => Promise<boolean>
}

export async function openBlockList(options: { dataDir: string; enabled: boolean }): Promise<BlockList> {
  const list = await openCidList({
    path: join(options.dataDir, 'blocked.txt'),
    title: 'Blocked blobs: CID and reason, one a line. Edit while the node is stopped, or use /admin/blocked.',
    max: BLOCKED_MAX,
    full: max => new BlockLimitError(max),
    checked: false
  })
  return {
    has: cid => options.enabled && list.has(cid),
    get count() {
      return list.size
    },
    list: () => [...list.entries()].map(([cid, reason]) => ({ cid, reason })),
    add: (cidText, reason) => list.add(parseCid(cidText), reason),
    remove: cidText => list.remove(parseCid(cidText))
  }
}
