/**
 * Copies of what a node must not lose: its keys, without which its blobs are noise, and on request the blobs. A backup is
 * a folder with a manifest; it is whole or it has none. Blobs never change once they are there, and packs only grow at their
 * end, so that a running node can be copied.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { chmod, copyFile, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { z } from 'zod'
import { BackupError } from './errors.ts'

const MANIFEST = 'manifest.json'
const PRIVATE_FILE = 0o600
const PRIVATE_FOLDER = 0o700
/** What every backup has, where the node has it. */
const KEYS = ['keys', 'p2p']
/** Without it a backup is none. */
const PRIVATE_KEY = 'keys/private.key'
/** Below the data directory, while a backup is put back. */
const RESTORING = 'restore.unfinished'
/** What goes with the blobs. */
const DATA = ['blobs', 'packs', 'pins.txt', 'blocked.txt']
/** Its files may move blobs from one to another while they are copied. */
const PACKS = 'packs'
/** Made anew where they are missing: room kept free, and an index, which may tell of more than the copy of its pack has. */
const PACK_MADE_AGAIN = /(\.idx(\.tmp)?|\/reserve)$/
/** Times that packs are copied again because some went meanwhile: a compaction has its end. */
const PACK_ROUNDS_MAX = 20

const manifest = z.object({
  warrenBackup: z.literal(1),
  createdAt: z.string(),
  files: z.record(z.string(), z.object({ sizeBytes: z.int().min(0), sha256: z.string().length(64) }))
})

type Files = z.infer<typeof manifest>['files']

export interface BackupResult {
  files: number
  sizeBytes: number
}

/**
 * Copy keys, and blobs if asked, from a node's data directory into a new folder.
 * @throws BackupError when the folder is there already or there are no keys; nothing is left behind then
 */
export async function backUpNode(options: { dataDir: string; to: string; blobs: boolean }): Promise<BackupResult> {
  const { dataDir, to, blobs } = options
  if (await exists(to)) throw new BackupError(`${to} is there already. Name a folder that is not.`)
  if (!(await exists(join(dataDir, PRIVATE_KEY)))) {
    throw new BackupError(`${dataDir} has no ${PRIVATE_KEY}. Is it the data directory of a node?`)
  }
  const unfinished = `${to}.unfinished`
  await rm(unfinished, { recursive: true, force: true })
  const parent = dirname(resolve(to))
  await makeFolder(parent)
  try {
    const files: Files = {}
    for (const part of blobs ? [...KEYS, ...DATA] : KEYS) {
      if (part === PACKS) Object.assign(files, await copyPacks(dataDir, unfinished))
      else Object.assign(files, (await copyBelow(join(dataDir, part), dataDir, unfinished)).files)
    }
    if (files[PRIVATE_KEY] === undefined)
      throw new BackupError(`${join(dataDir, PRIVATE_KEY)} went while it was copied.`)
    const text = JSON.stringify({ warrenBackup: 1, createdAt: new Date().toISOString(), files }, null, 2)
    await writeDurably(join(unfinished, MANIFEST), text)
    await syncFolders(unfinished)
    await syncFolder(parent)
    await rename(unfinished, to)
    await syncFolder(parent)
    return sumOf(files)
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    throw error
  }
}

/**
 * Put a backup into an empty data directory.
 * @throws BackupError when the directory holds a node, or a file of the backup is missing or altered; nothing is left behind then,
 * nor when the disk refuses
 */
export async function restoreNode(options: { from: string; dataDir: string }): Promise<BackupResult> {
  const { from, dataDir } = options
  const text = await readFile(join(from, MANIFEST), 'utf8').catch(() => null)
  if (text === null) throw new BackupError(`${from} has no ${MANIFEST}: it is no backup, or one that was not finished.`)
  const parsed = manifest.safeParse(parseJson(text))
  if (!parsed.success) throw new BackupError(`${join(from, MANIFEST)} is not a manifest of ours.`)
  for (const part of [...KEYS, ...DATA]) {
    if (await exists(join(dataDir, part))) {
      throw new BackupError(`${dataDir} already has ${part}. Restore into a directory without a node.`)
    }
  }
  const { files } = parsed.data
  const wrong: string[] = []
  for (const [name, { sizeBytes, sha256 }] of Object.entries(files)) {
    if (name.split('/').includes('..') || ![...KEYS, ...DATA].includes(name.split('/')[0]!)) wrong.push(name)
    else if ((await hashOf(join(from, name)))?.sha256 !== sha256) wrong.push(`${name} (${sizeBytes} bytes)`)
  }
  if (wrong.length > 0)
    throw new BackupError(`The backup is not whole: ${wrong.slice(0, 5).join(', ')}. Nothing was restored.`)
  // Whole before it is there: keys without their blobs would be a node that lost everything.
  const unfinished = join(dataDir, RESTORING)
  await makeFolder(dataDir)
  await rm(unfinished, { recursive: true, force: true })
  try {
    for (const [name, { sha256 }] of Object.entries(files)) {
      const copied = await copyDurably(join(from, name), join(unfinished, name))
      if (copied?.sha256 !== sha256) throw new BackupError(`${name} changed while it was copied. Nothing was restored.`)
    }
    await syncFolders(unfinished)
    await syncFolder(dataDir)
    for (const part of [...DATA, ...KEYS]) {
      if (!(await exists(join(unfinished, part)))) continue
      await rename(join(unfinished, part), join(dataDir, part))
      // One by one: no key may be there after a power cut without the blobs.
      await syncFolder(dataDir)
    }
  } finally {
    await rm(unfinished, { recursive: true, force: true })
  }
  return sumOf(files)
}

/** Copy all files at or below a path. @returns also how many went before they could be copied: those are in no backup */
async function copyBelow(
  path: string,
  dataDir: string,
  to: string,
  skips = (_name: string): boolean => false
): Promise<{ files: Files; gone: number }> {
  const files: Files = {}
  let gone = 0
  for (const from of await filesBelow(path)) {
    if (skips(from)) continue
    const name = relative(dataDir, from).split(sep).join('/')
    const copied = await copyDurably(from, join(to, name))
    if (copied === null) gone += 1
    else files[name] = copied
  }
  return { files, gone }
}

/**
 * Copy the packs as they are together. One that went held blobs that are in another by now, perhaps in one that was copied
 * before they came: all are copied again, until none goes meanwhile.
 */
async function copyPacks(dataDir: string, to: string): Promise<Files> {
  for (let round = 0; round < PACK_ROUNDS_MAX; round += 1) {
    await rm(join(to, PACKS), { recursive: true, force: true })
    const { files, gone } = await copyBelow(join(dataDir, PACKS), dataDir, to, name => PACK_MADE_AGAIN.test(name))
    if (gone === 0) return files
  }
  throw new BackupError(`${join(dataDir, PACKS)} kept changing. Try again when the node has less to delete.`)
}

function sumOf(files: Files): BackupResult {
  const sizes = Object.values(files).map(({ sizeBytes }) => sizeBytes)
  return { files: sizes.length, sizeBytes: sizes.reduce((sum, each) => sum + each, 0) }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null
}

/** All files at or below a path, those that are linked to included; none when there is nothing. */
async function filesBelow(path: string): Promise<string[]> {
  const found = await stat(path).catch(() => null)
  if (found === null) return []
  if (found.isFile()) return [path]
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  const files: string[] = []
  for (const entry of entries) {
    const name = join(entry.parentPath, entry.name)
    const isFile = entry.isFile() || (entry.isSymbolicLink() && (await stat(name).catch(() => null))?.isFile())
    if (isFile) files.push(name)
  }
  return files
}

async function hashOf(path: string): Promise<{ sizeBytes: number; sha256: string } | null> {
  const hash = createHash('sha256')
  let sizeBytes = 0
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      hash.update(chunk)
      sizeBytes += chunk.length
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  return { sizeBytes, sha256: hash.digest('hex') }
}

/** Make a folder and those above it, whose new names are on disk when this resolves. */
async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: PRIVATE_FOLDER })
  if (first === undefined) return
  const last = resolve(first)
  for (let made = resolve(path); made.length >= last.length; made = dirname(made)) await syncFolder(dirname(made))
}

/** Sync a folder and all below it: the names in them. What the files have in them is synced as it is written. */
async function syncFolders(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await syncFolders(join(path, entry.name))
  }
  await syncFolder(path)
}

async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r')
  await folder.sync()
}

/** Copy one file, private and synced; null when it is gone. */
async function copyDurably(from: string, to: string): Promise<{ sizeBytes: number; sha256: string } | null> {
  await mkdir(dirname(to), { recursive: true, mode: PRIVATE_FOLDER })
  try {
    await copyFile(from, to)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  await chmod(to, PRIVATE_FILE)
  await using file = await open(to, 'r+')
  await file.sync()
  return await hashOf(to)
}

async function writeDurably(path: string, text: string): Promise<void> {
  await using file = await open(path, 'wx', PRIVATE_FILE)
  await file.writeFile(text)
  await file.sync()
}
