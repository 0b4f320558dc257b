import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { privateKeyToAccount } from 'viem/accounts'
import { freePort } from '../free-port.ts'
import { ephemeralIdentity, verifyPeerSignature } from '../identity.ts'
import { silentLog } from '../log.ts'
import { eventually } from '../net/testing.ts'
import { createRegistryClient } from './client.ts'
import { createRegistry, type Registry } from './registry.ts'

type Hex = `0x${string}`

const CHAIN_PROGRAM = fileURLToPath(new URL('../../contracts/main.ts', import.meta.url))
const POLL_MS = 50
const keyOf = (n: number): Hex => `0x${n.toString(16).padStart(64, '0')}`
const accountOf = (n: number) => privateKeyToAccount(keyOf(n))

/** The project's chain, a process of its own; account 1 deploys. */
class Chain implements AsyncDisposable {
  readonly rpcUrl: string
  registry: Hex = '0x'
  readonly #port: number
  readonly #folder: string
  #child: ChildProcess | undefined

  private constructor(port: number, folder: string) {
    this.#port = port
    this.#folder = folder
    this.rpcUrl = `http://127.0.0.1:${port}`
  }

  static async start(): Promise<Chain> {
    const folder = await mkdtemp(join(tmpdir(), 'warren-registry-'))
    const accounts = Array.from({ length: 6 }, (_, i) => ({
      address: accountOf(i + 1).address,
      privateKey: keyOf(i + 1)
    }))
    await writeFile(join(folder, 'accounts.json'), JSON.stringify(accounts))
    const chain = new Chain(await freePort(), folder)
    await chain.up()
    return chain
  }

  async up(): Promise<void> {
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', CHAIN_PROGRAM], {
      cwd: this.#folder,
      stdio: ['ignore', 'pipe', 'ignore'],
      env: {
        PATH: process.env.PATH,
        HOME: this.#folder,
        DATA_DIR: this.#folder,
        PORT: '0',
        CHAIN_RPC_PORT: String(this.#port),
        CHAIN_ACCOUNTS_FILE: join(this.#folder, 'accounts.json')
      }
    })
    this.#child = child
    const lines = createInterface({ input: child.stdout! })
    const [line] = (await once(lines, 'line', { signal: AbortSignal.timeout(30_000) })) as [string]
    this.registry = (JSON.parse(line) as { registry: Hex }).registry
  }

  async down(): Promise<void> {
    if (this.#child === undefined || this.#child.exitCode !== null) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down()
    await rm(this.#folder, { recursive: true, force: true })
  }
}

describe('the registry', function () {
  this.timeout(90_000)
  let chain: Chain
  const open: Registry[] = []

  before(async () => {
    chain = await Chain.start()
  })
  after(async () => {
    await Promise.all(open.map(registry => registry.stop()))
    await chain[Symbol.asyncDispose]()
  })

  async function node(owner: number) {
    const identity = await ephemeralIdentity()
    const registry = createRegistry({
      rpcUrl: chain.rpcUrl,
      address: chain.registry,
      pollMs: POLL_MS,
      own: { identity, ownerAddress: accountOf(owner).address, ownerKey: keyOf(owner) },
      log: silentLog()
    })
    registry.start()
    open.push(registry)
    return { identity, registry }
  }
  const peers = (registry: Registry) => (registry.nodes() ?? []).map(({ peerId }) => peerId).sort()

  it('registers nodes, which learn each other; a reader learns them too', async () => {
    const [a, b] = [await node(2), await node(3)]
    const reader = createRegistry({ rpcUrl: chain.rpcUrl, address: chain.registry, pollMs: POLL_MS, log: silentLog() })
    reader.start()
    open.push(reader)
    const both = [a.identity.peerId, b.identity.peerId].sort()
    for (const registry of [a.registry, b.registry, reader]) {
      await eventually(() => peers(registry).length === 2, 'two rows')
      assert.deepEqual(peers(registry), both)
    }
    assert.equal(a.registry.state().registered, true)
    assert.equal(reader.state().registered, false)
    const row = reader.nodes()?.find(({ peerId }) => peerId === a.identity.peerId)
    assert.equal(row?.owner, accountOf(2).address)
    assert.equal(row?.url, `/p2p/${a.identity.peerId}`)
    assert.equal(row?.nodeId, a.registry.nodeId())
    const { text, signature } = a.registry.statement()!
    assert.ok(
      verifyPeerSignature(a.identity.peerId, new TextEncoder().encode(text), Buffer.from(signature.slice(2), 'hex'))
    )
  })

  it('ignores a row whose url is not that of its key', async () => {
    const reader = open.at(-1)!
    const before = peers(reader)
    const client = createRegistryClient({ rpcUrl: chain.rpcUrl, address: chain.registry, ownerKey: keyOf(4) })
    const { publicKey } = await ephemeralIdentity()
    await client.register({ publicKey, url: `/p2p/${before[0]}`, metadataHash: `0x${'00'.repeat(32)}` })
    assert.equal((await client.active()).length, 3)
    const { number } = await client.head()
    await eventually(() => reader.state().block === Number(number), 'the block was read')
    assert.deepEqual(peers(reader), before)
  })

  it('takes an owner’s older key out of service when the node comes with a new one', async () => {
    const reader = open.at(-1)!
    const first = open[0]!
    const old = first.nodes()!.find(({ nodeId }) => nodeId === first.nodeId())!.peerId
    await first.stop()
    const again = await node(2)
    await eventually(() => peers(reader).includes(again.identity.peerId), 'the new key')
    assert.ok(!peers(reader).includes(old))
  })

  it('registers again when the chain was restarted empty, and bears its absence', async () => {
    const [, second] = open as [Registry, Registry]
    await chain.down()
    await eventually(() => second.state().problem !== null, 'the absence was noticed')
    assert.notEqual(second.nodes(), null)
    await chain.up()
    await eventually(() => second.state().problem === null && second.state().registered, 'registered again')
    const reader = open[2]!
    await eventually(() => peers(reader).length === 2, 'both again')
  })

  it('counts the members of a lost chain until they had time to come back, and no longer', async () => {
    for (const registry of open) await registry.stop()
    const [stays, leaves] = [await node(5), await node(6)]
    const hasty = createRegistry({
      rpcUrl: chain.rpcUrl,
      address: chain.registry,
      pollMs: POLL_MS,
      returnGraceMs: 0,
      log: silentLog()
    })
    hasty.start()
    open.push(hasty)
    for (const registry of [stays.registry, hasty]) {
      await eventually(() => peers(registry).includes(leaves.identity.peerId), 'the one that leaves')
    }
    await eventually(() => peers(stays.registry).includes(stays.identity.peerId), 'the one that stays')
    await leaves.registry.stop()
    await chain.down()
    await eventually(() => stays.registry.state().problem !== null, 'the absence was noticed')
    await chain.up()
    await eventually(() => stays.registry.state().problem === null && stays.registry.state().registered, 'back')
    assert.ok(peers(stays.registry).includes(leaves.identity.peerId))
    await eventually(() => peers(hasty).join() === stays.identity.peerId, 'only who is back')
    assert.ok(peers(stays.registry).includes(leaves.identity.peerId))
  })
})
