import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { NetworkView } from './network/hosts.types.ts'
import { eventually } from './testing/fixtures.ts'
import { ethereumWallet } from './testing/wallets.ts'

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url))
const KEY = 'shared-key'

interface GatewayProcess {
  process: ChildProcess
  url: string
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** Every process of this file, so that a failed start leaves none behind. */
const processes: ChildProcess[] = []

async function start(dataDir: string, name: string, inventory: string): Promise<GatewayProcess> {
  const port = await freePort()
  const child = spawn(process.execPath, [MAIN], {
    env: {
      PATH: process.env.PATH,
      NODE_ID: name,
      GATEWAY_ADDR: `127.0.0.1:${port}`,
      DATA_DIR: dataDir,
      GATEWAY_INVENTORY_FILE: inventory,
      GATEWAY_API_KEYS: `${KEY}:default`,
      LOG_LEVEL: 'warn'
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  processes.push(child)
  const ended = once(child, 'exit').then(([code]) => assert.fail(`${name} ended with ${code} before it was ready`))
  const ready = once(createInterface(child.stdout as NodeJS.ReadableStream), 'line')
  const [line] = (await Promise.race([ready, ended])) as [string]
  ended.catch(() => undefined)
  assert.equal(JSON.parse(line).ready, true)
  return { process: child, url: `http://127.0.0.1:${port}` }
}

function ask({ url }: GatewayProcess, path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(url + path, { ...init, headers: { 'X-API-Key': KEY } })
}

describe('two gateway processes on one data directory', function () {
  this.timeout(60_000)
  let dataDir: string
  const started: GatewayProcess[] = []

  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-gateways-'))
  })
  after(async () => {
    for (const child of processes) child.kill('SIGKILL')
    await rm(dataDir, { recursive: true, force: true })
  })

  it('start together, write at once, read each other’s values, and lose none when one is killed', async () => {
    const inventory = join(dataDir, 'inventory.json')
    await writeFile(inventory, JSON.stringify(['one', 'two'].map(name => ({ name, role: 'gateway' }))))
    started.push(...(await Promise.all(['one', 'two'].map(name => start(dataDir, name, inventory)))))
    const [one, two] = started as [GatewayProcess, GatewayProcess]
    await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const [writer, reader] = index % 2 === 0 ? [one, two] : [two, one]
        const put = await ask(writer, `/v1/storage/put?key=k${index}`, { method: 'POST', body: `${index}` })
        assert.equal(put.status, 201)
        assert.equal(await (await ask(reader, `/v1/storage/get?key=k${index}`)).text(), `${index}`)
      })
    )
    const acknowledged: string[] = []
    const writing = (async () => {
      for (let index = 0; ; index += 1) {
        const put = await ask(one, `/v1/storage/put?key=late${index}`, { method: 'POST', body: 'x' }).catch(() => null)
        if (put?.status !== 201) return
        acknowledged.push(`late${index}`)
        if (acknowledged.length === 20) one.process.kill('SIGKILL')
      }
    })()
    await Promise.all([writing, once(one.process, 'exit')])
    assert.ok(acknowledged.length >= 20)
    for (const key of acknowledged) assert.equal((await ask(two, `/v1/storage/get?key=${key}`)).status, 200, key)
    assert.equal((await ask(two, '/v1/storage/put?key=after', { method: 'POST', body: 'y' })).status, 201)
  })

  it('show each other on the page, the killed one as down', async () => {
    const two = started[1] as GatewayProcess
    const state = async () => {
      const view = (await (await ask(two, '/v1/network/hosts')).json()) as NetworkView
      return view.hosts.find(host => host.name === 'one')?.state
    }
    await eventually(async () => (await state()) === 'down')
    const again = await start(dataDir, 'one', join(dataDir, 'inventory.json'))
    started.push(again)
    await eventually(async () => (await state()) === 'up')
  })

  it('share logins: a nonce is used once, and what one has ended the other refuses with the next request', async () => {
    const [one, two] = [started.at(-1), started[1]] as [GatewayProcess, GatewayProcess]
    const wallet = ethereumWallet()
    const post = async ({ url }: GatewayProcess, path: string, body: unknown) => {
      const answer = await fetch(`${url}/v1/auth/${path}`, { method: 'POST', body: JSON.stringify(body) })
      return { status: answer.status, body: (await answer.json()) as Record<string, string> }
    }
    const whoami = async ({ url }: GatewayProcess, token: string) =>
      (await fetch(`${url}/v1/auth/whoami`, { headers: { Authorization: `Bearer ${token}` } })).status
    const proof = async (from: GatewayProcess) => {
      const { nonce } = (await post(from, 'challenge', { wallet: wallet.address, namespace: 'both' })).body
      return { wallet: wallet.address, namespace: 'both', nonce, signature: await wallet.sign(nonce as string) }
    }
    const raced = await proof(one)
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, i) => post(i % 2 === 0 ? one : two, 'verify', raced))
    )
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, ...Array.from({ length: 39 }, () => 400)])
    for (const [here, there] of [
      [one, two],
      [two, one]
    ] as Array<[GatewayProcess, GatewayProcess]>) {
      const { access_token: token = '', refresh_token } = (await post(here, 'verify', await proof(there))).body
      assert.deepEqual([await whoami(here, token), await whoami(there, token)], [200, 200])
      assert.equal((await post(there, 'logout', { refresh_token })).status, 200)
      assert.deepEqual([await whoami(here, token), await whoami(there, token)], [401, 401])
    }
    assert.equal((await stat(join(dataDir, 'auth-keys.json'))).mode & 0o777, 0o600)
  })

  it('end with code 0 within the drain time at SIGTERM', async () => {
    const two = started[1] as GatewayProcess
    const ended = once(two.process, 'exit')
    two.process.kill('SIGTERM')
    assert.deepEqual(await ended, [0, null])
  })

  it('listen on a socket they are handed', async () => {
    const listening = createServer().listen(0, '127.0.0.1')
    await once(listening, 'listening')
    const { port } = listening.address() as { port: number }
    const { fd } = (listening as unknown as { _handle: { fd: number } })._handle
    const child = spawn(process.execPath, [MAIN], {
      env: { PATH: process.env.PATH, LISTEN_FDS: '1', NODE_ID: 'three', DATA_DIR: dataDir, LOG_LEVEL: 'error' },
      stdio: ['ignore', 'pipe', 'inherit', fd]
    })
    try {
      await once(createInterface(child.stdout as NodeJS.ReadableStream), 'line')
      listening.close()
      assert.equal((await fetch(`http://127.0.0.1:${port}/ready`)).status, 200)
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  })

  it('say what is wrong with their configuration and exit 1', async () => {
    const child = spawn(process.execPath, [MAIN], {
      env: { PATH: process.env.PATH, DB_CLIENT: 'oracle', PORT: 'x', DATA_DIR: dataDir },
      stdio: ['ignore', 'ignore', 'pipe']
    })
    let told = ''
    child.stderr.on('data', chunk => {
      told += chunk
    })
    const [code] = await once(child, 'close')
    assert.equal(code, 1)
    assert.match(told, /DB_CLIENT[\s\S]*PORT|PORT[\s\S]*DB_CLIENT/)
  })
})
