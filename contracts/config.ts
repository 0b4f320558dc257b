import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { z } from 'zod'
import { ConfigurationError } from './errors.ts'

export interface ChainAccount {
  /** 0x and 40 hex digits. */
  address: string
  /** 0x and 64 hex digits. */
  privateKey: string
}

export interface ChainConfig {
  port: number
  rpcPort: number
  /** Address the RPC port listens on; `::` takes both families. */
  rpcHost: string
  chainId: number
  /** All are funded; the first deploys the registry. */
  accounts: readonly ChainAccount[]
  dataDir: string
  /** Serve hardhat_*, evm_*, eth_sendTransaction and the like to everyone who reaches the port. */
  allowDevRpc: boolean
  logLevel: string
}

const MAX_ACCOUNTS = 10_000
const MAX_PORT = 65_535

const port = z.coerce.number('must be a port number').int().min(0).max(MAX_PORT)
const flag = z.enum(['0', '1', 'true', 'false'], 'must be 0 or 1').transform(text => text === '1' || text === 'true')

const environment = z.object({
  PORT: port.default(9545),
  CHAIN_RPC_PORT: port.default(8545),
  CHAIN_RPC_HOST: z
    .string()
    .refine(text => isIP(text) !== 0, 'must be an IP address')
    .default('0.0.0.0'),
  CHAIN_ID: z.coerce.number('must be a number').int().min(1).max(Number.MAX_SAFE_INTEGER).default(31337),
  CHAIN_ACCOUNTS_FILE: z.string('is required: a JSON file [{"address", "privateKey"}], the first one deploys'),
  DATA_DIR: z.string().default('data'),
  CHAIN_ALLOW_DEV_RPC: flag.default(false),
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], 'must be a pino level, for example info')
    .default('info')
})

const accountList = z
  .array(
    z.object({
      address: z.string().regex(/^0x[0-9a-fA-F]{40}$/, 'must be 0x and 40 hex digits'),
      privateKey: z.string().regex(/^0x[0-9a-fA-F]{64}$/, 'must be 0x and 64 hex digits')
    })
  )
  .min(1, 'must name at least the deployer')
  .max(MAX_ACCOUNTS, `may name at most ${MAX_ACCOUNTS}`)

/**
 * Reads the chain's settings from environment variables (an empty one counts as absent) and its accounts file.
 * @throws ConfigurationError naming every problem at once; a private key is never quoted
 */
export function readConfig(env: Readonly<Record<string, string | undefined>>): ChainConfig {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''))
  const parsed = environment.safeParse(given)
  const problems = parsed.success ? [] : describe(parsed.error, path => path)
  const file = given.CHAIN_ACCOUNTS_FILE
  const accounts = file === undefined ? [] : readAccounts(file, problems)
  if (!parsed.success || problems.length > 0) throw new ConfigurationError(problems)
  return {
    port: parsed.data.PORT,
    rpcPort: parsed.data.CHAIN_RPC_PORT,
    rpcHost: parsed.data.CHAIN_RPC_HOST,
    chainId: parsed.data.CHAIN_ID,
    accounts,
    dataDir: resolve(parsed.data.DATA_DIR),
    allowDevRpc: parsed.data.CHAIN_ALLOW_DEV_RPC,
    logLevel: parsed.data.LOG_LEVEL
  }
}

function readAccounts(file: string, problems: string[]): readonly ChainAccount[] {
  let content: unknown
  try {
    content = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    // A JSON error quotes the text, which may hold keys.
    const reason = error instanceof SyntaxError ? 'it is not JSON' : (error as Error).message
    problems.push(`CHAIN_ACCOUNTS_FILE ${file} cannot be read: ${reason}`)
    return []
  }
  const parsed = accountList.safeParse(content)
  if (parsed.success) return parsed.data
  problems.push(...describe(parsed.error, path => `CHAIN_ACCOUNTS_FILE ${file}${path === '' ? '' : ` [${path}]`}`))
  return []
}

function describe(error: z.ZodError, name: (path: string) => string): string[] {
  return error.issues.map(issue => `${name(issue.path.join('.'))} ${issue.message}`)
}
