import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { vaultRegistryBytecode } from './abi.ts'
import type { ChainAccount } from './config.ts'
import { ChainTimeoutError, DeploymentError } from './errors.ts'

/** What every account of the accounts file owns at the start: 10 000 ETH, in wei. */
export const INITIAL_BALANCE_WEI = 10_000n * 10n ** 18n
/** Longest wait for one answer of the simulator. */
export const CALL_TIMEOUT_MS = 30_000

export interface ChainOptions {
  chainId: number
  /** All are funded; the first deploys the registry. At least one. */
  accounts: readonly ChainAccount[]
  /** Hardhat's project folder is made in here; nothing is written elsewhere. */
  dataDir: string
}

export interface Chain {
  readonly chainId: number
  /** Address of the VaultRegistry, the deployer's first contract; 0x-hex in lower case. */
  readonly registry: string
  /**
   * One JSON-RPC call.
   * @throws ChainTimeoutError after CALL_TIMEOUT_MS, otherwise the simulator's error with its `code` and `data`
   */
  request(method: string, params?: readonly unknown[] | object): Promise<unknown>
  /** Number of the newest block. */
  blockNumber(): Promise<number>
  close(): Promise<void>
}

/**
 * Starts Hardhat's simulated network inside this process, mining each transaction at once, and deploys the registry.
 * The state lives in memory only. Takes about 0.3 s.
 * @throws DeploymentError when the first account cannot deploy
 */
export async function startChain(options: ChainOptions): Promise<Chain> {
  process.env.HARDHAT_DISABLE_TELEMETRY = 'true'
  const [deployer, ...others] = options.accounts
  if (deployer === undefined) throw new DeploymentError('There is no account to deploy with; give at least one')
  const projectRoot = await makeProjectFolder(options.dataDir)
  const { createHardhatRuntimeEnvironment } = await import('hardhat/hre')
  const hardhat = await createHardhatRuntimeEnvironment(
    {
      networks: {
        chain: {
          type: 'edr-simulated',
          chainType: 'l1',
          chainId: options.chainId,
          // The other accounts get a balance below, not a place here: the simulator would sign for anyone with a
          // key it holds, and it holds none but the deployer's.
          accounts: [{ privateKey: deployer.privateKey, balance: INITIAL_BALANCE_WEI }],
          // Many registrations in one second must not push the chain's clock into the future.
          allowBlocksWithSameTimestamp: true,
          // As on a public chain, a reverted transaction is a receipt, not an error of its submission.
          throwOnTransactionFailures: false
        }
      }
    },
    undefined,
    projectRoot
  )
  const connection = await hardhat.network.create('chain')
  const request: Chain['request'] = (method, params = []) =>
    withDeadline(connection.provider.request({ method, params }), method)

  const [owned] = (await request('eth_accounts')) as string[]
  if (owned?.toLowerCase() !== deployer.address.toLowerCase()) {
    throw new DeploymentError(
      `The first account's address ${deployer.address} does not belong to its key (${owned} does)`
    )
  }
  for (const { address } of others) await request('hardhat_setBalance', [address, quantity(INITIAL_BALANCE_WEI)])
  const registry = await deployRegistry(request, owned)
  return {
    chainId: options.chainId,
    registry,
    request,
    blockNumber: async () => Number(await request('eth_blockNumber')),
    close: () => connection.close()
  }
}

async function deployRegistry(request: Chain['request'], from: string): Promise<string> {
  const hash = await request('eth_sendTransaction', [{ from, data: vaultRegistryBytecode }])
  const receipt = (await request('eth_getTransactionReceipt', [hash])) as {
    status: string
    contractAddress: string | null
  } | null
  if (receipt?.status !== '0x1' || receipt.contractAddress === null) {
    throw new DeploymentError(`The registry was not deployed: transaction ${hash} failed`)
  }
  return receipt.contractAddress.toLowerCase()
}

/** Hardhat refuses a project folder without a package.json; this one is ours, so that it never looks further. */
async function makeProjectFolder(dataDir: string): Promise<string> {
  const folder = join(dataDir, 'hardhat')
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n')
  return folder
}

async function withDeadline<T>(work: Promise<T>, method: string): Promise<T> {
  const { promise: expired, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => reject(new ChainTimeoutError(`${method} took longer than ${CALL_TIMEOUT_MS} ms; ask for less or try again`)),
    CALL_TIMEOUT_MS
  )
  try {
    return await Promise.race([work, expired])
  } finally {
    clearTimeout(timer)
  }
}

function quantity(value: bigint): string {
  return `0x${value.toString(16)}`
}
