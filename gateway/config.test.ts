import assert from 'node:assert/strict'
import { hashKey, readConfig } from './config.ts'
import { ConfigInvalidError } from './errors.ts'

function problemsOf(environment: Record<string, string>): readonly string[] {
  try {
    readConfig(environment)
    return []
  } catch (error) {
    assert.ok(error instanceof ConfigInvalidError)
    return error.problems
  }
}

describe('the configuration', () => {
  it('has the documented defaults and nothing public', () => {
    const config = readConfig({})
    assert.equal(config.host, '0.0.0.0')
    assert.equal(config.port, 8080)
    assert.equal(config.namespace, 'default')
    assert.equal(config.requireAuth, true)
    assert.equal(config.dbClient, 'better-sqlite3')
    assert.equal(config.maxBlobSizeMb, 100)
    assert.deepEqual([config.bootstrapPeers, config.apiKeys, config.rpcUrl], [[], [], undefined])
    assert.deepEqual([config.publicUrls, config.chainIds, config.loginCallbacks], [[], [1, 31337], []])
    assert.deepEqual([config.authRatePerMinute, config.ratePerSecond, config.signingKeyDays], [120, 10_000, 90])
  })

  it('reads an address, and PORT goes before it', () => {
    const { host, port } = readConfig({ GATEWAY_ADDR: '127.0.0.1:9', PORT: '0' })
    assert.deepEqual([host, port], ['127.0.0.1', 0])
    assert.equal(readConfig({ GATEWAY_ADDR: '[::1]:7' }).host, '::1')
  })

  it('reads where people reach it, and where its login page may send a key', () => {
    const { publicUrls, loginCallbacks, chainIds } = readConfig({
      GATEWAY_PUBLIC_URL: 'https://A.example/, http://localhost:8080',
      GATEWAY_LOGIN_CALLBACKS: 'https://app.example/after,https://app.example',
      GATEWAY_CHAIN_IDS: '10, 8453'
    })
    assert.deepEqual(publicUrls, ['https://a.example', 'http://localhost:8080'])
    assert.deepEqual(loginCallbacks, ['https://app.example/after', 'https://app.example/'])
    assert.deepEqual(chainIds, [10, 8453])
  })

  it('splits keys at the last colon and keeps their hashes only', () => {
    const { apiKeys } = readConfig({ GATEWAY_API_KEYS: 'a:b:team, plain ,', GATEWAY_NAMESPACE: 'home' })
    assert.deepEqual(apiKeys, [
      { namespace: 'team', hashes: [hashKey('a:b:team'), hashKey('a:b')] },
      { namespace: 'home', hashes: [hashKey('plain')] }
    ])
  })

  it('tells every problem at once, and no key', () => {
    const problems = problemsOf({
      GATEWAY_ADDR: 'nonsense',
      PORT: '70000',
      GATEWAY_REQUIRE_AUTH: 'maybe',
      GATEWAY_NAMESPACE: 'a:b',
      GATEWAY_API_KEYS: 's3cret:x y,:ns,s3cret:one,s3cret:two',
      GATEWAY_BOOTSTRAP_PEERS: 'here,/ip4/1.2.3.4/tcp/1',
      GATEWAY_PUBLIC_URL: 'https://a.example/path,a.example,ftp://a.example,https://me@a.example',
      GATEWAY_LOGIN_CALLBACKS: 'https://a.example/?x=1,javascript:alert(1),https://a.example/#x',
      GATEWAY_CHAIN_IDS: '1,0x1',
      GATEWAY_AUTH_RATE_PER_MINUTE: '-1',
      GATEWAY_RATE_PER_SECOND: 'fast',
      GATEWAY_SIGNING_KEY_DAYS: '0',
      DB_CLIENT: 'oracle',
      RPC_URL: 'ftp://x',
      LOG_LEVEL: 'loud',
      P2P_MAX_CONNECTIONS: '-1'
    })
    for (const name of [
      'GATEWAY_ADDR',
      'PORT',
      'GATEWAY_REQUIRE_AUTH',
      'GATEWAY_NAMESPACE',
      'GATEWAY_API_KEYS entry 1',
      'GATEWAY_API_KEYS entry 2',
      'GATEWAY_API_KEYS entry 4',
      'GATEWAY_PUBLIC_URL: "https://a.example/path"',
      'GATEWAY_PUBLIC_URL: "a.example"',
      'GATEWAY_PUBLIC_URL: "ftp://a.example"',
      'GATEWAY_PUBLIC_URL: "https://me@a.example"',
      'GATEWAY_LOGIN_CALLBACKS: "https://a.example/?x=1"',
      'GATEWAY_LOGIN_CALLBACKS: "javascript:alert(1)"',
      'GATEWAY_LOGIN_CALLBACKS: "https://a.example/#x"',
      'GATEWAY_CHAIN_IDS',
      'GATEWAY_AUTH_RATE_PER_MINUTE',
      'GATEWAY_RATE_PER_SECOND',
      'GATEWAY_SIGNING_KEY_DAYS',
      'GATEWAY_BOOTSTRAP_PEERS: "here"',
      'GATEWAY_BOOTSTRAP_PEERS: "/ip4/1.2.3.4/tcp/1"',
      'DB_CLIENT',
      'RPC_URL',
      'VAULT_REGISTRY_ADDRESS and RPC_URL',
      'LOG_LEVEL',
      'P2P_MAX_CONNECTIONS'
    ]) {
      assert.ok(
        problems.some(problem => problem.startsWith(name)),
        `${name} in ${JSON.stringify(problems, null, 1)}`
      )
    }
    assert.ok(!problems.join().includes('s3cret'))
  })
})
