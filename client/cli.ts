#!/usr/bin/env node
/** `warren`: storage on a gateway, and an operator's view of one node, from the command line. */
import { createWriteStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { Command, CommanderError, InvalidArgumentError } from 'commander'
import { ClientError, requireUrl } from './errors.ts'
import { createGatewayClient, type GatewayClient } from './gateway.ts'
import { addNodeCommands } from './node-cli.ts'
import { openSource } from './source.ts'

/** Where `make testnet-up` writes the gateways and the key of the testnet. */
const ENDPOINTS = join('.testnet', 'current', 'endpoints.json')

interface GlobalOptions {
  gateway?: string
  apiKey?: string
  json?: boolean
}

type Environment = Readonly<Record<string, string | undefined>>

/** What the command line needs of the world; tests hand in their own. */
export interface CliWorld {
  env: Environment
  cwd: string
  stdin: AsyncIterable<Uint8Array>
  /** Where answers go. */
  print: (text: string) => void
  /** Where raw values go when no file is named. */
  stdout: NodeJS.WritableStream
  /** Where problems go. */
  complain: (text: string) => void
}

/**
 * Runs one command.
 * @returns the exit code: 0 done, 1 not done (`exists` of an absent key too), 2 used wrongly
 */
export async function runCli(args: readonly string[], world: CliWorld): Promise<number> {
  let code = 0
  const program = new Command('warren')
    .description('Store values on a Warren network through a gateway, and look after a storage node.')
    .option('--gateway <url>', 'base URL of the gateway (WARREN_GATEWAY; else the running testnet’s first one)')
    .option('--api-key <key>', 'API key (WARREN_API_KEY; else the running testnet’s)')
    .option('--json', 'print one JSON value')
    .showHelpAfterError('Add --help to see what there is.')
    .exitOverride()
    .configureOutput({
      writeOut: text => world.print(text.trimEnd()),
      writeErr: text => world.complain(text.trimEnd())
    })

  const gateway = () => connect(program.opts<GlobalOptions>(), world)
  /** Prints as JSON where asked, else the person's text. */
  const show = (value: unknown, text: string) => {
    if (program.opts<GlobalOptions>().json === true) world.print(JSON.stringify(value))
    else if (text !== '') world.print(text)
  }

  const storage = program.command('storage').description('key-value storage of your namespace')
  storage
    .command('put')
    .description('store a file, or what comes on stdin, under a key')
    .argument('<key>')
    .argument('[file]', 'path, or - for stdin', '-')
    .action(async (key: string, file: string) => {
      const source = await openSource(file, world.stdin)
      const stored = await (await gateway()).storage.put(key, source)
      show(stored, `${stored.key}: ${stored.size} bytes${stored.cid === undefined ? '' : `, ${stored.cid}`}`)
    })
  storage
    .command('get')
    .description('write a value to stdout or a file')
    .argument('<key>')
    .option('-o, --output <file>', 'write it there')
    .action(async (key: string, { output }: { output?: string }) => {
      const value = await (await gateway()).storage.stream(key)
      if (output === undefined) await pipeline(value, world.stdout, { end: false })
      else await pipeline(value, createWriteStream(output))
    })
  storage
    .command('list')
    .description('list keys')
    .option('--prefix <text>', 'only keys that begin so')
    .option('--limit <n>', 'at most so many; else all', wholeNumber)
    .action(async (options: { prefix?: string; limit?: number }) => {
      const keys = await (await gateway()).storage.list(options)
      show(keys, keys.join('\n'))
    })
  storage
    .command('delete')
    .description('delete a key')
    .argument('<key>')
    .action(async (key: string) => {
      const answer = await (await gateway()).storage.delete(key)
      show(answer, `${key}: deleted`)
    })
  storage
    .command('exists')
    .description('tell whether there is a key; exit code 1 when there is none')
    .argument('<key>')
    .action(async (key: string) => {
      const exists = await (await gateway()).storage.exists(key)
      show({ exists }, exists ? 'yes' : 'no')
      if (!exists) code = 1
    })
  addNodeCommands(program, world, show, wholeNumber)
  for (const what of ['health', 'version'] as const) {
    program
      .command(what)
      .description(`the gateway’s ${what}`)
      .action(async () => {
        const answer = await (await gateway())[what]()
        show(answer, JSON.stringify(answer, null, 2))
      })
  }

  try {
    await program.parseAsync([...args], { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    world.complain(problemOf(error as Error))
    return 1
  }
}

/** What to do about a refused credential, in the words of the command line. */
const HINTS: Readonly<Record<string, string>> = {
  API_KEY_MISSING: ' Give one with --api-key or WARREN_API_KEY.',
  API_KEY_INVALID: ' Give another with --api-key or WARREN_API_KEY.',
  UNAUTHORIZED: ' Here: --admin-token-file, or --data-dir of that very node.'
}

function problemOf(error: Error): string {
  if (error instanceof ClientError)
    return `${error.message.replace(/([^.!?])$/, '$1.')}${HINTS[error.code] ?? ''} (${error.code})`
  // A system error names its file and what is wrong with it; anything else is a bug and shows where.
  return 'syscall' in error
    ? `${error.message}. See that the path is right and you may use it.`
    : (error.stack ?? error.message)
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('a whole number above 0 is needed')
  return Number(text)
}

/** Flag, then environment, then the testnet that runs in this folder or one above it. */
async function connect(options: GlobalOptions, { env, cwd }: CliWorld): Promise<GatewayClient> {
  const named = options.gateway ?? env.WARREN_GATEWAY
  const key = options.apiKey ?? env.WARREN_API_KEY
  const testnet = named === undefined ? await findTestnet(cwd) : null
  const url = named ?? testnet?.url
  if (url === undefined) {
    throw new ClientError(
      'GATEWAY_UNKNOWN',
      'Which gateway? Give --gateway and --api-key, set WARREN_GATEWAY and WARREN_API_KEY, or run make testnet-up.'
    )
  }
  requireUrl(url, '--gateway or WARREN_GATEWAY')
  const apiKey = key ?? testnet?.apiKey
  return createGatewayClient({ url, ...(apiKey === undefined ? {} : { apiKey }) })
}

async function findTestnet(from: string): Promise<{ url: string; apiKey: string } | null> {
  for (let folder = from; ; folder = dirname(folder)) {
    try {
      const endpoints = JSON.parse(await readFile(join(folder, ENDPOINTS), 'utf8')) as {
        gateways: string[]
        apiKey: string
      }
      const [url] = endpoints.gateways
      return url === undefined ? null : { url, apiKey: endpoints.apiKey }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
    if (dirname(folder) === folder) return null
  }
}

if (import.meta.main) {
  process.exitCode = await runCli(process.argv.slice(2), {
    env: process.env,
    cwd: process.cwd(),
    stdin: process.stdin,
    stdout: process.stdout,
    print: text => process.stdout.write(`${text}\n`),
    complain: text => process.stderr.write(`${text}\n`)
  })
}
