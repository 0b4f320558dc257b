import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readConfig } from './config.ts'
import { ConfigInvalidError } from './errors.ts'

const online = {
  OWNER_ADDRESS: '0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266',
  VAULT_REGISTRY_ADDRESS: '0x5fbdb2315678afecb367f032d93f642f64180aa3',
  RPC_URL: 'http://11.0.0.9:8545',
  P2P_RELAY_PEERS: '/ip4/11.0.0.2/tcp/4001/p2p/12D3KooWGRUayrQ5ExzzpnpN9nrhW5jBGpUWBD5UU9TK3QnUBDMd'
}

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    readConfig(env)
  } catch (error) {
    if (error instanceof ConfigInvalidError) return error.problems
    throw error
  }
  return []
}

describe('config', () => {
  it('has the documented defaults', () => {
    const config = readConfig(online)
    assert.equal(config.port, 5001)
    assert.equal(config.dataDir, './data')
    assert.deepEqual(config.p2p.listen, [
      '/ip4/0.0.0.0/tcp/5011',
      '/ip4/0.0.0.0/udp/5011/quic-v1',
      '/ip4/0.0.0.0/tcp/5012/ws'
    ])
    assert.equal(config.maxStorageBytes, 10240 * 1024 * 1024)
    assert.deepEqual(config.shards, [{ start: 0, end: 1023 }])
    assert.deepEqual([config.replicationFactor, config.replicationQuorum], [3, 2])
    assert.equal(config.p2p.enableMdns, false)
    const provesWith = (env: Record<string, string>) => readConfig(env).keep.gc.verifyProofs
    assert.deepEqual([provesWith(online), provesWith({ WARREN_OFFLINE: '1' })], [false, true])
    assert.equal(provesWith({ WARREN_OFFLINE: '1', GC_VERIFY_PROOFS: 'false' }), false)
    assert.equal(config.p2p.portMapping, true)
    assert.equal(readConfig({ ...online, P2P_PORT_MAPPING: 'false' }).p2p.portMapping, false)
    assert.equal(config.chain?.rpcUrl, online.RPC_URL)
    assert.equal(readConfig({ WARREN_OFFLINE: '1' }).chain, null)
    assert.deepEqual(readConfig({ ...online, SHARD_COUNT: '16' }).shards, [{ start: 0, end: 15 }])
  })

  it('takes NODE_SHARDS=auto with a registry and peers only, and says both at once', () => {
    assert.equal(readConfig({ ...online, NODE_SHARDS: ' Auto ' }).shards, 'auto')
    assert.deepEqual(problemsOf({ ...online, NODE_SHARDS: 'auto,0-3' }).length, 1)
    const problems = problemsOf({ WARREN_OFFLINE: '1', P2P_ENABLED: 'false', NODE_SHARDS: 'auto', PORT: 'x' })
    assert.equal(problems.length, 3)
    assert.equal(problems.filter(problem => problem.startsWith('NODE_SHARDS auto needs the registry')).length, 1)
    assert.equal(problems.filter(problem => problem.startsWith('NODE_SHARDS auto shares')).length, 1)
  })

  it('names every required variable that is missing', () => {
    const problems = problemsOf({})
    for (const name of Object.keys(online))
      assert.ok(
        problems.some(problem => problem.startsWith(name)),
        name
      )
    assert.equal(problems.length, 4)
    assert.equal(problemsOf({ ...online, RPC_URL: ' ' }).length, 1)
  })

  it('reports all problems at once, each by name', () => {
    const bad: Record<string, string> = {
      PORT: '70000',
      NODE_ID: 'a b',
      P2P_ENABLED: 'maybe',
      P2P_PORT_MAPPING: 'sometimes',
      P2P_LISTEN_ADDRESSES: 'localhost:5011',
      P2P_RELAY_PEERS: '/ip4/11.0.0.2/tcp/4001',
      P2P_PRIVATE_KEY_FILE: '/nowhere/key',
      P2P_MAX_CONNECTIONS: 'many',
      MAX_STORAGE_MB: '-1',
      MAX_BLOB_SIZE_MB: '1.5',
      NODE_SHARDS: '0-4000',
      REPLICATION_FACTOR: '0',
      REPLICATION_TIMEOUT_MS: '5',
      OWNER_ADDRESS: '0x12',
      OWNER_PRIVATE_KEY_FILE: '/nowhere/owner',
      VAULT_REGISTRY_ADDRESS: 'registry',
      RPC_URL: 'ftp://chain',
      LOG_LEVEL: 'loud'
    }
    const problems = problemsOf(bad)
    for (const name of Object.keys(bad))
      assert.ok(
        problems.some(problem => problem.startsWith(name)),
        name
      )
  })

  it('refuses a quorum above the factor and a key file that holds none', async () => {
    assert.match(problemsOf({ ...online, REPLICATION_QUORUM: '4' }).join(), /REPLICATION_QUORUM/)
    const folder = await mkdtemp(join(tmpdir(), 'warren-config-'))
    try {
      const path = join(folder, 'owner')
      await writeFile(path, 'secret')
      assert.match(problemsOf({ ...online, OWNER_PRIVATE_KEY_FILE: path }).join(), /OWNER_PRIVATE_KEY_FILE/)
      await writeFile(path, `0x${'ab'.repeat(32)}\n`)
      const { chain } = readConfig({ ...online, OWNER_PRIVATE_KEY_FILE: path })
      assert.equal(chain?.ownerKey, `0x${'ab'.repeat(32)}`)
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})
