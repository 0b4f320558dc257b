/** Whole storage nodes on loopback, in folders of their own, for tests. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readConfig } from './config.ts'
import { generousHttpEnvironment } from './http/http-limits.ts'
import { silentLog } from './log.ts'
import { generousEnvironment } from './net/limits.ts'
import { createNode, type StorageNode } from './node.ts'

export interface TestNode extends AsyncDisposable {
  node: StorageNode
  dataDir: string
  /** Base URL of its HTTP server. */
  url: string
  /** Stop it and keep its folder. */
  stop: () => Promise<void>
}

/** A started node without chain or relay. `env` is added to, and goes over, what tests need. */
export async function startNode(env: Record<string, string> = {}): Promise<TestNode> {
  const dataDir = env.DATA_DIR ?? (await mkdtemp(join(tmpdir(), 'warren-node-')))
  const config = readConfig({
    ...generousEnvironment('node'),
    ...generousHttpEnvironment(),
    WARREN_OFFLINE: '1',
    NODE_ID: `node-${randomBytes(4).toString('hex')}`,
    P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0',
    ...env,
    DATA_DIR: dataDir
  })
  // 0 lets the system choose; the configuration counts it as absent only when empty.
  const node = await createNode({ config: { ...config, port: 0 }, log: silentLog() })
  await node.start()
  const stop = () => node.stop()
  return {
    node,
    dataDir,
    url: `http://127.0.0.1:${node.httpPort()}`,
    stop,
    [Symbol.asyncDispose]: async () => {
      await stop()
      await rm(dataDir, { recursive: true, force: true })
    }
  }
}

/** Some nodes that know each other. */
export async function startNodes(
  count: number,
  env: Record<string, string> = {}
): Promise<TestNode[] & AsyncDisposable> {
  const first = await startNode(env)
  const bootstrap = { P2P_BOOTSTRAP_PEERS: first.node.addresses().join() }
  const nodes = [first]
  for (let i = 1; i < count; i += 1) nodes.push(await startNode({ ...env, ...bootstrap }))
  return Object.assign(nodes, {
    [Symbol.asyncDispose]: async () => {
      await Promise.all(nodes.map(node => node[Symbol.asyncDispose]()))
    }
  })
}
