/** `warren node …`: what an operator does with one storage node, over its HTTP API and in its data directory. */
import { createWriteStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Command } from 'commander'
import type { CliWorld } from './cli.ts'
import { ClientError, requireUrl } from './errors.ts'
import { backUpNode, restoreNode } from './node-backup.ts'
import { createNodeHttp, type NodeHttp, type ScrubState } from './node-http.ts'
import { openSource } from './source.ts'

const DEFAULT_NODE = 'http://127.0.0.1:5001'
const DEFAULT_DATA_DIR = './data'
const PAGE = 1000

interface NodeOptions {
  node?: string
  adminTokenFile?: string
  dataDir?: string
}

/** Add the commands. `show` prints a value as JSON where asked, else the text. */
export function addNodeCommands(
  program: Command,
  world: CliWorld,
  show: (value: unknown, text: string) => void,
  wholeNumber: (text: string) => number
): void {
  const group = program
    .command('node')
    .description('one storage node: its blobs, pins, scrub and backups')
    .option('--node <url>', `base URL of the node (WARREN_NODE; else ${DEFAULT_NODE})`)
    .option('--data-dir <folder>', `its data directory, on this machine (DATA_DIR; else ${DEFAULT_DATA_DIR})`)
    .option(
      '--admin-token-file <file>',
      'the operator’s token (ADMIN_TOKEN_FILE; else keys/admin.token of the data directory)'
    )
    .addHelpText(
      'after',
      '\nExamples:\n  warren node store photo.jpg\n  warren node where bafybei…\n  warren node backup /mnt/safe/node-1 --blobs'
    )
  const options = () => group.opts<NodeOptions>()
  const dataDir = () => options().dataDir ?? world.env.DATA_DIR ?? DEFAULT_DATA_DIR
  const url = () => {
    const named = options().node ?? world.env.WARREN_NODE ?? DEFAULT_NODE
    requireUrl(named, '--node or WARREN_NODE')
    return named
  }
  const node = (): NodeHttp => createNodeHttp({ url: url() })
  const operated = async (): Promise<NodeHttp> => {
    const file = options().adminTokenFile ?? world.env.ADMIN_TOKEN_FILE ?? join(dataDir(), 'keys', 'admin.token')
    let token: string
    try {
      token = (await readFile(file, 'utf8')).trim()
    } catch (cause) {
      const hint = 'Name it with --admin-token-file, or the data directory with --data-dir.'
      throw new ClientError('ADMIN_TOKEN_UNREADABLE', `The operator’s token cannot be read from ${file}. ${hint}`, {
        cause
      })
    }
    return createNodeHttp({ url: url(), adminToken: token })
  }

  group
    .command('store')
    .description('store a file, or what comes on stdin; prints its CID')
    .argument('[file]', 'path, or - for stdin', '-')
    .option('--type <mime>', 'content type')
    .action(async (file: string, { type }: { type?: string }) => {
      const source = await openSource(file, world.stdin)
      const stored = await node().store(source, type)
      show(stored, stored.cid)
    })
  group
    .command('fetch')
    .description('write a blob to stdout or a file')
    .argument('<cid>')
    .option('-o, --output <file>', 'write it there')
    .option('--verify', 'work out the CID of all bytes before the first one comes')
    .action(async (cid: string, { output, verify = false }: { output?: string; verify?: boolean }) => {
      const bytes = await node().fetch(cid, { verify })
      if (output === undefined) await pipeline(bytes, world.stdout, { end: false })
      else await pipeline(bytes, createWriteStream(output))
    })
  group
    .command('list')
    .description('CIDs it holds; asks for the operator’s token')
    .option('--limit <n>', 'at most so many', wholeNumber, PAGE)
    .option('--offset <n>', 'after so many', wholeNumber)
    .action(async (page: { limit: number; offset?: number }) => {
      const { rows, total } = await (await operated()).list(page)
      show(
        { cids: rows, total },
        [...rows, ...(rows.length < total ? [`(${rows.length} of ${total}: --offset, --limit)`] : [])].join('\n')
      )
    })
  group
    .command('where')
    .description('one blob’s whereabouts: here or not, pinned or not, its shard, and who holds replicas')
    .argument('<cid>')
    .action(async (cid: string) => {
      const seen = await node().whereabouts(cid)
      const { confirmed, target, nodes } = seen.replication
      const lines = [
        seen.cid,
        `  here      ${seen.stored ? `yes, ${seen.size} bytes, ${seen.mimeType}` : 'no'}`,
        `  pinned    ${seen.pinned ? 'yes' : 'no'}`,
        `  shard     ${seen.shard}`,
        `  replicas  ${confirmed} of ${target}${confirmed === 0 && !seen.stored ? ': nobody who was asked has it' : ''}`,
        ...nodes.map(peer => `            ${peer}`)
      ]
      show(seen, lines.join('\n'))
    })

  const pin = group.command('pin').description('what it keeps whatever its collection thinks')
  pin
    .command('add')
    .description('pin a blob; one that is not here is fetched')
    .argument('<cid>')
    .action(async (cid: string) => show(await (await operated()).pin(cid), `${cid}: pinned`))
  pin
    .command('remove')
    .description('unpin a blob')
    .argument('<cid>')
    .action(async (cid: string) => {
      const answer = await (await operated()).unpin(cid)
      show(answer, `${cid}: ${answer.wasPinned ? 'no longer pinned' : 'was not pinned'}`)
    })
  pin
    .command('list')
    .description('all pins')
    .action(async () => {
      const client = await operated()
      const rows: Awaited<ReturnType<NodeHttp['pins']>>['rows'] = []
      for (let more = true; more; ) {
        const page = await client.pins({ offset: rows.length, limit: PAGE })
        rows.push(...page.rows)
        more = page.rows.length > 0 && rows.length < page.total
      }
      show(rows, rows.map(({ cid, size }) => `${cid}  ${size ?? 'not here'}`).join('\n'))
    })

  group
    .command('scrub')
    .description('check every blob against its CID; `--status` tells how far it is')
    .option('--status', 'only look')
    .action(async ({ status = false }: { status?: boolean }) => {
      const client = await operated()
      const state = status ? await client.scrubState() : await client.scrub()
      show(state, scrubText(state))
    })
  group
    .command('gc')
    .description('collect what nobody needs any more; `--dry-run` only tells what would go')
    .option('--dry-run', 'only tell')
    .action(async ({ dryRun = false }: { dryRun?: boolean }) => {
      const report = await (await operated()).collect({ simulate: dryRun })
      show(report, JSON.stringify(report, null, 2))
    })
  for (const what of ['status', 'health'] as const) {
    group
      .command(what)
      .description(`the node’s ${what}`)
      .action(async () => {
        const answer = await node()[what]()
        show(answer, JSON.stringify(answer, null, 2))
      })
  }

  group
    .command('backup')
    .description('copy keys (and blobs) of the data directory into a new folder; the node may run')
    .argument('<folder>', 'one that is not there yet')
    .option('--blobs', 'the blobs too, not only the keys')
    .action(async (to: string, { blobs = false }: { blobs?: boolean }) => {
      const made = await backUpNode({ dataDir: dataDir(), to, blobs })
      show(made, `${to}: ${made.files} files, ${made.sizeBytes} bytes. It holds private keys: keep it as safe as them.`)
    })
  group
    .command('restore')
    .description('put a backup into a data directory without a node; its files are checked first')
    .argument('<folder>', 'a backup')
    .action(async (from: string) => {
      const put = await restoreNode({ from, dataDir: dataDir() })
      show(
        put,
        `${dataDir()}: ${put.files} files, ${put.sizeBytes} bytes restored. Stop the old node, then start one with this DATA_DIR.`
      )
    })
}

function scrubText({ running, checked, passed, failed, remaining, total }: ScrubState): string {
  const state = running ? `${total - remaining} of ${total} blobs of this pass` : 'no pass is under way'
  return `${state}; ${checked} checked so far, ${passed} good, ${failed} set aside`
}
