/**
 * `make build`: one bundle a role under `dist/`, so that a process starts from a handful of files instead of
 * thousands. Heavy parts that a role imports lazily stay in files of their own. Does nothing while no source changed.
 */
import { createHash } from 'node:crypto'
import { access, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import type { BuildOptions, Metafile } from 'esbuild'
import { ASSET_ROOMS, copyAssets } from './assets.ts'
import { bundledPackageOf, copyPackages, nativePackages } from './packages.ts'
import { sourcesInPlace } from './sources.ts'
import { warmCache } from './warm.ts'

/** Program → the file that is its process. */
export const PROGRAMS = {
  node: 'node/main.ts',
  relay: 'relay/main.ts',
  gateway: 'gateway/main.ts',
  chain: 'contracts/main.ts',
  client: 'compose/client-host.ts',
  leg: 'netem/leg.ts'
} as const

/** Processes that a program starts beside itself, found by name beside the bundle. */
const WORKERS: Partial<Record<Program, Array<[name: string, path: string]>>> = {
  leg: [
    ['shaper-worker', 'netem/shaper-worker.ts'],
    ['dns64-server', 'netem/dns64-server.ts']
  ],
  client: [['puncher', 'scenarios/punching/peer.ts']],
  gateway: [['sql-child', 'gateway/sql/child.ts']]
}

/** Programs whose lazily imported parts are files of their own, shared between them. The others are one file each. */
const SPLIT: Program[] = ['node', 'relay', 'gateway', 'client']

export type Program = keyof typeof PROGRAMS

type Outputs = Map<string, Metafile['outputs'][string]>

/** What `dist/manifest.json` says. */
export interface BuildManifest {
  /** SHA-256 over every source, the lockfile and Node's version. */
  hash: string
  /** Program → files under `dist/` it may load, its own first; assets and packages included as folders. */
  programs: Partial<Record<Program, string[]>>
}

const ROOT = join(import.meta.dirname, '..')
const ROOMS = ['node', 'relay', 'client', 'gateway', 'migrations', 'contracts', 'netem', 'scenarios/punching']
const MANIFEST = 'manifest.json'
/** A running testnet may still load a part of an older build lazily. */
const STALE_AFTER_MS = 24 * 60 * 60 * 1000
/** Drivers that knex can load and Warren never asks for. */
const FOREIGN_DRIVERS = [
  'pg',
  'pg-query-stream',
  'pg-native',
  'mysql',
  'mysql2',
  'mariadb',
  'oracledb',
  'tedious',
  'sqlite3'
]
/** CommonJS packages inside an ES module find their `require` here. */
const BANNER = [
  "import { createRequire as __createRequire } from 'node:module'",
  'const require = __createRequire(import.meta.url), __filename = import.meta.filename',
  // An ES module in the bundle may declare its own, of the same value: var allows both.
  'var __dirname = import.meta.dirname'
].join('\n')

/** Turns on Node's cache of compiled code before the program itself is read; the cache may be read-only. */
const launcher = (program: string): string =>
  [
    "import { enableCompileCache } from 'node:module'",
    "enableCompileCache({ directory: import.meta.dirname + '/cache', portable: true })",
    `await import('./${program}.main.js')`,
    ''
  ].join('\n')

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false
  )

async function sourceFiles(): Promise<string[]> {
  const listed = await Promise.all(
    ROOMS.map(async room => {
      const entries = await readdir(join(ROOT, room), { recursive: true, withFileTypes: true }).catch(() => [])
      return entries
        .filter(entry => entry.isFile() && !/(\.test\.ts|\.md)$/.test(entry.name))
        .map(entry => relative(ROOT, join(entry.parentPath, entry.name)))
        .filter(path => !/\/(golden|artifacts|cache)\//.test(path))
    })
  )
  const own = (await readdir(import.meta.dirname)).filter(name => name.endsWith('.ts')).map(name => `compose/${name}`)
  return [...listed.flat(), ...own, 'package-lock.json'].sort()
}

async function hashOf(paths: string[]): Promise<string> {
  const hash = createHash('sha256').update(process.version)
  const contents = await Promise.all(paths.map(path => readFile(join(ROOT, path))))
  for (const [index, path] of paths.entries()) hash.update(`\0${path}\0`).update(contents[index]!)
  return hash.digest('hex')
}

async function readManifest(dist: string): Promise<BuildManifest | null> {
  try {
    return JSON.parse(await readFile(join(dist, MANIFEST), 'utf8')) as BuildManifest
  } catch {
    return null
  }
}

/** Another process may read the file at this moment: it sees the old or the new one, never a part. */
async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const partial = `${path}.${process.pid}.tmp`
  await writeFile(partial, content)
  await rename(partial, path)
}

async function removeStale(dist: string, keep: Set<string>): Promise<void> {
  const names = (await readdir(dist)).filter(name => /\.(js|js\.map|tmp)$/.test(name) && !keep.has(name))
  await Promise.all(
    names.map(async name => {
      const { mtimeMs } = await stat(join(dist, name))
      if (Date.now() - mtimeMs > STALE_AFTER_MS) await rm(join(dist, name), { force: true })
    })
  )
}

/** How every bundle is made. */
const COMMON: BuildOptions = {
  absWorkingDir: ROOT,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  keepNames: false,
  legalComments: 'none',
  banner: { js: BANNER },
  external: [...nativePackages(), ...FOREIGN_DRIVERS],
  plugins: [sourcesInPlace(ROOT, ASSET_ROOMS)],
  write: false,
  logLevel: 'error'
}

async function bundle(
  entries: Array<[name: string, path: string]>,
  dist: string,
  splitting: boolean
): Promise<Metafile> {
  const { build } = await import('esbuild')
  const result = await build({
    ...COMMON,
    entryPoints: entries.map(([out, path]) => ({ in: path, out })),
    outdir: dist,
    splitting,
    // Every output lies in dist/ itself: a module's own place in the tree is told from there.
    chunkNames: 'part-[hash]',
    sourcemap: 'external',
    // Stack traces name functions; the sources are for the debugger and stay outside the images.
    sourcesContent: false,
    metafile: true
  })
  await Promise.all((result.outputFiles ?? []).map(file => writeWhole(file.path, file.contents)))
  return result.metafile!
}

/**
 * One program, whatever room it is in, as one file; nothing is written.
 * @param path from the root of the tree
 * @throws esbuild's BuildFailure
 */
export async function bundleProgram(path: string): Promise<Uint8Array> {
  const { build } = await import('esbuild')
  const { outputFiles } = await build({ ...COMMON, entryPoints: [path], outfile: 'program.js' })
  return outputFiles![0]!.contents
}

/**
 * Builds what is not built yet.
 * @returns the folder, its manifest, and whether anything had to be built
 * @throws esbuild's BuildFailure
 */
export async function buildBundles(
  dist: string = join(ROOT, 'dist')
): Promise<{ dist: string; manifest: BuildManifest; isFresh: boolean }> {
  const sources = await sourceFiles()
  const hash = await hashOf(sources)
  const before = await readManifest(dist)
  if (before?.hash === hash) return { dist, manifest: before, isFresh: true }

  await mkdir(dist, { recursive: true })
  const present: Program[] = []
  for (const [program, path] of Object.entries(PROGRAMS)) {
    if (await exists(join(ROOT, path))) present.push(program as Program)
  }
  const entriesOf = (isSplit: boolean): Array<[string, string]> =>
    present
      .filter(program => SPLIT.includes(program) === isSplit)
      .flatMap(program => [[`${program}.main`, PROGRAMS[program]], ...(WORKERS[program] ?? [])])
  const metafiles = await Promise.all([true, false].map(isSplit => bundle(entriesOf(isSplit), dist, isSplit)))
  const outputs: Outputs = new Map(
    metafiles.flatMap(metafile => Object.entries(metafile.outputs)).map(([path, output]) => [basename(path), output])
  )
  await Promise.all(present.map(program => writeWhole(join(dist, `${program}.js`), launcher(program))))
  const packages = await copyPackages(ROOT, dist)
  const assets = await copyAssets(ROOT, dist, sources)
  const manifest: BuildManifest = {
    hash,
    programs: Object.fromEntries(present.map(program => [program, closure(outputs, program, packages, assets)]))
  }
  await removeStale(dist, new Set([...outputs.keys(), ...present.map(program => `${program}.js`)]))
  await rm(join(dist, 'cache'), { recursive: true, force: true })
  await mkdir(join(dist, 'cache'), { recursive: true })
  await warmCache(dist, present)
  await writeWhole(join(dist, MANIFEST), `${JSON.stringify(manifest, null, 1)}\n`)
  return { dist, manifest, isFresh: false }
}

/** Everything under `dist/` that a program may load: its parts, and the packages and assets those use. */
function closure(outputs: Outputs, program: Program, packages: Map<string, string[]>, assets: string[]): string[] {
  const files = new Set<string>()
  const rooms = new Set<string>()
  const imported = new Set<string>()
  const visit = (file: string): void => {
    const output = outputs.get(file)
    if (output === undefined || files.has(file)) return
    files.add(file)
    for (const input of Object.keys(output.inputs)) {
      rooms.add(input.split('/')[0]!)
      const loaded = bundledPackageOf(input)
      if (loaded !== undefined) imported.add(loaded)
    }
    for (const { path, external } of output.imports) {
      if (external === true) imported.add(path)
      else visit(basename(path))
    }
  }
  visit(`${program}.main.js`)
  for (const [name] of WORKERS[program] ?? []) visit(`${name}.js`)
  return [
    `${program}.js`,
    ...files,
    ...assets.filter(asset => rooms.has(asset.split('/')[0]!)),
    ...[...packages].flatMap(([name, folders]) => (imported.has(name) ? folders : []))
  ]
}

if (import.meta.main) {
  const began = performance.now()
  try {
    const { manifest, isFresh } = await buildBundles()
    const names = Object.keys(manifest.programs).join(', ')
    console.error(isFresh ? 'dist/ is fresh.' : `Built ${names} in ${Math.round(performance.now() - began)} ms.`)
  } catch (error) {
    // esbuild has said where; its stack says nothing more.
    console.error((error as Error).message)
    process.exitCode = 1
  }
}
