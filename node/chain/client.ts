/**
 * The registry contract through viem: reads, and writes with the owner's account. Imported only by a dynamic
 * `import()`, after the role is ready: viem is not on the start path.
 */
import { type Client, createClient, type Hex, http, keccak256, toHex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import {
  getBlock,
  getChainId,
  readContract,
  simulateContract,
  waitForTransactionReceipt,
  writeContract
} from 'viem/actions'
import { vaultRegistryAbi } from '../../contracts/abi.ts'

const RPC_TIMEOUT_MS = 5000
const RECEIPT_TIMEOUT_MS = 15_000
const RECEIPT_POLL_MS = 250
/** Rows read in one call. */
const PAGE_ROWS = 100

/** A row as the contract has it. */
export interface RegistryRow {
  nodeId: Hex
  owner: Hex
  publicKey: Hex
  url: string
  metadataHash: Hex
}

/** The registry at one address of one chain. */
export interface RegistryClient {
  chainId: () => Promise<number>
  /** Number and hash of the newest block: nothing changed while the hash is the same. */
  head: () => Promise<{ number: bigint; hash: string }>
  /** Rows of the nodes in service. */
  active: () => Promise<RegistryRow[]>
  /** Registers, and waits until it is in a block. An owner's row under another key is taken out of service first. */
  register: (row: { publicKey: Hex; url: string; metadataHash: Hex }) => Promise<void>
  update: (row: { url: string; metadataHash: Hex }) => Promise<void>
}

/** @param ownerKey 0x-hex key of the account that pays and owns; only for writes */
export function createRegistryClient(options: { rpcUrl: string; address: Hex; ownerKey?: Hex }): RegistryClient {
  const { address } = options
  const client: Client = createClient({
    transport: http(options.rpcUrl, { retryCount: 0, timeout: RPC_TIMEOUT_MS }),
    cacheTime: 0,
    pollingInterval: RECEIPT_POLL_MS
  })
  const contract = { address, abi: vaultRegistryAbi } as const
  const account = options.ownerKey === undefined ? undefined : privateKeyToAccount(options.ownerKey)

  const mined = async (hash: Hex) => {
    await waitForTransactionReceipt(client, { hash, timeout: RECEIPT_TIMEOUT_MS, pollingInterval: RECEIPT_POLL_MS })
  }
  const owner = () => {
    if (account === undefined) throw new Error('this registry client has no owner key')
    return account
  }

  return {
    chainId: () => getChainId(client),
    async head() {
      const { number, hash } = await getBlock(client, { blockTag: 'latest' })
      return { number: number ?? 0n, hash: hash ?? '' }
    },
    async active() {
      const ids = await readContract(client, { ...contract, functionName: 'getActiveNodes' })
      const rows: RegistryRow[] = []
      for (let at = 0; at < ids.length; at += PAGE_ROWS) {
        const page = ids.slice(at, at + PAGE_ROWS)
        const nodes = await readContract(client, { ...contract, functionName: 'getNodes', args: [page] })
        for (const [i, { owner: rowOwner, publicKey, url, metadataHash, active }] of nodes.entries()) {
          if (active) rows.push({ nodeId: page[i]!, owner: rowOwner, publicKey, url, metadataHash })
        }
      }
      return rows
    },
    async register({ publicKey, url, metadataHash }) {
      const id = await readContract(client, { ...contract, functionName: 'getNodeByOwner', args: [owner().address] })
      const inService = await readContract(client, { ...contract, functionName: 'isNodeActive', args: [id] })
      if (inService) {
        const { request } = await simulateContract(client, {
          ...contract,
          functionName: 'unregisterNode',
          account: owner()
        })
        await mined(await writeContract(client, { ...request, chain: null }))
      }
      const { request } = await simulateContract(client, {
        ...contract,
        functionName: 'registerNode',
        args: [publicKey, url, metadataHash],
        account: owner()
      })
      await mined(await writeContract(client, { ...request, chain: null }))
    },
    async update({ url, metadataHash }) {
      const { request } = await simulateContract(client, {
        ...contract,
        functionName: 'updateNode',
        args: [url, metadataHash],
        account: owner()
      })
      await mined(await writeContract(client, { ...request, chain: null }))
    }
  }
}

/** keccak256 of a text's UTF-8, 0x-hex. */
export function hashText(text: string): Hex {
  return keccak256(toHex(text))
}

/** keccak256 of bytes given as 0x-hex: a node's id is that of its public key. */
export function hashBytes(hex: Hex): Hex {
  return keccak256(hex)
}
