/** Most calls in one JSON-RPC batch; viem's default batch is as large. */
export const MAX_BATCH_CALLS = 1_000
/** Longest method name worth a look. */
const MAX_METHOD_CHARACTERS = 64

/**
 * What anyone who reaches the port may call: reading, and submitting what he signed himself. Left out are the
 * simulator's own methods (hardhat_*, evm_*, debug_*), everything that signs with a key the simulator holds
 * (eth_sendTransaction, eth_sign, …) and filters and subscriptions, which cost memory here for each caller; clients
 * fall back to eth_getLogs.
 */
export const publicMethods: ReadonlySet<string> = new Set([
  'eth_blobBaseFee',
  'eth_blockNumber',
  'eth_call',
  'eth_chainId',
  'eth_estimateGas',
  'eth_feeHistory',
  'eth_gasPrice',
  'eth_getBalance',
  'eth_getBlockByHash',
  'eth_getBlockByNumber',
  'eth_getBlockTransactionCountByHash',
  'eth_getBlockTransactionCountByNumber',
  'eth_getCode',
  'eth_getLogs',
  'eth_getStorageAt',
  'eth_getTransactionByBlockHashAndIndex',
  'eth_getTransactionByBlockNumberAndIndex',
  'eth_getTransactionByHash',
  'eth_getTransactionCount',
  'eth_getTransactionReceipt',
  'eth_maxPriorityFeePerGas',
  'eth_sendRawTransaction',
  'eth_syncing',
  'net_listening',
  'net_peerCount',
  'net_version',
  'web3_clientVersion',
  'web3_sha3'
])

/** JSON-RPC 2.0 error codes, section 5.1 of its specification; -32000 is the server's own. */
const PARSE_ERROR = -32700
const INVALID_REQUEST = -32600
const METHOD_NOT_FOUND = -32601
const SERVER_ERROR = -32000
/** What geth answers for a reverted call; its `data` is then the revert's bytes in hex. */
const REVERTED = 3

export interface RpcResponse {
  jsonrpc: '2.0'
  id: string | number | null
  result?: unknown
  error?: { code: number; message: string; data?: unknown }
}

export interface RpcOptions {
  request(method: string, params: readonly unknown[] | object): Promise<unknown>
  /** Serve every method the simulator knows. */
  allowDevRpc: boolean
  /** Told of each call: its method, or `refused` or `other`, so that labels stay few. */
  onCall?(method: string, failed: boolean): void
}

/** Answers the text of a JSON-RPC request, single or batch; a batch runs in order. Never throws. */
export function createRpcHandler(options: RpcOptions): (text: string) => Promise<RpcResponse | RpcResponse[]> {
  const answer = (payload: unknown) => answerOne(payload, options)
  return async text => {
    let payload: unknown
    try {
      payload = JSON.parse(text)
    } catch {
      return failure(null, PARSE_ERROR, 'The body is not JSON')
    }
    if (!Array.isArray(payload)) return answer(payload)
    if (payload.length === 0) return failure(null, INVALID_REQUEST, 'The batch is empty')
    if (payload.length > MAX_BATCH_CALLS) {
      return failure(null, INVALID_REQUEST, `A batch may hold ${MAX_BATCH_CALLS} calls; split it`)
    }
    const answers: RpcResponse[] = []
    for (const call of payload) answers.push(await answer(call))
    return answers
  }
}

async function answerOne(payload: unknown, options: RpcOptions): Promise<RpcResponse> {
  if (!isObject(payload)) return failure(null, INVALID_REQUEST, 'A call is an object with method and params')
  const id = typeof payload.id === 'string' || typeof payload.id === 'number' ? payload.id : null
  const { method, params = [] } = payload
  if (typeof method !== 'string' || typeof params !== 'object' || params === null) {
    return failure(id, INVALID_REQUEST, 'A call needs a method name and a list of params')
  }
  const isPublic = publicMethods.has(method)
  if (!isPublic && !options.allowDevRpc) {
    options.onCall?.('refused', true)
    const name = method.slice(0, MAX_METHOD_CHARACTERS)
    return failure(id, METHOD_NOT_FOUND, `${name} is not served; CHAIN_ALLOW_DEV_RPC=1 opens every method`)
  }
  const label = isPublic ? method : 'other'
  try {
    const result = await options.request(method, params)
    options.onCall?.(label, false)
    return { jsonrpc: '2.0', id, result }
  } catch (error) {
    options.onCall?.(label, true)
    return failureOf(id, error)
  }
}

/** Hardhat's error as geth would answer it, which is what client libraries read revert reasons from. */
function failureOf(id: RpcResponse['id'], error: unknown): RpcResponse {
  if (!(error instanceof Error)) return failure(id, SERVER_ERROR, String(error))
  const code = 'code' in error && typeof error.code === 'number' ? error.code : SERVER_ERROR
  const data = 'data' in error ? error.data : undefined
  const bytes = isObject(data) ? data.data : data
  const isRevert = typeof bytes === 'string' && /^0x/.test(bytes)
  return failure(id, isRevert ? REVERTED : code, error.message, isRevert ? bytes : undefined)
}

function failure(id: RpcResponse['id'], code: number, message: string, data?: unknown): RpcResponse {
  return { jsonrpc: '2.0', id, error: data === undefined ? { code, message } : { code, message, data } }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
