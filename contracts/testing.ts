/** For this room's tests: the chain as a process of its own, on free ports and with accounts made from a counter. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { privateKeyToAccount } from 'viem/accounts'

const START_TIMEOUT_MS = 20_000

export interface RunningChain extends AsyncDisposable {
  process: ChildProcess
  controlUrl: string
  rpcUrl: string
  registry: `0x${string}`
  dataDir: string
  /** Everything written to stdout so far, line by line. */
  stdout: string[]
  /** Everything written to stderr so far. */
  stderr(): string
}

export interface RunOptions {
  env?: Record<string, string>
  /** Content of the accounts file in place of five good accounts. */
  accounts?: string
  stdio?: ['ignore', 'pipe', 'pipe', number]
}

/** Account number n, from 1; the first deploys. */
export function testAccount(n: number) {
  return privateKeyToAccount(testKey(n))
}

export function testKey(n: number): `0x${string}` {
  return `0x${n.toString(16).padStart(64, '0')}`
}

/** Writes an accounts file with `count` accounts. */
export async function writeAccounts(file: string, count: number): Promise<void> {
  const accounts = Array.from({ length: count }, (_, i) => ({
    address: testAccount(i + 1).address,
    privateKey: testKey(i + 1)
  }))
  await writeFile(file, JSON.stringify(accounts), { mode: 0o600 })
}

/** Starts the chain and waits for its ready line. Disposing kills it and removes its folder. */
export async function runChain(options: RunOptions = {}): Promise<RunningChain> {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-chain-'))
  const accountsFile = join(dataDir, 'accounts.json')
  await (options.accounts === undefined ? writeAccounts(accountsFile, 5) : writeFile(accountsFile, options.accounts))
  const program = fileURLToPath(new URL('main.ts', import.meta.url))
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program], {
    cwd: dataDir,
    stdio: options.stdio ?? ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      HOME: dataDir,
      DATA_DIR: dataDir,
      PORT: '0',
      CHAIN_RPC_PORT: '0',
      CHAIN_ACCOUNTS_FILE: accountsFile,
      ...options.env
    }
  })
  const dispose = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    await rm(dataDir, { recursive: true, force: true })
  }
  let errors = ''
  child.stderr?.setEncoding('utf8').on('data', chunk => {
    errors += chunk
  })
  const stdout: string[] = []
  try {
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
    lines.on('line', line => stdout.push(line))
    const signal = AbortSignal.timeout(START_TIMEOUT_MS)
    const died = once(child, 'exit', { signal }).then(([code]) => {
      throw new Error(`the chain exited with ${code}: ${errors}`)
    })
    died.catch(() => undefined)
    const [line] = await Promise.race([once(lines, 'line', { signal }), died])
    const ready = JSON.parse(line as string)
    const [controlUrl, rpcUrl] = ready.addresses.map((url: string) => url.replace('0.0.0.0', '127.0.0.1'))
    return {
      process: child,
      controlUrl,
      rpcUrl,
      registry: ready.registry,
      dataDir,
      stdout,
      stderr: () => errors,
      [Symbol.asyncDispose]: dispose
    }
  } catch (error) {
    await dispose()
    throw error
  }
}
