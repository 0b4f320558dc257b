import assert from 'node:assert/strict'
import {
  type Address,
  BaseError,
  ContractFunctionRevertedError,
  createPublicClient,
  createWalletClient,
  getContractAddress,
  type Hex,
  http,
  keccak256,
  maxUint256,
  toBytes,
  toHex,
  zeroAddress,
  zeroHash
} from 'viem'
import { hardhat } from 'viem/chains'
import { vaultRegistryAbi, vaultRegistryBytecode } from './abi.ts'
import { type RunningChain, runChain, testAccount } from './testing.ts'

const POLLING_INTERVAL_MS = 20
const BLOCK_TIME_SLACK_S = 60n

/** The Ed25519 key of test node n. */
const key = (n: number): Hex => toHex(n, { size: 32 })
const id = (n: number): Hex => keccak256(key(n))
const hash = (text: string): Hex => keccak256(toBytes(text))
const url = (n: number) => `/p2p/12D3KooW${n}`

/** A freshly deployed registry, so that tests do not meet each other. Account 1 is the deployer. */
async function deploy(chain: RunningChain) {
  const transport = http(chain.rpcUrl)
  const client = createPublicClient({ chain: hardhat, transport, pollingInterval: POLLING_INTERVAL_MS })
  const wallet = (n: number) => createWalletClient({ chain: hardhat, transport, account: testAccount(n) })
  const creation = await wallet(1).deployContract({ abi: vaultRegistryAbi, bytecode: vaultRegistryBytecode })
  const address = (await client.waitForTransactionReceipt({ hash: creation })).contractAddress as Address
  const contract = { address, abi: vaultRegistryAbi } as const

  type Write =
    | ['registerNode', readonly [Hex, string, Hex]]
    | ['updateNode', readonly [string, Hex]]
    | ['unregisterNode', readonly []]
    | ['setMinVersion', readonly [string]]
  /** Sends a transaction as account n, checks by a call first (so that a revert has its reason), returns its logs. */
  const write = async (n: number, ...[functionName, args]: Write) => {
    const call = { ...contract, functionName, args, account: testAccount(n) } as Parameters<
      typeof client.simulateContract
    >[0]
    const { request, result } = await client.simulateContract(call)
    const receipt = await client.waitForTransactionReceipt({ hash: await wallet(n).writeContract(request) })
    assert.equal(receipt.status, 'success')
    const events = await client.getContractEvents({ ...contract, blockHash: receipt.blockHash })
    return { result: result as Hex, events: events.map(event => ({ name: event.eventName, ...event.args })) }
  }
  const register = (n: number) => write(n, 'registerNode', [key(n), url(n), hash(`meta ${n}`)])
  return { client, wallet, contract, write, register }
}

/** Expects the custom error with these arguments. */
const reverts = (work: Promise<unknown>, name: string, args: readonly unknown[] = []) =>
  assert.rejects(work, (error: unknown) => {
    const revert = error instanceof BaseError && error.walk(cause => cause instanceof ContractFunctionRevertedError)
    assert.ok(revert instanceof ContractFunctionRevertedError, String(error))
    assert.equal(revert.data?.errorName, name)
    assert.deepEqual(revert.data?.args ?? [], args)
    return true
  })

describe('VaultRegistry', () => {
  let chain: RunningChain
  before(async () => {
    chain = await runChain()
  })
  after(() => chain?.[Symbol.asyncDispose]())

  it('is the first contract of the deployer on a fresh chain', async () => {
    const expected = getContractAddress({ from: testAccount(1).address, nonce: 0n })
    assert.equal(chain.registry, expected.toLowerCase())
    const client = createPublicClient({ transport: http(chain.controlUrl) })
    const contract = { address: chain.registry, abi: vaultRegistryAbi } as const
    assert.deepEqual(await client.readContract({ ...contract, functionName: 'getNodeCount' }), [0n, 0n])
    assert.equal(await client.readContract({ ...contract, functionName: 'owner' }), testAccount(1).address)
  })

  describe('registerNode', () => {
    it('records the node under keccak256(publicKey) and says so', async () => {
      const { client, contract, register } = await deploy(chain)
      const { result, events } = await register(2)
      const { address: owner } = testAccount(2)
      assert.equal(result, id(2))
      assert.deepEqual(events, [{ name: 'NodeRegistered', nodeId: id(2), owner }])
      const row = await client.readContract({ ...contract, functionName: 'getNode', args: [id(2)] })
      const [nodeOwner, publicKey, nodeUrl, metadataHash, registeredAt, active] = row
      assert.deepEqual(
        [nodeOwner, publicKey, nodeUrl, metadataHash, active],
        [owner, key(2), url(2), hash('meta 2'), true]
      )
      const { timestamp } = await client.getBlock()
      assert.ok(registeredAt <= timestamp && registeredAt > timestamp - BLOCK_TIME_SLACK_S)
      assert.equal(await client.readContract({ ...contract, functionName: 'getNodeByOwner', args: [owner] }), id(2))
      assert.equal(await client.readContract({ ...contract, functionName: 'isNodeActive', args: [id(2)] }), true)
    })

    it('refuses an owner who has an active node, with the same key and with another', async () => {
      const { write, register } = await deploy(chain)
      await register(2)
      const args = [testAccount(2).address, id(2)]
      await reverts(register(2), 'OwnerAlreadyRegistered', args)
      await reverts(write(2, 'registerNode', [key(9), url(9), zeroHash]), 'OwnerAlreadyRegistered', args)
    })

    it("refuses another owner's key, also after that one left", async () => {
      const { write, register } = await deploy(chain)
      await register(2)
      const steal = () => write(3, 'registerNode', [key(2), url(3), zeroHash])
      await reverts(steal(), 'PublicKeyTaken', [id(2)])
      await write(2, 'unregisterNode', [])
      await reverts(steal(), 'PublicKeyTaken', [id(2)])
    })

    it('refuses a key that is not 32 bytes', async () => {
      const { write } = await deploy(chain)
      for (const lengthBytes of [0, 1, 31, 33, 64]) {
        const publicKey: Hex = `0x${'ab'.repeat(lengthBytes)}`
        const work = write(2, 'registerNode', [publicKey, url(2), zeroHash])
        await reverts(work, 'InvalidPublicKeyLength', [BigInt(lengthBytes)])
      }
    })

    it('refuses an empty url and one over 256 bytes', async () => {
      const { write } = await deploy(chain)
      await reverts(write(2, 'registerNode', [key(2), '', zeroHash]), 'EmptyUrl')
      await reverts(write(2, 'registerNode', [key(2), 'x'.repeat(257), zeroHash]), 'UrlTooLong', [257n, 256n])
      await write(2, 'registerNode', [key(2), 'x'.repeat(256), zeroHash])
    })
  })

  describe('updateNode', () => {
    it('changes url and metadata and nothing else', async () => {
      const { client, contract, write, register } = await deploy(chain)
      await register(2)
      const read = () => client.readContract({ ...contract, functionName: 'getNode', args: [id(2)] })
      const before = await read()
      const { events } = await write(2, 'updateNode', ['/p2p/new', hash('new')])
      assert.deepEqual(events, [{ name: 'NodeUpdated', nodeId: id(2) }])
      assert.deepEqual(await read(), [before[0], before[1], '/p2p/new', hash('new'), before[4], true])
    })

    it("touches only the caller's own node", async () => {
      const { client, contract, write, register } = await deploy(chain)
      await register(2)
      await register(3)
      await write(3, 'updateNode', ['/p2p/new', zeroHash])
      const [, , unchanged] = await client.readContract({ ...contract, functionName: 'getNode', args: [id(2)] })
      assert.equal(unchanged, url(2))
    })

    it('refuses who has no active node, an empty url and one too long', async () => {
      const { write, register } = await deploy(chain)
      const update = (text: string) => write(2, 'updateNode', [text, zeroHash])
      await reverts(update('/p2p/new'), 'OwnerNotRegistered', [testAccount(2).address])
      await register(2)
      await reverts(update(''), 'EmptyUrl')
      await reverts(update('x'.repeat(300)), 'UrlTooLong', [300n, 256n])
      await write(2, 'unregisterNode', [])
      await reverts(update('/p2p/new'), 'OwnerNotRegistered', [testAccount(2).address])
    })
  })

  describe('unregisterNode', () => {
    it('takes the node out of service and keeps its row', async () => {
      const { client, contract, write, register } = await deploy(chain)
      for (const n of [2, 3, 4]) await register(n)
      const { events } = await write(2, 'unregisterNode', [])
      assert.deepEqual(events, [{ name: 'NodeUnregistered', nodeId: id(2) }])
      const row = await client.readContract({ ...contract, functionName: 'getNode', args: [id(2)] })
      assert.deepEqual([row[0], row[1], row[2], row[5]], [testAccount(2).address, key(2), url(2), false])
      assert.equal(await client.readContract({ ...contract, functionName: 'isNodeActive', args: [id(2)] }), false)
      assert.deepEqual(await client.readContract({ ...contract, functionName: 'getNodeCount' }), [3n, 2n])
      const active = await client.readContract({ ...contract, functionName: 'getActiveNodes' })
      assert.deepEqual([...active].sort(), [id(3), id(4)].sort())
      const owner = testAccount(2).address
      assert.equal(await client.readContract({ ...contract, functionName: 'getNodeByOwner', args: [owner] }), id(2))
    })

    it('refuses who has no active node', async () => {
      const { write, register } = await deploy(chain)
      const refused = () => reverts(write(2, 'unregisterNode', []), 'OwnerNotRegistered', [testAccount(2).address])
      await refused()
      await register(2)
      await write(2, 'unregisterNode', [])
      await refused()
    })

    it('lets the owner come back with the same key, another key, and the first one again', async () => {
      const { client, contract, write, register } = await deploy(chain)
      const active = () => client.readContract({ ...contract, functionName: 'getActiveNodes' })
      const all = () => client.readContract({ ...contract, functionName: 'getAllNodes', args: [0n, 100n] })
      await register(2)
      await write(2, 'unregisterNode', [])
      const again = await write(2, 'registerNode', [key(2), '/p2p/back', hash('back')])
      assert.deepEqual(again.events, [{ name: 'NodeRegistered', nodeId: id(2), owner: testAccount(2).address }])
      const row = await client.readContract({ ...contract, functionName: 'getNode', args: [id(2)] })
      assert.deepEqual([row[2], row[3], row[5]], ['/p2p/back', hash('back'), true])
      assert.deepEqual([await active(), await all()], [[id(2)], [id(2)]])
      await write(2, 'unregisterNode', [])
      await write(2, 'registerNode', [key(9), url(9), zeroHash])
      assert.deepEqual([await active(), await all()], [[id(9)], [id(2), id(9)]])
      await write(2, 'unregisterNode', [])
      await register(2)
      assert.deepEqual([await active(), await all()], [[id(2)], [id(2), id(9)]])
      assert.deepEqual(await client.readContract({ ...contract, functionName: 'getNodeCount' }), [2n, 1n])
    })

    it('keeps the list of active nodes right whichever leaves', async () => {
      const { client, contract, write, register } = await deploy(chain)
      const expected = new Set<number>()
      for (const step of [2, 3, 4, 5, -2, -5, 2, -3, -4, -2, 3]) {
        await (step > 0 ? register(step) : write(-step, 'unregisterNode', []))
        if (step > 0) expected.add(step)
        else expected.delete(-step)
        const active = await client.readContract({ ...contract, functionName: 'getActiveNodes' })
        assert.deepEqual([...active].sort(), [...expected].map(id).sort())
      }
    })
  })

  describe('the lists', () => {
    it('page through all nodes, and are empty past the end', async () => {
      const { client, contract, write, register } = await deploy(chain)
      const page = (offset: bigint, limit: bigint) =>
        client.readContract({ ...contract, functionName: 'getAllNodes', args: [offset, limit] })
      assert.deepEqual(await page(0n, 10n), [])
      for (const n of [2, 3, 4]) await register(n)
      await write(3, 'unregisterNode', [])
      const all = [id(2), id(3), id(4)]
      assert.deepEqual(await page(0n, 10n), all)
      assert.deepEqual(await page(0n, 2n), all.slice(0, 2))
      assert.deepEqual(await page(1n, 1n), all.slice(1, 2))
      assert.deepEqual(await page(2n, maxUint256), all.slice(2))
      assert.deepEqual(await page(0n, 0n), [])
      for (const offset of [3n, 4n, maxUint256]) assert.deepEqual(await page(offset, maxUint256), [])
    })

    it('give many rows in one call, in the order asked', async () => {
      const { client, contract, register } = await deploy(chain)
      const read = (...ids: Hex[]) => client.readContract({ ...contract, functionName: 'getNodes', args: [ids] })
      for (const n of [2, 3]) await register(n)
      const rows = await read(id(3), id(2))
      assert.deepEqual(
        rows.map(({ owner, publicKey, active }) => [owner, publicKey, active]),
        [3, 2].map(n => [testAccount(n).address, key(n), true])
      )
      assert.deepEqual(await read(), [])
      await reverts(read(id(2), id(7)), 'NodeNotFound', [id(7)])
    })

    it('know nothing of who never registered', async () => {
      const { client, contract } = await deploy(chain)
      await reverts(client.readContract({ ...contract, functionName: 'getNode', args: [id(7)] }), 'NodeNotFound', [
        id(7)
      ])
      assert.equal(await client.readContract({ ...contract, functionName: 'isNodeActive', args: [id(7)] }), false)
      assert.equal(
        await client.readContract({ ...contract, functionName: 'getNodeByOwner', args: [zeroAddress] }),
        zeroHash
      )
      assert.deepEqual(await client.readContract({ ...contract, functionName: 'getActiveNodes' }), [])
    })
  })

  describe('minVersion', () => {
    it('is 0.0.0 until the owner of the contract sets it', async () => {
      const { client, contract, write } = await deploy(chain)
      const read = () => client.readContract({ ...contract, functionName: 'minVersion' })
      assert.equal(await read(), '0.0.0')
      const { events } = await write(1, 'setMinVersion', ['1.2.3'])
      assert.deepEqual(events, [{ name: 'MinVersionUpdated', version: '1.2.3' }])
      assert.equal(await read(), '1.2.3')
    })

    it('is refused to everyone else, and when empty or over 32 bytes', async () => {
      const { write } = await deploy(chain)
      await reverts(write(2, 'setMinVersion', ['1.0.0']), 'NotContractOwner', [testAccount(2).address])
      await reverts(write(1, 'setMinVersion', ['']), 'InvalidVersionLength', [0n, 32n])
      await reverts(write(1, 'setMinVersion', ['1'.repeat(33)]), 'InvalidVersionLength', [33n, 32n])
    })
  })
})
