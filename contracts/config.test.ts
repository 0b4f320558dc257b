import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readConfig } from './config.ts'
import { ConfigurationError } from './errors.ts'
import { testAccount, testKey, writeAccounts } from './testing.ts'

describe("the chain's configuration", () => {
  let folder = ''
  let file = ''
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-chain-config-'))
    file = join(folder, 'accounts.json')
  })
  beforeEach(() => writeAccounts(file, 2))
  after(() => rm(folder, { recursive: true, force: true }))

  const problemsOf = (env: Record<string, string>): readonly string[] => {
    try {
      readConfig(env)
      return []
    } catch (error) {
      assert.ok(error instanceof ConfigurationError)
      return error.problems
    }
  }

  it('has the documented defaults, also for empty variables', () => {
    const config = readConfig({ CHAIN_ACCOUNTS_FILE: file, PORT: '', CHAIN_ID: '', DATA_DIR: folder })
    const { accounts, ...rest } = config
    assert.deepEqual(rest, {
      ...{
        port: 9545,
        rpcPort: 8545,
        rpcHost: '0.0.0.0',
        chainId: 31337,
        dataDir: folder,
        allowDevRpc: false,
        logLevel: 'info'
      }
    })
    assert.deepEqual(accounts[1], { address: testAccount(2).address, privateKey: testKey(2) })
  })

  it('reports every problem at once, by name', () => {
    const problems = problemsOf({
      PORT: 'abc',
      CHAIN_RPC_PORT: '70000',
      CHAIN_ID: '0',
      CHAIN_ALLOW_DEV_RPC: 'yes',
      LOG_LEVEL: 'loud'
    })
    const names = ['PORT', 'CHAIN_RPC_PORT', 'CHAIN_ID', 'CHAIN_ACCOUNTS_FILE', 'CHAIN_ALLOW_DEV_RPC', 'LOG_LEVEL']
    assert.deepEqual(
      problems.map(problem => problem.split(' ')[0]),
      names
    )
  })

  it('says what is wrong with the accounts file without quoting a key', async () => {
    const env = { CHAIN_ACCOUNTS_FILE: file }
    assert.match(problemsOf({ CHAIN_ACCOUNTS_FILE: join(folder, 'none.json') })[0] ?? '', /ENOENT/)
    for (const content of [
      `{ "privateKey": "${testKey(1)}"`,
      '[]',
      JSON.stringify([{ address: '0x1', privateKey: `${testKey(1)}00` }])
    ]) {
      await writeFile(file, content)
      const problems = problemsOf(env)
      assert.ok(problems.length > 0)
      for (const problem of problems) {
        assert.match(problem, /^CHAIN_ACCOUNTS_FILE /)
        assert.ok(!problem.includes('00000001'), problem)
      }
    }
  })
})
