// Compiles the registry and writes abi.ts. `--check` only compares and exits 1 when abi.ts is stale.
import { readFile, writeFile } from 'node:fs/promises'
import { compileRegistry, renderAbiModule } from './compile.ts'

const target = new URL('abi.ts', import.meta.url)
const text = renderAbiModule(await compileRegistry())
if (!process.argv.includes('--check')) {
  await writeFile(target, text)
} else if ((await readFile(target, 'utf8').catch(() => '')) !== text) {
  console.error('contracts/abi.ts is stale: run `node contracts/build.ts`')
  process.exitCode = 1
}
