/** Look at and spoil blobs where a node keeps them: `DATA_DIR/blobs/<cid>/data`, the documented layout. From inside the host. */
import { nodeProgram } from './probe-programs.ts'
import type { Host } from './runtime.ts'

/** SHA-256 of the sealed file, or null when the host has no such blob. */
export async function sealedHash(host: Host, cid: string): Promise<string | null> {
  const { code, stdout, stderr } = await host.exec(nodeProgram(printHash, cid))
  if (code !== 0) throw new Error(`cannot look at the blobs of ${host.planned.name}: ${stderr}`)
  return stdout.trim() === '' ? null : stdout.trim()
}

/** Flip one byte in the middle of the sealed file, as a failing disk would. @returns the spoiled file's SHA-256 */
export async function flipByte(host: Host, cid: string): Promise<string> {
  const { code, stderr } = await host.exec(nodeProgram(flipMiddle, cid))
  if (code !== 0) throw new Error(`cannot spoil the blob of ${host.planned.name}: ${stderr}`)
  const hash = await sealedHash(host, cid)
  if (hash === null) throw new Error(`${host.planned.name} has no blob ${cid}`)
  return hash
}

function printHash(cid: string): void {
  const fs = process.getBuiltinModule('node:fs')
  const file = `${process.env.DATA_DIR}/blobs/${cid}/data`
  if (fs.existsSync(file)) {
    console.log(
      process.getBuiltinModule('node:crypto').createHash('sha256').update(fs.readFileSync(file)).digest('hex')
    )
  }
}

function flipMiddle(cid: string): void {
  const fs = process.getBuiltinModule('node:fs')
  const descriptor = fs.openSync(`${process.env.DATA_DIR}/blobs/${cid}/data`, 'r+')
  const byte = Buffer.alloc(1)
  const middle = Math.floor(fs.fstatSync(descriptor).size / 2)
  fs.readSync(descriptor, byte, 0, 1, middle)
  byte[0] = byte[0]! ^ 1
  fs.writeSync(descriptor, byte, 0, 1, middle)
}

/** CIDs of all blobs whose sealed file is there and not empty. */
export async function heldBlobs(host: Host): Promise<string[]> {
  const { code, stdout, stderr } = await host.exec(nodeProgram(printHeld))
  if (code !== 0) throw new Error(`cannot list the blobs of ${host.planned.name}: ${stderr}`)
  return JSON.parse(stdout) as string[]
}

function printHeld(): void {
  const fs = process.getBuiltinModule('node:fs')
  const folder = `${process.env.DATA_DIR}/blobs`
  const names = fs.existsSync(folder) ? fs.readdirSync(folder) : []
  const held = names.filter(name => {
    const size = fs.statSync(`${folder}/${name}/data`, { throwIfNoEntry: false })?.size ?? 0
    return size > 0
  })
  console.log(JSON.stringify(held))
}

/** Remove the sealed file behind the node's back, as a node that saves room would. */
export async function removeBytes(host: Host, cid: string): Promise<void> {
  const { code, stderr } = await host.exec(nodeProgram(unlinkData, cid))
  if (code !== 0) throw new Error(`cannot remove the blob of ${host.planned.name}: ${stderr}`)
}

function unlinkData(cid: string): void {
  process.getBuiltinModule('node:fs').unlinkSync(`${process.env.DATA_DIR}/blobs/${cid}/data`)
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
