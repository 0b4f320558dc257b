import { createRequire } from 'node:module'
import { defineConfig } from 'hardhat/config'

const require = createRequire(import.meta.url)

/** The one compiler, from the npm package: nothing is ever downloaded. Paths are relative to the repository's root. */
export default defineConfig({
  solidity: {
    version: '0.8.37',
    path: require.resolve('solc/soljson.js'),
    settings: {
      optimizer: { enabled: true, runs: 200 },
      // Without the metadata trailer the bytecode depends on the code alone, not on comments or paths.
      metadata: { appendCBOR: false, bytecodeHash: 'none' }
    }
  },
  paths: { sources: 'contracts/src', artifacts: 'contracts/artifacts', cache: 'contracts/cache' }
})
