import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const CLI = join(import.meta.dirname, 'cli.ts')
const TIMEOUT_MS = 30_000

describe('the testnet command line', () => {
  let folder: string
  const cli = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(process.execPath, [CLI, ...args], {
      encoding: 'utf8',
      timeout: TIMEOUT_MS,
      env: { ...process.env, WARREN_TESTNET_DIR: join(folder, 'testnets') }
    })

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-cli-'))
  })
  after(async () => await rm(folder, { recursive: true }))

  it('lists every problem of a topology with its path, exits 1 and creates nothing', async () => {
    const file = join(folder, 'bad.mjs')
    await writeFile(
      file,
      `export default { name: 'bad', description: 'Wrong in many ways.',
        networks: { internet: {}, home: { behind: 'internet', nat: 'cone' }, lost: { behind: 'nowhere', nat: 'symmetric' } },
        hosts: { a: { role: 'boss', on: 'home' }, b: { role: 'node', on: 'mars' } } }`
    )
    const { status, stderr, stdout } = cli('up', '--topology', file, '--runtime', 'netns')
    assert.equal(status, 1)
    for (const path of ['networks.home.nat', 'networks.lost.behind', 'hosts.a.role', 'hosts.b.on'])
      assert.ok(stderr.includes(path), `${path} is not in ${stderr}`)
    assert.equal(stdout, '')
    assert.equal(existsSync(join(folder, 'testnets')), false)
  })

  it('prints a plan, the same for the same seed', () => {
    const first = cli('plan', '--topology', 'nat-pair', '--seed', 'x')
    assert.equal(first.status, 0, first.stderr)
    assert.equal(first.stdout, cli('plan', '--topology', 'nat-pair', '--seed', 'x').stdout)
    assert.equal((JSON.parse(first.stdout) as { topology: string }).topology, 'nat-pair')
  })

  it('says what to do when there is nothing to look at, and that nothing is left', () => {
    const looked = cli('status')
    assert.equal(looked.status, 1)
    assert.match(looked.stderr, /make testnet-up/)
    const ended = cli('down')
    assert.equal(ended.status, 0)
    assert.match(ended.stdout, /nothing left/)
  })

  it('names what exists when a scenario or flag does not', () => {
    const unknown = cli('run', 'no-such-story')
    assert.equal(unknown.status, 1)
    assert.match(unknown.stderr, /store-through-nat/)
    assert.equal(cli('up', '--nodes', 'many').status, 1)
    assert.equal(cli('up', '--runtime', 'vmware').status, 1)
  })
})
