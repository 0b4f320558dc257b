import assert from 'node:assert/strict'
import { plan, testnet, topologyNamed } from '../netem/index.ts'
import { generousEnvironment, generousHardPunchEnvironment, generousHttpEnvironment } from '../node/index.ts'
import { inventory, roleProcess, roles } from './roles.ts'

const planned = plan(testnet, 'roles')
const places = { root: '/app', data: '/data', files: '/keys' }
const processOf = (name: string, control?: 'socket') =>
  roleProcess(planned, planned.hosts.find(host => host.name === name)!, places, control)
const limits = { ...generousEnvironment('relay'), ...generousHardPunchEnvironment(), ...generousHttpEnvironment() }
const names = (env: Record<string, string>) =>
  Object.keys(env)
    .filter(name => !(name in limits))
    .sort()

describe('the table of roles', () => {
  it('gives each role the environment its room documents', () => {
    assert.deepEqual(names(processOf('alice').env), [
      'DATA_DIR',
      'ENV_FILE',
      'FAILURE_GROUP',
      'LOG_LEVEL',
      'MAX_STORAGE_MB',
      'NODE_ID',
      'NODE_SHARDS',
      'OWNER_ADDRESS',
      'OWNER_PRIVATE_KEY_FILE',
      'P2P_BOOTSTRAP_PEERS',
      'P2P_ENABLED',
      'P2P_ENABLE_DHT',
      'P2P_ENABLE_MDNS',
      'P2P_ENABLE_RELAY',
      'P2P_LISTEN_ADDRESSES',
      'P2P_PRIVATE_KEY_FILE',
      'P2P_RELAY_PEERS',
      'PORT',
      'REPLICATION_FACTOR',
      'REPLICATION_QUORUM',
      'RPC_URL',
      'SHARD_COUNT',
      'VAULT_REGISTRY_ADDRESS'
    ])
    assert.deepEqual(names(processOf('relay-1').env), [
      'DATA_DIR',
      'LOG_LEVEL',
      'NODE_ID',
      'PORT',
      'RELAY_ANNOUNCE_ADDRESSES',
      'RELAY_BOOTSTRAP_PEERS',
      'RELAY_LISTEN_ADDRESSES',
      'RELAY_MAX_CONNECTIONS',
      'RELAY_PRIVATE_KEY_PATH'
    ])
    assert.deepEqual(names(processOf('gateway-1').env), [
      'DATA_DIR',
      'DB_CLIENT',
      'GATEWAY_API_KEYS',
      'GATEWAY_AUTH_RATE_PER_MINUTE',
      'GATEWAY_BOOTSTRAP_PEERS',
      'GATEWAY_INVENTORY_FILE',
      'GATEWAY_NAMESPACE',
      'GATEWAY_RATE_PER_SECOND',
      'GATEWAY_REQUIRE_AUTH',
      'LOG_LEVEL',
      'NODE_ID',
      'P2P_PRIVATE_KEY_FILE',
      'PORT',
      'RPC_URL',
      'VAULT_REGISTRY_ADDRESS'
    ])
    assert.deepEqual(names(processOf('chain').env), [
      'CHAIN_ACCOUNTS_FILE',
      'CHAIN_ID',
      'CHAIN_RPC_PORT',
      'DATA_DIR',
      'LOG_LEVEL',
      'NODE_ID',
      'PORT'
    ])
  })

  it('announces addresses only where a host has public ones', () => {
    assert.equal(
      processOf('node-1').env.P2P_ANNOUNCE_ADDRESSES,
      '/ip4/11.0.0.12/tcp/5011,/ip4/11.0.0.12/udp/5011/quic-v1,/ip4/11.0.0.12/tcp/5012/ws'
    )
    assert.equal(processOf('alice').env.P2P_ANNOUNCE_ADDRESSES, undefined)
  })

  it('names a NAT as the failure group of all behind it', () => {
    assert.equal(processOf('alice').env.FAILURE_GROUP, 'home-1')
    assert.equal(processOf('anna').env.FAILURE_GROUP, 'home-1')
    assert.equal(processOf('node-1').env.FAILURE_GROUP, 'node-1')
  })

  it('points every node at every relay by TCP, QUIC and WebSocket, with its peer id', () => {
    const relays = planned.hosts.filter(({ role }) => role === 'relay')
    const expected = relays.flatMap(({ attachment, identity }) => [
      `/ip4/${attachment.address}/tcp/4001/p2p/${identity!.peerId}`,
      `/ip4/${attachment.address}/udp/4001/quic-v1/p2p/${identity!.peerId}`,
      `/ip4/${attachment.address}/tcp/4002/ws/p2p/${identity!.peerId}`
    ])
    assert.equal(processOf('alice').env.P2P_RELAY_PEERS, expected.join(','))
  })

  it('bootstraps nobody from itself', () => {
    for (const host of planned.hosts) {
      const { env } = roleProcess(planned, host, places)
      const peers = `${env.P2P_BOOTSTRAP_PEERS ?? ''},${env.RELAY_BOOTSTRAP_PEERS ?? ''}`
      assert.ok(host.identity === null || !peers.includes(host.identity.peerId), host.name)
    }
  })

  it('keeps keys out of the environment', () => {
    for (const host of planned.hosts) {
      const { env, files } = roleProcess(planned, host, places)
      const values = JSON.stringify(env)
      for (const secret of [host.identity?.privateKey, host.account?.privateKey]) {
        if (secret == null) continue
        assert.ok(!values.includes(secret), host.name)
        assert.ok(
          files.some(({ content }) => content.includes(secret)),
          host.name
        )
      }
    }
  })

  it('funds the deployer first and every node', () => {
    const accounts = JSON.parse(processOf('chain').files[0]!.content) as Array<{ address: string }>
    assert.equal(accounts[0]?.address, planned.chain?.deployer.address)
    assert.equal(accounts.length, 1 + planned.hosts.filter(({ role }) => role === 'node').length)
  })

  it('opens the limits as the node lists them', () => {
    const { env } = processOf('alice')
    const opened = { ...generousEnvironment('node'), ...generousHardPunchEnvironment(), ...generousHttpEnvironment() }
    for (const [name, value] of Object.entries(opened)) assert.equal(env[name], value, name)
    assert.equal(processOf('gateway-1').env.P2P_HARD_PUNCH_PER_HOUR, opened.P2P_HARD_PUNCH_PER_HOUR)
    assert.equal(processOf('relay-1').env.P2P_HARD_PUNCH_PER_HOUR, undefined)
  })

  it('hands over a socket instead of a port where the runtime has one', () => {
    const { env } = processOf('alice', 'socket')
    assert.equal(env.LISTEN_FDS, '1')
    assert.equal(env.PORT, undefined)
  })

  it('lets the topology have the last word', () => {
    const topology = topologyNamed('lan')
    topology.hosts['node-1'] = { ...topology.hosts['node-1']!, env: { LOG_LEVEL: 'debug' } }
    const changed = plan(topology, 'roles')
    const host = changed.hosts.find(({ name }) => name === 'node-1')!
    assert.equal(roleProcess(changed, host, places).env.LOG_LEVEL, 'debug')
    delete topology.hosts['node-1'].env
  })

  it('tells the operator where each host stands', () => {
    const alice = inventory(planned).find(({ name }) => name === 'alice')
    assert.deepEqual(alice, {
      name: 'alice',
      role: 'node',
      peerId: planned.hosts.find(({ name }) => name === 'alice')!.identity!.peerId,
      site: 'home-1',
      nat: 'home-1',
      natKind: 'port-preserving',
      control: 'http://127.0.0.1:28007'
    })
  })

  it('starts every role from a bundle', () => {
    for (const { program } of Object.values(roles)) assert.match(program, /^dist\/\w+\.js$/)
  })
})
