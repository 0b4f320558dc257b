/** Helia, installed into a folder of its own: it brings more packages than all of the project. */
import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from '../../netem/index.ts'
import { ensureTool, type Tool } from './tools.ts'

const SOURCE = join(import.meta.dirname, 'helia')
const FILES = ['package.json', 'package-lock.json', '.npmrc', 'index.js']
const INSTALL_TIMEOUT_MS = 300_000

/** Its folder has an `index.js` that exports what the peer takes of it. */
export function ensureHelia(say: (text: string) => void): Promise<Tool> {
  return ensureTool({
    name: 'helia',
    sources: FILES.map(file => join(SOURCE, file)),
    words: [process.version, process.arch],
    async make(folder) {
      say('installing Helia, once')
      for (const file of FILES) await copyFile(join(SOURCE, file), join(folder, file))
      // Exactly what the lockfile names, and nothing of it is run.
      await run(['npm', 'ci', '--prefix', folder, '--ignore-scripts'], { timeoutMs: INSTALL_TIMEOUT_MS })
    }
  })
}
