/**
 * The least that storing a blob takes, in a process of its own: its CID, AES-256-GCM over all of it, one file written,
 * synced, renamed into place, and the folder synced. No HTTP, no metadata, no folder for each blob.
 */
import { createCipheriv, randomBytes, randomFillSync } from 'node:crypto'
import { closeSync, fdatasyncSync, fsyncSync, openSync, renameSync, writevSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { CidHasher } from '../node/index.ts'
import { obeyOrders } from './peers.ts'

export interface LimitOrder {
  /** Exists; what is put into it stays. */
  folder: string
  bytes: number
  count: number
  atOnce: number
}

const STAMP_BYTES = 16
const KEY_BYTES = 32
const NONCE_BYTES = 12

function sealed(body: Uint8Array): { cid: string; pieces: Uint8Array[] } {
  const hasher = new CidHasher()
  hasher.update(body)
  const cipher = createCipheriv('aes-256-gcm', randomBytes(KEY_BYTES), Buffer.alloc(NONCE_BYTES))
  const pieces = [cipher.update(body), cipher.final(), cipher.getAuthTag()]
  return { cid: hasher.digest(), pieces: pieces.filter(piece => piece.length > 0) }
}

function requireAll(written: number, pieces: readonly Uint8Array[]): void {
  if (written !== pieces.reduce((sum, piece) => sum + piece.length, 0)) throw new Error('the disk took only a part')
}

/** One at a time nothing is quicker than calls that do not leave the thread. */
function putAtOnce(folder: string, body: Uint8Array): void {
  const { cid, pieces } = sealed(body)
  const temporary = join(folder, `${cid}.tmp`)
  const file = openSync(temporary, 'wx')
  requireAll(writevSync(file, pieces), pieces)
  fdatasyncSync(file)
  closeSync(file)
  renameSync(temporary, join(folder, cid))
  const parent = openSync(folder, 'r')
  fsyncSync(parent)
  closeSync(parent)
}

async function put(folder: string, body: Uint8Array): Promise<void> {
  const { cid, pieces } = sealed(body)
  const temporary = join(folder, `${cid}.tmp`)
  const file = await open(temporary, 'wx')
  requireAll((await file.writev(pieces)).bytesWritten, pieces)
  await file.datasync()
  await file.close()
  await rename(temporary, join(folder, cid))
  const parent = await open(folder, 'r')
  await parent.sync()
  await parent.close()
}

obeyOrders<LimitOrder>(async ({ folder, bytes, count, atOnce }) => {
  const bodies = Array.from({ length: atOnce }, () => randomBytes(bytes))
  const begun = performance.now()
  let next = 0
  await Promise.all(
    bodies.map(async body => {
      while (next++ < count) {
        randomFillSync(body, 0, STAMP_BYTES)
        if (atOnce === 1) putAtOnce(folder, body)
        else await put(folder, body)
      }
    })
  )
  return { ms: performance.now() - begun }
})
