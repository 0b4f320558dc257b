import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { encodeFunctionData, encodeFunctionResult } from 'viem'
import { vaultRegistryAbi } from '../contracts/abi.ts'
import type { Identity } from './identity.ts'
import { eventually, memoryHandlers, startPeer } from './net/testing.ts'
import { startNode, type TestNode } from './testing.ts'

/** A chain that nobody answers for. */
const AUTO = {
  WARREN_OFFLINE: '0',
  OWNER_ADDRESS: '0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266',
  VAULT_REGISTRY_ADDRESS: '0x5fbdb2315678afecb367f032d93f642f64180aa3',
  RPC_URL: 'http://127.0.0.1:1',
  P2P_BOOTSTRAP_NODE: 'true',
  NODE_SHARDS: 'auto',
  SHARD_COUNT: '16'
}

describe('a node with NODE_SHARDS=auto', function () {
  this.timeout(60_000)
  let dataDir: string
  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-auto-shards-'))
  })
  afterEach(() => rm(dataDir, { recursive: true, force: true }))

  const jsonOf = async (peer: TestNode, path: string) =>
    (await (await fetch(`${peer.url}${path}`)).json()) as Record<string, unknown>

  it('takes nothing before its shards are assigned, and says so', async () => {
    await using peer = await startNode({ ...AUTO, DATA_DIR: dataDir })
    const { mode, assigned, shards, shardsOwned, members } = await jsonOf(peer, '/shards')
    assert.deepEqual([mode, assigned, shards, shardsOwned, members], ['auto', false, [], 0, 0])
    assert.equal((await jsonOf(peer, '/info')).shardMode, 'auto')
    assert.ok(
      ((await jsonOf(peer, '/ready')).waiting as string[]).includes('the shards of this node are not assigned yet')
    )
    assert.equal((await jsonOf(peer, '/status')).isAcceptingBlobs, false)
    const answer = await fetch(`${peer.url}/store`, { method: 'POST', body: randomBytes(10) })
    assert.deepEqual([answer.status, ((await answer.json()) as { error: string }).error], [503, 'MEMBERS_UNKNOWN'])
    const metrics = await (await fetch(`${peer.url}/metrics`)).text()
    assert.match(metrics, /^warren_shards_auto\{role="node"\} 1$/m)
    assert.match(metrics, /^warren_shards_owned\{role="node"\} 0$/m)
  })

  it('begins with the ranges it had, and reads what else it has until the owners took it', async () => {
    const foreign = await startNode({ DATA_DIR: dataDir, SHARD_COUNT: '16' })
    const cids = new Set<string>()
    for (let n = 0; n < 8; n++) {
      const answer = await fetch(`${foreign.url}/store`, { method: 'POST', body: randomBytes(10) })
      cids.add(((await answer.json()) as { cid: string }).cid)
    }
    await foreign.stop()
    const ranges = [{ start: 2, end: 5 }]
    await writeFile(join(dataDir, 'shards.json'), JSON.stringify({ shardCount: 16, ranges, members: {} }))
    await using peer = await startNode({ ...AUTO, DATA_DIR: dataDir })
    const { assigned, shards, shardsOwned, changes } = await jsonOf(peer, '/shards')
    assert.deepEqual([assigned, shards, shardsOwned, changes], [true, ranges, 4, 0])
    assert.equal(((await jsonOf(peer, '/ready')).waiting as string[]).length, 1)
    for (const cid of cids) assert.equal((await fetch(`${peer.url}/retrieve/${cid}`)).status, 200)
    assert.match(await (await fetch(`${peer.url}/metrics`)).text(), /^warren_shards_owned\{role="node"\} 4$/m)
  })

  it('keeps a foreign copy for which its owner has only its word, also without GC_VERIFY_PROOFS', async () => {
    let offers = 0
    // It takes what it is given, says that it has it, and proves nothing.
    const own = { nodeId: 'owner', owner: '', shards: [{ start: 0, end: 15 }], shardCount: 16, failureGroup: '' }
    await using owner = await startPeer({
      own,
      handlers: blobs => {
        const memory = memoryHandlers(blobs)
        return {
          ...memory,
          putReplica: (...args) => {
            offers += 1
            return memory.putReplica(...args)
          }
        }
      }
    })
    await using chain = await registryOf(owner.identity)
    const foreign = await startNode({ DATA_DIR: dataDir, SHARD_COUNT: '16' })
    const answer = await fetch(`${foreign.url}/store`, { method: 'POST', body: randomBytes(10) })
    const { cid } = (await answer.json()) as { cid: string }
    await foreign.stop()
    await writeFile(join(dataDir, 'shards.json'), JSON.stringify({ shardCount: 16, ranges: [], members: {} }))
    const env = { REPLICATION_FACTOR: '1', REPLICATION_QUORUM: '1', GC_VERIFY_PROOFS: 'false', RPC_URL: chain.rpcUrl }
    const bootstrap = { P2P_BOOTSTRAP_PEERS: owner.network.multiaddrs().join() }
    await using peer = await startNode({ ...AUTO, ...env, ...bootstrap, DATA_DIR: dataDir })
    await eventually(() => offers > 1, 'it was offered again', 40_000)
    assert.equal(peer.node.store.has(cid), true)
  })
})

/** A chain that only reads, and has one active node. */
async function registryOf({ publicKey, peerId }: Identity): Promise<{ rpcUrl: string } & AsyncDisposable> {
  const id = `0x${'11'.repeat(32)}` as const
  const abi = vaultRegistryAbi
  const row = {
    owner: AUTO.OWNER_ADDRESS as `0x${string}`,
    publicKey,
    url: `/p2p/${peerId}`,
    metadataHash: id,
    registeredAt: 1n,
    active: true
  }
  const results = new Map<string, string>([
    [
      encodeFunctionData({ abi, functionName: 'getActiveNodes' }),
      encodeFunctionResult({ abi, functionName: 'getActiveNodes', result: [id] })
    ],
    [
      encodeFunctionData({ abi, functionName: 'getNodes', args: [[id]] }),
      encodeFunctionResult({ abi, functionName: 'getNodes', result: [row] })
    ]
  ])
  const server = createServer(async (request, response) => {
    const { id, method, params } = (await json(request)) as { id: number; method: string; params: [{ data: string }] }
    const block = { number: '0x1', hash: `0x${'22'.repeat(32)}`, timestamp: '0x1', transactions: [] }
    const result = method === 'eth_call' ? results.get(params[0].data) : block
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    rpcUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.close()
      server.closeAllConnections()
    }
  }
}
