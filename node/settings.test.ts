import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readConfig, SETTINGS } from './config.ts'
import { helpText, masked, meaningOf, printedConfig } from './config-help.ts'
import { ConfigInvalidError } from './errors.ts'
import { flagOf, gatherSettings } from './settings.ts'

describe('settings', () => {
  let cwd: string
  before(async () => {
    cwd = await mkdtemp(join(tmpdir(), 'warren-settings-'))
  })
  after(() => rm(cwd, { recursive: true }))
  const gather = (argv: string[], env: Record<string, string> = {}) => gatherSettings({ argv, env, cwd })
  const file = async (name: string, text: string) => {
    await writeFile(join(cwd, name), text)
    return name
  }

  it('go flag before environment before .env before YAML before default', async () => {
    await file('.env', 'PORT=3\nNODE_ID=env-file\nMAX_STORAGE_MB=33\n')
    const yaml = await file('node.yaml', 'port: 4\nnode_id: yaml\nmax_storage_mb: 44\nreplication_factor: 4\n')
    const layers = await gather(['--config', yaml, '--port', '1'], { PORT: '2', NODE_ID: 'environment' })
    assert.deepEqual(layers.problems, [])
    assert.deepEqual(
      ['PORT', 'NODE_ID', 'MAX_STORAGE_MB', 'REPLICATION_FACTOR', 'SHARD_COUNT'].map(name => [
        layers.env[name],
        layers.sources.get(name)
      ]),
      [
        ['1', 'flag'],
        ['environment', 'environment'],
        ['33', '.env'],
        ['4', 'yaml'],
        [undefined, undefined]
      ]
    )
    const { port, replicationFactor, shardCount } = readConfig({ ...layers.env, WARREN_OFFLINE: '1' })
    assert.deepEqual([port, replicationFactor, shardCount], [1, 4, 1024])
    // An empty value is none; a `.env` can be left out.
    assert.equal((await gather(['--config', yaml, '--env-file', 'none'], { PORT: '' })).env.PORT, '4')
    await rm(join(cwd, '.env'))
  })

  it('take every variable as a flag, switches without a value', async () => {
    const argv = [...SETTINGS].flatMap(([name, { isSwitch }]) => (isSwitch ? [flagOf(name)] : [`${flagOf(name)}=7`]))
    const { env, problems } = await gather(argv)
    assert.deepEqual(problems, [])
    assert.deepEqual(
      [...SETTINGS].filter(([name, { isSwitch }]) => env[name] !== (isSwitch ? 'true' : '7')),
      []
    )
    assert.equal((await gather(['--metrics-enabled', 'false', '--port', '8'])).env.METRICS_ENABLED, 'false')
  })

  it('read a node file of DeBros, and say what has no meaning here', async () => {
    const yaml = await file(
      'debros.yaml',
      [
        'data_dir: ./here',
        'key_file: ./identity.key',
        'listen_addresses: ["/ip4/0.0.0.0/tcp/4001", /ip4/0.0.0.0/tcp/4002/ws]',
        'solana_wallet: abc',
        'rqlite_port: 5001',
        'rqlite_raft_port: 7001',
        'rqlite_join_address: ""',
        'bootstrap_peers: []',
        'discovery_interval: 15s',
        'logging: {level: debug, file: logs/other.log}',
        'node_shards: [{start: 0, end: 7}]'
      ].join('\n')
    )
    const { env, problems, notes } = await gather(['--config', yaml])
    assert.deepEqual(problems, [])
    assert.equal(env.DATA_DIR, './here')
    assert.equal(env.P2P_PRIVATE_KEY_FILE, './identity.key')
    assert.equal(env.P2P_LISTEN_ADDRESSES, '/ip4/0.0.0.0/tcp/4001,/ip4/0.0.0.0/tcp/4002/ws')
    assert.deepEqual([env.LOG_LEVEL, env.LOG_FILE], ['debug', 'logs/other.log'])
    assert.equal(env.NODE_SHARDS, '[{"start":0,"end":7}]')
    assert.deepEqual(
      notes.map(note => note.split(' ')[0]),
      ['solana_wallet', 'rqlite_port', 'rqlite_raft_port', 'discovery_interval']
    )
    // A node that joins nobody is the first of its network, and needs no relay.
    assert.equal(env.P2P_BOOTSTRAP_NODE, 'true')
    const joining = await file('join.yaml', 'database: {rqlite_join_address: "10.0.0.1:7001"}\nnode: {id: a}')
    assert.equal((await gather(['--config', joining])).env.P2P_BOOTSTRAP_NODE, undefined)
    assert.equal((await gather(['--config', joining])).env.NODE_ID, 'a')
    const first = '/ip4/10.0.0.1/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N'
    const met = await gather(['--config', await file('met.yaml', `rqlite_port: 5001\nbootstrap_peers: [${first}]`)])
    assert.deepEqual([met.env.P2P_BOOTSTRAP_PEERS, met.env.P2P_BOOTSTRAP_NODE], [first, undefined])
    const chain = {
      OWNER_ADDRESS: `0x${'1'.repeat(40)}`,
      VAULT_REGISTRY_ADDRESS: `0x${'2'.repeat(40)}`,
      RPC_URL: 'http://x'
    }
    assert.equal(readConfig({ ...chain, P2P_BOOTSTRAP_NODE: 'true' }).p2p.isBootstrap, true)
    assert.throws(() => readConfig(chain), /P2P_RELAY_PEERS is required/)
  })

  it('report what is wrong in every place at once', async () => {
    const yaml = await file('bad.yaml', 'prot: 1\nshard_count: none\n')
    const { env, problems } = await gather(['--config', yaml, '--nonsense', '--port', '--env-file=absent'], {
      LOG_LEVEL: 'loud'
    })
    assert.throws(
      () => readConfig(env, problems),
      (error: unknown) => {
        assert.ok(error instanceof ConfigInvalidError)
        for (const part of ['prot', '--nonsense', '--port needs', 'absent', 'SHARD_COUNT', 'LOG_LEVEL', 'RPC_URL']) {
          assert.ok(
            error.problems.some(problem => problem.includes(part)),
            part
          )
        }
        return true
      }
    )
    for (const text of ['a: [', '- 1', '"x"']) {
      assert.equal((await gather(['--config', await file('broken.yaml', text)])).problems.length, 1, text)
    }
    assert.match((await gather(['--config', 'nowhere.yaml'])).problems.join(), /nowhere\.yaml.*ENOENT/)
    for (const key of ['constructor', '__proto__']) {
      const odd = await gather(['--config', await file('odd.yaml', `${key}: 1`)])
      assert.match(odd.problems.join(), /is not a setting/, key)
    }
    // That there is no `.env` is fine; that there is one nobody can read is not.
    await mkdir(join(cwd, '.env'))
    assert.match((await gather([])).problems.join(), /\.env: the environment file cannot be read \(EISDIR\)/)
    await rm(join(cwd, '.env'), { recursive: true })
  })

  it('of YAML with aliases, or maps in maps in maps, are a problem of the file and never a crash', async () => {
    const bomb = [
      'a0: &a0 {b: 1}',
      ...Array.from({ length: 20 }, (_, i) => `a${i + 1}: &a${i + 1} {b: *a${i}, c: *a${i}}`)
    ]
    const texts: Array<[string, RegExp]> = [
      ['node: &n\n  inner: *n\n', /aliases/],
      [bomb.join('\n'), /aliases/],
      ['port: &p 8080\nnode_id: *p\n', /aliases/],
      [`${'{a: '.repeat(40)}1${'}'.repeat(40)}`, /deep/],
      [`${'{a: '.repeat(100_000)}1${'}'.repeat(100_000)}`, /deep/],
      [`p2p_bootstrap_peers: ${'['.repeat(100_000)}${']'.repeat(100_000)}`, /deep/]
    ]
    for (const [text, expected] of texts) {
      const { problems, env } = await gather(['--config', await file('odd.yaml', text)])
      assert.equal(problems.length, 1, text.slice(0, 60))
      assert.match(problems[0]!, /odd\.yaml/)
      assert.match(problems[0]!, expected)
      assert.throws(() => readConfig(env, problems), { code: 'CONFIG_INVALID' })
    }
  })

  it('of YAML may be eight maps within each other, and no more', async () => {
    const nested = async (maps: number) =>
      (await gather(['--config', await file('nested.yaml', `${'{a: '.repeat(maps)}1${'}'.repeat(maps)}`)])).problems
    assert.match((await nested(8)).join(), /"a_a_a_a_a_a_a_a" is not a setting/)
    assert.match((await nested(9)).join(), /is too deep: at most 8 maps/)
  })

  it('are all explained by --help', () => {
    const text = helpText()
    for (const name of SETTINGS.keys()) {
      assert.notEqual(meaningOf(name), '', `${name} has no words in config-help.ts`)
      assert.ok(text.includes(`${flagOf(name)}, ${name}\n`), name)
    }
  })

  it('are printed with their sources and without secrets, in a form that can be read again', async () => {
    const rpc = 'https://user:pw@chain.example/v3/0123456789abcdef'
    const printed = printedConfig(await gather(['--port', '9'], { RPC_URL: rpc }))
    assert.match(printed, /^port: "9" # flag$/m)
    assert.match(printed, /^shard_count: "1024" # default$/m)
    assert.match(printed, /^rpc_url: "https:\/\/chain\.example\/\*\*\*" # environment$/m)
    assert.ok(!/pw|0123456789abcdef/.test(printed))
    assert.equal(masked('SOME_TOKEN', 'abc'), '***')
    assert.equal(masked('RPC_URL', 'http://11.0.0.9:8545'), 'http://11.0.0.9:8545')
    // It is printed before it is checked: what is no URL yet may be one with a slip in it.
    for (const proxy of [' socks5://user:pw@11.0.0.9:1080', 'socks5://user:p#w@11.0.0.9:1080']) {
      assert.doesNotMatch(masked('P2P_SOCKS5_PROXY', proxy), /user|p#?w/, proxy)
    }
    const again = await gather(['--config', await file('printed.yaml', printed)])
    assert.deepEqual(again.problems, [])
    assert.equal(again.env.PORT, '9')
  })

  it('end the process with the text asked for, or with all problems', async () => {
    const run = async (...argv: string[]) => {
      const child = spawn(process.execPath, [fileURLToPath(new URL('./main.ts', import.meta.url)), ...argv], {
        cwd,
        env: { PATH: process.env.PATH, WARREN_OFFLINE: '1' }
      })
      let out = ''
      let err = ''
      child.stdout.on('data', data => {
        out += data
      })
      child.stderr.on('data', data => {
        err += data
      })
      const [code] = (await once(child, 'close')) as [number]
      return { code, out, err }
    }
    const [help, print, wrong] = await Promise.all([
      run('--help'),
      run('--print-config', '--shard-count', '16'),
      run('--print-config', '--shard-count', '-1')
    ])
    assert.equal(help.code, 0)
    assert.match(help.out, /--config FILE/)
    assert.equal(print.code, 0)
    assert.match(print.out, /^shard_count: "16" # flag$/m)
    assert.equal(wrong.code, 1)
    assert.match(wrong.err, /SHARD_COUNT/)
    await assert.rejects(readFile(join(cwd, 'data', 'keys', 'private.key')), { code: 'ENOENT' })
  })
})
