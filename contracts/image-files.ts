/**
 * What the chain needs beside its own code, for whoever builds its image or bundle. Bundled by esbuild from
 * `contracts/main.ts` (as the other roles are), it needs only the simulator's native package; run from source it needs
 * Hardhat's whole tree.
 */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { PackageNotInstalledError } from './errors.ts'

/** Stay `import`s of the bundle. The analyzer is used only to compile, so that it need not be there at run time. */
export const chainBundleExternals: readonly string[] = ['@nomicfoundation/edr', '@nomicfoundation/solidity-analyzer']

/** Packages that the bundled chain loads at run time. */
export const chainBundlePackages: readonly string[] = ['@nomicfoundation/edr']

/** Packages that the chain loads at run time when it runs from source. */
export const chainSourcePackages: readonly string[] = ['hardhat', 'pino', 'pino-pretty', 'prom-client', 'zod']

/** `os`, `cpu` and `libc` as package.json names them. */
export interface Platform {
  os: string
  cpu: string
  libc: string
}

export const imagePlatform: Platform = { os: 'linux', cpu: process.arch, libc: 'glibc' }

interface Manifest {
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
  peerDependencies?: Record<string, string>
  os?: string[]
  cpu?: string[]
  libc?: string[]
}

/**
 * The folders of the named packages and of everything they depend on, relative to `root` (`node_modules/…`, nested
 * ones under their parent's, sorted), without packages of other platforms. Reads what is installed.
 * @throws PackageNotInstalledError when a package that is not optional is missing
 */
export function packageFolders(root: string, names: readonly string[], platform: Platform = imagePlatform): string[] {
  const found = new Set<string>()
  const visit = (name: string, from: string, optional: boolean) => {
    const folder = resolvePackage(name, from, root)
    if (folder === null) {
      if (optional) return
      throw new PackageNotInstalledError(`${name} is not installed; run npm install`)
    }
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest
    if (found.has(folder) || !fits(manifest, platform)) return
    found.add(folder)
    for (const dependency of Object.keys(manifest.dependencies ?? {})) {
      visit(dependency, folder, dependency in (manifest.optionalDependencies ?? {}))
    }
    for (const dependency of Object.keys(manifest.optionalDependencies ?? {})) visit(dependency, folder, true)
    for (const dependency of Object.keys(manifest.peerDependencies ?? {})) visit(dependency, folder, true)
  }
  for (const name of names) visit(name, root, false)
  const folders = [...found].map(folder => relative(root, folder)).sort()
  // A nested package is copied with its parent.
  return folders.filter(folder => !folders.some(other => folder.startsWith(`${other}/`)))
}

/** Where Node would find the package when a module in `from` imports it. */
function resolvePackage(name: string, from: string, root: string): string | null {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name)
    if (existsSync(join(candidate, 'package.json'))) return candidate
    if (folder === root || folder === dirname(folder)) return null
  }
}

function fits(manifest: Manifest, platform: Platform): boolean {
  return (['os', 'cpu', 'libc'] as const).every(key => manifest[key]?.includes(platform[key]) ?? true)
}
