/**
 * The machine that an emulator boots: made of Debian's packages once (`guest-image.sh`), kept under `.tools/guest/`
 * by the hash of what it is made from, and given a program at each boot.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { access, appendFile, constants, copyFile, mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { cpioOf } from './cpio.ts'
import { GuestImageError } from './errors.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '..')
const SCRIPT = join(import.meta.dirname, 'guest-image.sh')
const SOURCES = [SCRIPT, ...['guest-init.sh', 'debian.sh'].map(name => join(import.meta.dirname, name))]
const BUILD_TIMEOUT_MS = 300_000
const HASH_CHARACTERS = 16

export interface Guest {
  /** Path of the kernel. */
  kernel: string
  /** Path of everything else, an archive that more may be appended to. */
  base: string
  /** `Debian bookworm, Linux 6.1.0-50-cloud-amd64` */
  what: string
  isFresh: boolean
}

/**
 * Builds the guest if it is not there.
 * @throws GuestImageError with what the script said
 */
export async function ensureGuest(folder: string = join(ROOT, '.tools', 'guest')): Promise<Guest> {
  const hash = createHash('sha256').update(`${process.version}\0${process.arch}`)
  for (const path of SOURCES) hash.update('\0').update(await readFile(path))
  const own = join(folder, hash.digest('hex').slice(0, HASH_CHARACTERS))
  const base = join(own, 'base.cpio')
  const isFresh = await access(base).then(
    () => true,
    () => false
  )
  if (!isFresh) {
    // One made from other things is of no use any more, and it is large.
    await rm(folder, { recursive: true, force: true })
    await mkdir(own, { recursive: true })
    try {
      await run(SCRIPT, [own, process.execPath], { timeout: BUILD_TIMEOUT_MS })
    } catch (cause) {
      throw new GuestImageError((cause as { stderr?: string }).stderr || String(cause), { cause })
    }
  }
  const [what = ''] = (await readFile(join(own, 'versions'), 'utf8')).split('\n')
  return { kernel: join(own, 'vmlinuz'), base, what, isFresh }
}

/** Writes what the emulator gives to the kernel: the guest's files and, over them, these. */
export async function writeInitrd(path: string, { base }: Guest, files: Record<string, Uint8Array>): Promise<void> {
  await copyFile(base, path, constants.COPYFILE_FICLONE)
  await appendFile(path, cpioOf(files))
}
