import assert from 'node:assert/strict'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { chainBundleExternals, chainBundlePackages, chainSourcePackages, packageFolders } from './image-files.ts'
import { runChain } from './testing.ts'

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '')

describe('the files of the chain image', () => {
  it('are, for a bundle, the simulator and its native package of this platform', () => {
    const folders = packageFolders(root, chainBundlePackages, { os: 'linux', cpu: 'x64', libc: 'glibc' })
    assert.deepEqual(folders, ['node_modules/@nomicfoundation/edr', 'node_modules/@nomicfoundation/edr-linux-x64-gnu'])
  })

  it('are, from source, Hardhat and all it needs, without other platforms', () => {
    const folders = packageFolders(root, chainSourcePackages, { os: 'linux', cpu: 'x64', libc: 'glibc' })
    for (const name of ['hardhat', 'zod', '@nomicfoundation/hardhat-utils', '@nomicfoundation/edr']) {
      assert.ok(folders.includes(`node_modules/${name}`), name)
    }
    // The analyzer's own platform packages do not say which platform they are for, so they all come along.
    const unwanted = folders.filter(folder => /edr-(win32|darwin|linux-arm64)|musl|solc|viem/.test(folder))
    assert.deepEqual(
      unwanted.filter(folder => !folder.includes('solidity-analyzer')),
      []
    )
  })

  it('suffice: a bundle with only them beside it serves a chain', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'warren-chain-image-'))
    try {
      await build({
        entryPoints: { chain: join(root, 'contracts/main.ts') },
        outdir: join(folder, 'dist'),
        bundle: true,
        splitting: true,
        platform: 'node',
        format: 'esm',
        target: 'node24',
        external: [...chainBundleExternals],
        banner: {
          js: "import { createRequire as bannerRequire } from 'node:module'; const require = bannerRequire(import.meta.url), __filename = import.meta.filename, __dirname = import.meta.dirname;"
        },
        logLevel: 'error'
      })
      await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
      for (const path of packageFolders(root, chainBundlePackages)) {
        await cp(join(root, path), join(folder, path), { recursive: true })
      }
      await using chain = await runChain({ program: join(folder, 'dist/chain.js'), cwd: folder })
      const response = await fetch(`${chain.controlUrl}/health`)
      assert.equal(response.status, 200)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})
