/** Nodes put into the registry and out of it as an operator would: transactions signed here, sent from the chain's host. */
import { encodeFunctionData, parseAbi } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { nodeProgram } from '../harness/probe-programs.ts'
import type { Host } from '../harness/runtime.ts'
import type { Story } from '../harness/scenario.ts'

const abi = parseAbi([
  'function registerNode(bytes publicKey, string url, bytes32 metadataHash)',
  'function unregisterNode()'
])
/** No node of the lab signs a statement of its row, and nobody asks for one. */
const NO_STATEMENT = `0x${'00'.repeat(32)}` as const
/** More than either call takes, and than a block of the lab's chain asks for it. */
const GAS = 1_000_000n
const MAX_FEE_WEI = 100_000_000_000n
const MINED_WITHIN_MS = 20_000

/** The registry, with every node's account in hand; the nodes themselves are to have no key, or they register anew. */
export interface Operators {
  /** In service, in a block, when it resolves. */
  register: (host: Host) => Promise<void>
  /** Out of service. */
  unregister: (host: Host) => Promise<void>
}

export function operatorsOf({ testnet, history, signal }: Story): Operators {
  const nonces = new Map<string, number>()

  async function send(host: Host, data: `0x${string}`): Promise<void> {
    const { chain } = testnet.plan
    const { account, name } = host.planned
    if (chain === null || account === null) throw new Error(`${name} has no account, or the lab no chain`)
    const nonce = nonces.get(name) ?? 0
    const raw = await privateKeyToAccount(account.privateKey).signTransaction({
      type: 'eip1559',
      chainId: chain.chainId,
      nonce,
      to: chain.registry,
      data,
      gas: GAS,
      maxFeePerGas: MAX_FEE_WEI,
      maxPriorityFeePerGas: 1n
    })
    // From where the chain is: the node may be dead, which is when an operator takes it out.
    const program = nodeProgram(submit, chain.rpcUrl, raw, MINED_WITHIN_MS)
    const { code, stderr } = await testnet.host(chain.host).exec(program, { signal })
    if (code !== 0) throw new Error(`the transaction of ${name} failed: ${stderr}`)
    nonces.set(name, nonce + 1)
  }

  return {
    async register(host) {
      const response = await fetch(`${host.control}/info`, { signal })
      const { publicKey, peerId } = (await response.json()) as { publicKey: `0x${string}`; peerId: string }
      const args = [publicKey, `/p2p/${peerId}`, NO_STATEMENT] as const
      history.event('register', host.planned.name)
      await send(host, encodeFunctionData({ abi, functionName: 'registerNode', args }))
    },
    async unregister(host) {
      history.event('unregister', host.planned.name)
      await send(host, encodeFunctionData({ abi, functionName: 'unregisterNode' }))
    }
  }
}

function submit(rpcUrl: string, raw: string, withinMs: number): void {
  const ask = async (method: string, parameter: string): Promise<unknown> => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: [parameter] })
    const headers = { 'content-type': 'application/json' }
    const response = await fetch(rpcUrl, { method: 'POST', headers, body, signal: AbortSignal.timeout(withinMs) })
    const { result, error } = (await response.json()) as { result?: unknown; error?: { message: string } }
    if (error !== undefined) throw new Error(error.message)
    return result
  }
  const run = async (): Promise<void> => {
    const hash = (await ask('eth_sendRawTransaction', raw)) as string
    const deadline = performance.now() + withinMs
    for (;;) {
      const receipt = (await ask('eth_getTransactionReceipt', hash)) as { status: string } | null
      if (receipt !== null) {
        if (receipt.status !== '0x1') throw new Error(`reverted: ${hash}`)
        return
      }
      if (performance.now() > deadline) throw new Error(`in no block within ${withinMs} ms`)
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  }
  run().catch((error: Error) => {
    console.error(error.message)
    process.exit(1)
  })
}
