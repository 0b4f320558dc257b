/**
 * Packages that a bundle cannot hold because they carry compiled parts. They are copied beside the bundles, with
 * only what this platform needs.
 */
import { access, cp, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'

const MANIFEST = 'package.json'
const ARCH = process.arch
const EDR = '@nomicfoundation/edr'
const ANALYZER = '@nomicfoundation/solidity-analyzer'

/**
 * Package → what of it is needed. A name may bring others along: its own code loads them.
 */
const NATIVE: Record<string, Array<{ folder: string; needed: (path: string) => boolean }>> = {
  'better-sqlite3': [
    {
      folder: 'better-sqlite3',
      needed: path => /^(package\.json|lib\/.*\.js)$/.test(path) || path === `prebuilds/linux-${ARCH}.node`
    }
  ],
  koffi: [
    { folder: 'koffi', needed: path => /^(package\.json|[^/]*\.c?js|(lib|src)\/.*\.c?js)$/.test(path) },
    { folder: `@koromix/koffi-linux-${ARCH}`, needed: path => !path.startsWith('musl') }
  ],
  [EDR]: [
    { folder: EDR, needed: path => /^(package\.json|.*\.js)$/.test(path) },
    { folder: `${EDR}-linux-${ARCH}-gnu`, needed: () => true }
  ],
  // Used only to compile, but a bundle in one file imports it at once.
  [ANALYZER]: [
    { folder: ANALYZER, needed: path => /^(package\.json|[^/]*\.js|dist\/.*\.js)$/.test(path) },
    { folder: `${ANALYZER}-linux-${ARCH}-gnu`, needed: () => true }
  ]
}

/** Bundled packages that load their compiled part themselves, at run time, from beside the bundle. */
const BUNDLED: typeof NATIVE = {
  '@chainsafe/libp2p-quic': [{ folder: `@chainsafe/libp2p-quic-linux-${ARCH}-gnu`, needed: () => true }]
}

/** Import names that stay imports. */
export const nativePackages = (): string[] => Object.keys(NATIVE)

/** The package whose own file went into a bundle, if it is one that loads a compiled part at run time. */
export const bundledPackageOf = (input: string): string | undefined =>
  Object.keys(BUNDLED).find(name => input.includes(`node_modules/${name}/`))

async function copyPackage(root: string, dist: string, folder: string, needed: (path: string) => boolean) {
  const from = join(root, 'node_modules', folder)
  const to = join(dist, 'node_modules', folder)
  const files = (await readdir(from, { recursive: true, withFileTypes: true }))
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(from.length + 1))
    .filter(path => needed(path) && path !== MANIFEST)
  const isSame = async () => {
    const [own, copied] = await Promise.all([from, to].map(each => readFile(join(each, MANIFEST))))
    await Promise.all(files.map(path => access(join(to, path))))
    return own!.equals(copied!)
  }
  if (await isSame().catch(() => false)) return
  await rm(to, { recursive: true, force: true })
  // package.json last: with it there, the copy is whole.
  for (const path of [...files, MANIFEST]) {
    await mkdir(dirname(join(to, path)), { recursive: true })
    await cp(join(from, path), join(to, path))
  }
}

/** Copies all of them and returns package → folders relative to `dist`. */
export async function copyPackages(root: string, dist: string): Promise<Map<string, string[]>> {
  const copied = new Map<string, string[]>()
  for (const [name, parts] of Object.entries({ ...NATIVE, ...BUNDLED })) {
    for (const { folder, needed } of parts) await copyPackage(root, dist, folder, needed)
    copied.set(
      name,
      parts.map(({ folder }) => `node_modules/${folder}`)
    )
  }
  return copied
}
