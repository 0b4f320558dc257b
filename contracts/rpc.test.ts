import assert from 'node:assert/strict'
import { createRpcHandler, MAX_BATCH_CALLS, publicMethods, type RpcResponse } from './rpc.ts'

/** A handler over a chain that answers each call with its method, and what it was told of calls. */
function handler(allowDevRpc = false) {
  const counted: string[] = []
  const handle = createRpcHandler({
    request: async (method, params) => {
      if (method === 'eth_call') throw Object.assign(new Error('reverted'), { code: -32603, data: { data: '0xabcd' } })
      if (method === 'eth_getLogs') throw Object.assign(new Error('bad params'), { code: -32602 })
      return [method, params]
    },
    allowDevRpc,
    onCall: (method, failed) => counted.push(`${method} ${failed}`)
  })
  const call = async (body: unknown) => (await handle(JSON.stringify(body))) as RpcResponse
  return { handle, call, counted }
}

describe('JSON-RPC', () => {
  it('answers a call with its id', async () => {
    const { call, counted } = handler()
    const answer = await call({ jsonrpc: '2.0', id: 7, method: 'eth_chainId' })
    assert.deepEqual(answer, { jsonrpc: '2.0', id: 7, result: ['eth_chainId', []] })
    assert.equal((await call({ id: 'x', method: 'net_version', params: [1] })).id, 'x')
    assert.deepEqual(counted, ['eth_chainId false', 'net_version false'])
  })

  it('answers a batch in its order, and refuses an empty or too large one', async () => {
    const { handle } = handler()
    const batch = [{ id: 1, method: 'eth_chainId' }, 5, { id: 3, method: 'evm_mine' }]
    const answers = (await handle(JSON.stringify(batch))) as RpcResponse[]
    assert.deepEqual(
      answers.map(answer => [answer.id, answer.error?.code]),
      [
        [1, undefined],
        [null, -32600],
        [3, -32601]
      ]
    )
    for (const size of [0, MAX_BATCH_CALLS + 1]) {
      const answer = (await handle(JSON.stringify(Array(size).fill(batch[0])))) as RpcResponse
      assert.equal(answer.error?.code, -32600)
    }
  })

  it('answers what is no call with an error', async () => {
    const { handle, call } = handler()
    assert.equal(((await handle('{')) as RpcResponse).error?.code, -32700)
    for (const body of [
      null,
      1,
      'x',
      {},
      { method: 5 },
      { method: 'eth_call', params: 'x' },
      { method: 'eth_call', params: null }
    ]) {
      assert.equal((await call(body)).error?.code, -32600, JSON.stringify(body))
    }
    assert.equal((await call({ id: {}, method: 'eth_chainId' })).id, null)
  })

  it('gives a revert as geth does, and other errors with their code', async () => {
    const { call } = handler()
    assert.deepEqual((await call({ id: 1, method: 'eth_call' })).error, {
      code: 3,
      message: 'reverted',
      data: '0xabcd'
    })
    assert.deepEqual((await call({ id: 1, method: 'eth_getLogs' })).error, { code: -32602, message: 'bad params' })
  })

  it('refuses to sign, to change the chain at will and to keep filters, unless told', async () => {
    const methods = [
      ...['hardhat_setBalance', 'hardhat_impersonateAccount', 'evm_mine', 'evm_increaseTime', 'debug_traceTransaction'],
      ...['eth_sendTransaction', 'eth_sign', 'eth_signTypedData_v4', 'eth_accounts', 'personal_sign'],
      ...['eth_newFilter', 'eth_newBlockFilter', 'eth_subscribe', 'constructor', `x${'y'.repeat(1000)}`]
    ]
    const closed = handler()
    const dev = handler(true)
    for (const method of methods) {
      assert.ok(!publicMethods.has(method))
      const { error } = await closed.call({ id: 1, method })
      assert.equal(error?.code, -32601)
      assert.ok(error.message.length < 200)
      assert.deepEqual((await dev.call({ id: 1, method })).result, [method, []])
    }
    assert.deepEqual([...new Set(closed.counted)], ['refused true'])
    assert.deepEqual([...new Set(dev.counted)], ['other false'])
  })
})
