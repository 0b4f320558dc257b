import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { request } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { MAX_BODY_BYTES } from './server.ts'
import { type RunningChain, runChain, testAccount, testKey } from './testing.ts'

interface Answer {
  status: number
  body: { result: string; error: { code: number }; uptime: number }
}

const post = async (url: string, body: string): Promise<Answer> => {
  const response = await fetch(url, { method: 'POST', body })
  return { status: response.status, body: (await response.json()) as Answer['body'] }
}
const call = (url: string, method: string, params: unknown[] = []) =>
  post(url, JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }))
const getJson = async (url: string): Promise<Answer> => {
  const response = await fetch(url)
  return { status: response.status, body: (await response.json()) as Answer['body'] }
}

describe('the chain process', () => {
  let chain: RunningChain
  before(async () => {
    chain = await runChain({ env: { CHAIN_ID: '4242' } })
  })
  after(() => chain?.[Symbol.asyncDispose]())

  it('prints one ready line and logs JSON on stderr', () => {
    assert.equal(chain.stdout.length, 1)
    const ready = JSON.parse(chain.stdout[0] as string)
    assert.equal(ready.ready, true)
    assert.equal(ready.addresses.length, 2)
    for (const line of chain.stderr().split('\n').filter(Boolean)) assert.equal(JSON.parse(line).role, 'chain')
  })

  it('serves health, readiness and metrics', async () => {
    const { status, body } = await getJson(`${chain.controlUrl}/health`)
    const { uptime, ...rest } = body
    assert.equal(status, 200)
    assert.deepEqual(rest, { status: 'healthy', chainId: 4242, block: 1, registry: chain.registry })
    assert.ok(uptime >= 0)
    assert.deepEqual(await getJson(`${chain.controlUrl}/ready`), { status: 200, body: { ready: true } })
    await call(chain.rpcUrl, 'eth_blockNumber')
    await call(chain.rpcUrl, 'evm_mine')
    const metrics = await (await fetch(`${chain.controlUrl}/metrics`)).text()
    assert.match(metrics, /warren_chain_block_number 1\n/)
    assert.match(metrics, /warren_chain_rpc_calls_total\{method="eth_blockNumber",outcome="ok"\} \d/)
    assert.match(metrics, /warren_chain_rpc_calls_total\{method="refused",outcome="failed"\} \d/)
    assert.match(metrics, /process_resident_memory_bytes/)
  })

  it('serves JSON-RPC on both ports', async () => {
    for (const url of [chain.controlUrl, chain.rpcUrl]) {
      assert.deepEqual(await call(url, 'eth_chainId'), {
        status: 200,
        body: { jsonrpc: '2.0', id: 1, result: '0x1092' }
      })
    }
  })

  it('has funded every account, and holds the key of none for others', async () => {
    for (let n = 2; n <= 5; n++) {
      const { body } = await call(chain.rpcUrl, 'eth_getBalance', [testAccount(n).address, 'latest'])
      assert.equal(BigInt(body.result), 10_000n * 10n ** 18n)
    }
    const { body } = await call(chain.rpcUrl, 'eth_sendTransaction', [{ from: testAccount(1).address }])
    assert.equal(body.error.code, -32601)
  })

  it('refuses other paths and methods', async () => {
    assert.equal((await fetch(`${chain.controlUrl}/nothing`)).status, 404)
    assert.equal((await fetch(chain.controlUrl)).status, 405)
    assert.equal((await fetch(`${chain.controlUrl}/health`, { method: 'POST' })).status, 405)
    assert.equal((await post(chain.rpcUrl, 'not json')).body.error.code, -32700)
  })

  it('refuses a body over the limit by its Content-Length, before it is sent', async () => {
    const req = request(chain.rpcUrl, { method: 'POST', headers: { 'content-length': MAX_BODY_BYTES + 1 } })
    req.flushHeaders()
    const [response] = await once(req, 'response')
    assert.equal(response.statusCode, 413)
    req.destroy()
  })

  it('cuts a chunked body at the limit', async () => {
    const req = request(chain.rpcUrl, { method: 'POST' }).on('error', () => undefined)
    const answered = once(req, 'response')
    const chunk = Buffer.alloc(64 * 1024, ' ')
    for (let sent = 0; sent <= MAX_BODY_BYTES; sent += chunk.length) req.write(chunk)
    const [response] = await answered
    assert.equal(response.statusCode, 413)
    req.destroy()
  })

  it('writes under its data folder only what Hardhat wants', async () => {
    assert.deepEqual((await readdir(chain.dataDir)).sort(), ['accounts.json', 'hardhat'])
  })
})

describe('starting and stopping the chain', () => {
  it('takes an inherited socket, and the RPC port beside it', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const { fd } = (server as unknown as { _handle: { fd: number } })._handle
    await using chain = await runChain({ env: { LISTEN_FDS: '1', PORT: '1' }, stdio: ['ignore', 'pipe', 'pipe', fd] })
    server.close()
    assert.equal(chain.controlUrl, `http://127.0.0.1:${port}`)
    assert.equal((await getJson(`${chain.controlUrl}/ready`)).status, 200)
    assert.equal((await call(chain.rpcUrl, 'eth_blockNumber')).body.result, '0x1')
  })

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`exits with 0 on ${signal}, with a connection open`, async () => {
      await using chain = await runChain()
      await call(chain.rpcUrl, 'eth_blockNumber')
      chain.process.kill(signal)
      assert.deepEqual(await once(chain.process, 'exit'), [0, null])
    })
  }

  it('is a new chain after each start, with the registry at the same address', async () => {
    const addresses: string[] = []
    for (let i = 0; i < 2; i++) {
      await using chain = await runChain()
      addresses.push(chain.registry)
      assert.equal((await call(chain.rpcUrl, 'eth_blockNumber')).body.result, '0x1')
    }
    assert.equal(addresses[0], addresses[1])
  })

  it('exits with 1 and says why: bad settings, a port in use, an address that is not the key’s', async () => {
    const wrong = JSON.stringify([{ address: testAccount(2).address, privateKey: testKey(1) }])
    const server = createServer().listen(0, '0.0.0.0')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    await assert.rejects(runChain({ env: { PORT: 'x' } }), /exited with 1: Configuration is wrong.*\n.*PORT/)
    await assert.rejects(runChain({ env: { PORT: String(port) } }), /exited with 1: .*EADDRINUSE.*PORT/)
    await assert.rejects(runChain({ accounts: wrong }), /exited with 1: .*does not belong to its key/)
    server.close()
  })

  it('opens the simulator’s own methods only when told', async () => {
    await using chain = await runChain({ env: { CHAIN_ALLOW_DEV_RPC: '1' } })
    await call(chain.rpcUrl, 'evm_mine')
    assert.equal((await call(chain.rpcUrl, 'eth_blockNumber')).body.result, '0x2')
    assert.match(chain.stderr(), /CHAIN_ALLOW_DEV_RPC/)
  })
})
