/**
 * Look at and spoil blobs where a node keeps them: `DATA_DIR/blobs/<cid>/data`, and small ones in `DATA_DIR/packs` where the
 * node was told so (the layout of `node/blobs/pack/record.ts`). From inside the host.
 */
import { cidOfDigest, digestOfCid } from '../../node/index.ts'
import { nodeProgram } from './probe-programs.ts'
import type { Host } from './runtime.ts'

/** SHA-256 of the sealed bytes, or null when the host has no such blob. */
export async function sealedHash(host: Host, cid: string): Promise<string | null> {
  return (await sealedBytes(host, 'hash', cid)).hash
}

/** Flip one byte in the middle of the sealed bytes, as a failing disk would. @returns the spoiled bytes' SHA-256 */
export async function flipByte(host: Host, cid: string): Promise<string> {
  const { hash } = await sealedBytes(host, 'flip', cid)
  if (hash === null) throw new Error(`${host.planned.name} has no blob ${cid}`)
  return hash
}

/** CIDs of all blobs whose sealed bytes are there. */
export async function heldBlobs(host: Host): Promise<string[]> {
  const { folders, digests } = await sealedBytes(host, 'list', '')
  return [...new Set([...folders, ...digests.map(digest => cidOfDigest(Buffer.from(digest, 'hex')))])]
}

/** Remove the sealed bytes behind the node's back, as a node that saves room would: the file, or zeros in a pack. */
export async function removeBytes(host: Host, cid: string): Promise<void> {
  const { hash } = await sealedBytes(host, 'remove', cid)
  if (hash === null) throw new Error(`${host.planned.name} has no blob ${cid}`)
}

/** What to do with the sealed bytes of a blob, or of all. */
export type SealedAction = 'hash' | 'flip' | 'remove' | 'list'

/** What `onSealedBytes` prints. */
export interface SealedSight {
  /** SHA-256 of the sealed bytes after what was done; null: there are none of this blob. Of removed ones it is another. */
  hash: string | null
  /** For `list`: CIDs of blobs in folders of their own, and SHA-256 (hex) in the CIDs of those in packs. */
  folders: string[]
  digests: string[]
}

async function sealedBytes(host: Host, action: SealedAction, cid: string): Promise<SealedSight> {
  const digest = cid === '' ? '' : Buffer.from(digestOfCid(cid)).toString('hex')
  const { code, stdout, stderr } = await host.exec(nodeProgram(onSealedBytes, action, cid, digest))
  if (code !== 0) throw new Error(`cannot look at or spoil the blobs of ${host.planned.name}: ${stderr}`)
  return JSON.parse(stdout) as SealedSight
}

/** The program, whole in itself: it prints a SealedSight. @param digestHex the SHA-256 in the CID */
export function onSealedBytes(action: SealedAction, cid: string, digestHex: string): void {
  const fs = process.getBuiltinModule('node:fs')
  const { createHash } = process.getBuiltinModule('node:crypto')
  const { crc32 } = process.getBuiltinModule('node:zlib')
  const folder = `${process.env.DATA_DIR}/blobs`
  const packFolder = `${process.env.DATA_DIR}/packs`
  const headerBytes = 64
  const magic = Buffer.from([0x9e, 0x57, 0x52, 0x01])

  interface Place {
    path: string
    at: number
    bytes: number
  }

  /** The newest record of each CID in packs that is a blob's: where its sealed bytes are. Bodies may be spoiled. */
  const packed = (): Map<string, Place> => {
    const newest = new Map<string, { sequence: number; place: Place | null }>()
    const names = fs.existsSync(packFolder) ? fs.readdirSync(packFolder) : []
    for (const name of names.filter(each => each.endsWith('.pack'))) {
      const path = `${packFolder}/${name}`
      const bytes = fs.readFileSync(path)
      const number = crc32(String(Number.parseInt(name, 10)))
      let at = bytes.indexOf(magic)
      while (at >= 0 && bytes.length - at >= headerBytes) {
        const end = at + headerBytes + bytes.readUInt16BE(at + 6) + bytes.readUInt32BE(at + 8)
        const isHeader = crc32(bytes.subarray(at, at + 60), number) === bytes.readUInt32BE(at + 60)
        if (isHeader && end <= bytes.length) {
          const digest = bytes.toString('hex', at + 24, at + 56)
          const sequence = bytes.readUIntBE(at + 18, 6)
          const dataBytes = bytes.readUInt32BE(at + 8)
          const place = bytes[at + 4] === 1 ? { path, at: end - dataBytes, bytes: dataBytes } : null
          if (sequence >= (newest.get(digest)?.sequence ?? -1)) newest.set(digest, { sequence, place })
        }
        at = bytes.indexOf(magic, isHeader ? end : at + 1)
      }
    }
    return new Map([...newest].flatMap(([digest, { place }]) => (place === null ? [] : [[digest, place]])))
  }

  const inFolder = (name: string): Place | null => {
    const path = `${folder}/${name}/data`
    const bytes = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0
    return bytes > 0 ? { path, at: 0, bytes } : null
  }

  const read = ({ path, at, bytes }: Place): Buffer => fs.readFileSync(path).subarray(at, at + bytes)
  const write = ({ path }: Place, at: number, bytes: Uint8Array): void => {
    const descriptor = fs.openSync(path, 'r+')
    fs.writeSync(descriptor, bytes, 0, bytes.length, at)
    fs.closeSync(descriptor)
  }
  const hashOf = (place: Place): string => createHash('sha256').update(read(place)).digest('hex')

  if (action === 'list') {
    const names = fs.existsSync(folder) ? fs.readdirSync(folder) : []
    console.log(
      JSON.stringify({ hash: null, folders: names.filter(name => inFolder(name)), digests: [...packed().keys()] })
    )
    return
  }
  const file = inFolder(cid)
  const place = file ?? packed().get(digestHex)
  let hash = place === undefined ? null : hashOf(place)
  if (place !== undefined && action === 'flip') {
    const middle = Math.floor(place.bytes / 2)
    write(place, place.at + middle, Buffer.from([read(place)[middle]! ^ 1]))
    hash = hashOf(place)
  }
  if (place !== undefined && action === 'remove') {
    if (file) fs.unlinkSync(file.path)
    else write(place, place.at, Buffer.alloc(place.bytes))
  }
  console.log(JSON.stringify({ hash, folders: [], digests: [] }))
}

/** The operator's token of a node, where the node keeps it. */
export async function adminToken(host: Host): Promise<string> {
  const { code, stdout, stderr } = await host.exec(nodeProgram(printToken))
  if (code !== 0) throw new Error(`cannot read the token of ${host.planned.name}: ${stderr}`)
  return stdout.trim()
}

function printToken(): void {
  const fs = process.getBuiltinModule('node:fs')
  console.log(fs.readFileSync(`${process.env.DATA_DIR}/keys/admin.token`, 'utf8'))
}
