/**
 * `make images`: the base if it is not there, then one image a role and the leg's, each built only when what goes into
 * it changed. Our code comes as bundles, so a build copies files and runs nothing.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { access, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { type BuildManifest, buildBundles, type Program } from './build.ts'
import { EngineMissingError, ImageBuildError } from './errors.ts'
import { LEG_IMAGE } from './render.ts'
import { roles } from './roles.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '..')
/** Packages fetched for the leg stay here between builds. */
const CACHE = join(ROOT, '.tools', 'leg')
const ENGINE_TIMEOUT_MS = 20_000
const BASE_TIMEOUT_MS = 900_000
const BUILD_TIMEOUT_MS = 300_000
const MAX_OUTPUT_BYTES = 16 << 20
export const BASE_IMAGE = process.env.BASE_IMAGE ?? 'node:24-bookworm-slim'
const HASH_LABEL = 'org.warren.hash'
/** Owner of `/data` and user of every role in the images. */
const PRODUCT_UID = '1000'

export interface ImageProgress {
  /** A stage begins; the returned function ends it. */
  stage: (title: string) => (detail?: string) => void
}

const imageOf = (program: Program): string => (program === 'leg' ? LEG_IMAGE : roles[program].image)

async function docker(args: string[], timeout: number): Promise<string> {
  const { stdout } = await run('docker', args, { timeout, maxBuffer: MAX_OUTPUT_BYTES })
  return stdout
}

const words = (error: unknown): string => {
  const { stdout = '', stderr = '', message = '' } = error as { stdout?: string; stderr?: string; message?: string }
  return `${stdout}${stderr}` || message
}

/** A label of an image, empty when it has none or there is no such image. */
async function inspect(image: string, format: string): Promise<string> {
  return await docker(['image', 'inspect', '--format', format, image], ENGINE_TIMEOUT_MS).then(
    text => text.trim(),
    () => ''
  )
}

async function ensureBase(progress: ImageProgress): Promise<string> {
  const before = await inspect(BASE_IMAGE, '{{.Id}}')
  if (before !== '') return before
  const ended = progress.stage(`Get the base image ${BASE_IMAGE}`)
  await run(join(import.meta.dirname, 'base-image.sh'), [], {
    timeout: BASE_TIMEOUT_MS,
    maxBuffer: MAX_OUTPUT_BYTES,
    env: { ...process.env, BASE_IMAGE }
  }).catch(error => {
    throw new ImageBuildError(BASE_IMAGE, words(error))
  })
  ended()
  return await inspect(BASE_IMAGE, '{{.Id}}')
}

/** The network tools, unpacked; fetched once a base. */
async function legTools(base: string, progress: ImageProgress): Promise<string> {
  const script = join(import.meta.dirname, 'leg-packages.sh')
  const key = createHash('sha256')
    .update(base)
    .update(await readFile(script))
    .digest('hex')
    .slice(0, 16)
  const folder = join(CACHE, key)
  const there = await access(join(folder, 'usr')).then(
    () => true,
    () => false
  )
  if (there) return folder
  const ended = progress.stage("Fetch the leg's network tools")
  const work = await mkdtemp(join(tmpdir(), 'warren-leg-'))
  try {
    const status = await docker(
      ['run', '--rm', '--network=none', BASE_IMAGE, 'cat', '/var/lib/dpkg/status'],
      BUILD_TIMEOUT_MS
    )
    await writeFile(join(work, 'status'), status)
    await rm(CACHE, { recursive: true, force: true })
    await mkdir(folder, { recursive: true })
    await run(script, [join(work, 'status'), folder], { timeout: BUILD_TIMEOUT_MS, maxBuffer: MAX_OUTPUT_BYTES })
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw new ImageBuildError(LEG_IMAGE, words(error))
  } finally {
    await rm(work, { recursive: true, force: true })
  }
  ended()
  return folder
}

async function filesUnder(dist: string, paths: string[]): Promise<string[]> {
  const listed = await Promise.all(
    paths.map(async path => {
      if (!path.startsWith('node_modules/')) return [path]
      const entries = await readdir(join(dist, path), { recursive: true, withFileTypes: true })
      return entries
        .filter(entry => entry.isFile())
        .map(entry => join(entry.parentPath, entry.name).slice(dist.length + 1))
    })
  )
  return listed.flat().sort()
}

async function contentHash(dist: string, files: string[], salt: string): Promise<string> {
  const hash = createHash('sha256').update(salt)
  for (const file of files) hash.update(`\0${file}\0`).update(await readFile(join(dist, file)))
  return hash.digest('hex')
}

/** Compiled code for the user the image runs as; Node names its folder by version and user. */
async function copyCache(dist: string, app: string): Promise<void> {
  const own = `-${process.getuid?.() ?? PRODUCT_UID}`
  const names = await readdir(join(dist, 'cache')).catch(() => [])
  for (const name of names.filter(each => each.startsWith(process.version) && each.endsWith(own))) {
    const target = `${name.slice(0, -own.length)}-${PRODUCT_UID}`
    await cp(join(dist, 'cache', name), join(app, 'dist', 'cache', target), { recursive: true })
  }
}

async function build(program: Program, dist: string, files: string[], hash: string, tools: string): Promise<void> {
  const context = await mkdtemp(join(tmpdir(), `warren-${program}-`))
  try {
    const app = join(context, 'app')
    await mkdir(join(app, 'dist', 'cache'), { recursive: true })
    await mkdir(join(context, 'data'))
    await writeFile(join(app, 'package.json'), '{"type":"module"}\n')
    for (const file of files) {
      await mkdir(dirname(join(app, 'dist', file)), { recursive: true })
      await cp(join(dist, file), join(app, 'dist', file))
    }
    await copyCache(dist, app)
    const isLeg = program === 'leg'
    if (isLeg) await cp(tools, join(context, 'root'), { recursive: true, verbatimSymlinks: true })
    const file = join(import.meta.dirname, isLeg ? 'leg.Dockerfile' : 'Dockerfile')
    const target = isLeg ? [] : ['--target', program]
    const args = [
      'build',
      '--network=none',
      '--build-arg',
      `BASE_IMAGE=${BASE_IMAGE}`,
      '--label',
      `${HASH_LABEL}=${hash}`
    ]
    await docker([...args, ...target, '-t', imageOf(program), '-f', file, context], BUILD_TIMEOUT_MS)
  } catch (error) {
    throw new ImageBuildError(imageOf(program), words(error))
  } finally {
    await rm(context, { recursive: true, force: true })
  }
}

/**
 * Makes sure that the images of these programs are on the engine and fresh.
 * @returns the images that were built
 * @throws EngineMissingError, ImageBuildError
 */
export async function ensureImages(
  progress: ImageProgress,
  programs: Program[] = ['node', 'relay', 'gateway', 'chain', 'client', 'leg']
): Promise<string[]> {
  await docker(['version', '--format', '{{.Server.Version}}'], ENGINE_TIMEOUT_MS).catch(error => {
    throw new EngineMissingError(words(error))
  })
  const { dist, manifest } = await buildBundles()
  const base = await ensureBase(progress)
  const stale = await staleImages(dist, manifest, base, programs)
  if (stale.length === 0) return []
  const tools = stale.some(({ program }) => program === 'leg') ? await legTools(base, progress) : ''
  const ended = progress.stage(`Build ${stale.map(({ program }) => imageOf(program)).join(', ')}`)
  await Promise.all(stale.map(({ program, files, hash }) => build(program, dist, files, hash, tools)))
  ended()
  return stale.map(({ program }) => imageOf(program))
}

async function staleImages(
  dist: string,
  manifest: BuildManifest,
  base: string,
  programs: Program[]
): Promise<Array<{ program: Program; files: string[]; hash: string }>> {
  const recipes = ['Dockerfile', 'leg.Dockerfile', 'leg-packages.sh', 'images.ts']
  const recipe = await Promise.all(recipes.map(name => readFile(join(import.meta.dirname, name), 'utf8')))
  const checked = await Promise.all(
    programs.map(async program => {
      const contents = manifest.programs[program]
      if (contents === undefined) return null
      const files = await filesUnder(dist, contents)
      const hash = await contentHash(dist, files, `${base}\0${recipe.join('\0')}`)
      const isFresh = (await inspect(imageOf(program), `{{index .Config.Labels "${HASH_LABEL}"}}`)) === hash
      return isFresh ? null : { program, files, hash }
    })
  )
  return checked.filter(each => each !== null)
}

if (import.meta.main) {
  const began = performance.now()
  const since = (from: number): string => `${((performance.now() - from) / 1000).toFixed(1)} s`
  try {
    const built = await ensureImages({
      stage(title) {
        const start = performance.now()
        console.error(`${title} ...`)
        return () => console.error(`${title}: ${since(start)}`)
      }
    })
    console.error(
      built.length === 0 ? `All images are fresh (${since(began)}).` : `Images are ready (${since(began)}).`
    )
  } catch (error) {
    if (!(error instanceof EngineMissingError || error instanceof ImageBuildError)) throw error
    console.error(error.message)
    process.exitCode = 1
  }
}
