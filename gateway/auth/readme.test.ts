import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { startAuthGateway } from '../testing/wallets.ts'

const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url))
const MARK = '--- next'

describe('the README’s login', () => {
  it('does what is written there, command by command', async () => {
    const text = await readFile(new URL('../README.md', import.meta.url), 'utf8')
    const block = /Logging in\n+```console\n(.*?)```/s.exec(text)?.[1] as string
    const examples = block
      .split(/^\$ /m)
      .slice(1)
      .map(example => ({
        command: example.split('\n')[0] as string,
        expected: example.split('\n').slice(1).join('\n').trim()
      }))
    assert.ok(examples.length >= 10)
    const folder = await mkdtemp(join(tmpdir(), 'warren-readme-'))
    try {
      await symlink(MODULES, join(folder, 'node_modules'))
      await using running = await startAuthGateway()
      const script = examples.map(({ command }) => `${command}\necho; echo '${MARK}'`).join('\n')
      const { stdout } = await promisify(execFile)('bash', ['-c', script], {
        cwd: folder,
        env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, GATEWAY: running.url }
      })
      const answers = stdout.split(`${MARK}\n`).map(answer => answer.trim())
      for (const [index, { command, expected }] of examples.entries()) {
        assert.match(answers[index] as string, patternOf(expected), `${command}\n${answers[index]}`)
      }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})

/** The text, with anything where … stands. */
function patternOf(expected: string): RegExp {
  const parts = expected.split('…').map(part => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('.+')}$`, 's')
}
