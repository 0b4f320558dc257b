import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { compileRegistry, renderAbiModule } from './compile.ts'

describe('contracts/abi.ts', () => {
  it('is what the compiler makes of VaultRegistry.sol (else run `node contracts/build.ts`)', async () => {
    const committed = await readFile(new URL('abi.ts', import.meta.url), 'utf8')
    assert.equal(committed, renderAbiModule(await compileRegistry()))
  })
})
