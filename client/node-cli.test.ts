import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { cidOf, createNode, readNodeConfig, silentLog } from '../node/index.ts'
import { runCli } from './cli.ts'

/** Bytes of a path on Linux, its end included. */
const LONGEST_PATH = 4096
const ABSENT = await cidOf([Buffer.from('nobody has this')])

describe('warren node', function () {
  this.timeout(30_000)
  let folder: string
  let dataDir: string
  let node: Awaited<ReturnType<typeof createNode>>

  async function startNode(dir: string) {
    const config = readNodeConfig({
      WARREN_OFFLINE: '1',
      DATA_DIR: dir,
      REPLICATION_FACTOR: '1',
      REPLICATION_QUORUM: '1',
      P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0'
    })
    const started = await createNode({ config: { ...config, port: 0 }, log: silentLog() })
    await started.start()
    return started
  }

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-node-cli-'))
    dataDir = join(folder, 'data')
    node = await startNode(dataDir)
  })
  after(async () => {
    await node.stop()
    await rm(folder, { recursive: true, force: true })
  })

  async function run(args: string[], { stdin = '', dir = dataDir }: { stdin?: string | Buffer; dir?: string } = {}) {
    const told: string[] = []
    const complaints: string[] = []
    const raw: Buffer[] = []
    const code = await runCli(['node', ...args], {
      env: { WARREN_NODE: `http://127.0.0.1:${node.httpPort()}`, DATA_DIR: dir },
      cwd: folder,
      stdin: (async function* () {
        yield Buffer.from(stdin)
      })(),
      stdout: new Writable({
        write(chunk: Buffer, _encoding, done) {
          raw.push(chunk)
          done()
        }
      }),
      print: text => told.push(text),
      complain: text => complaints.push(text)
    })
    return { code, out: told.join('\n'), errors: complaints.join('\n'), raw: Buffer.concat(raw) }
  }

  it('stores from a file and from stdin, lists and fetches byte for byte', async () => {
    const bytes = randomBytes(700_000)
    const file = join(folder, 'file')
    await writeFile(file, bytes)
    const cid = (await run(['store', file])).out
    assert.equal(cid, await cidOf([bytes]))
    const small = JSON.parse((await run(['store', '--json'], { stdin: 'from stdin' })).out)
    assert.equal(small.size, 10)
    const listed = (await run(['list'])).out.split('\n')
    assert.ok(listed.includes(cid) && listed.includes(small.cid))
    assert.ok((await run(['fetch', cid, '--verify'])).raw.equals(bytes))
    const copy = join(folder, 'copy')
    assert.equal((await run(['fetch', small.cid, '-o', copy])).code, 0)
    assert.equal(await readFile(copy, 'utf8'), 'from stdin')
  })

  it('tells where a blob is, and that one is nowhere', async () => {
    const cid = (await run(['store'], { stdin: 'whereabouts' })).out
    const { out } = await run(['where', cid])
    assert.match(out, /here {6}yes, 11 bytes/)
    assert.match(out, /replicas {2}1 of 1\n {12}12D3Koo/)
    assert.match((await run(['where', ABSENT])).out, /here {6}no/)
    const missing = await run(['fetch', ABSENT])
    assert.equal(missing.code, 1)
    assert.match(missing.errors, /BLOB_NOT_FOUND/)
  })

  it('pins, unpins, scrubs and collects with the operator’s token, and says which file is missing without', async () => {
    const cid = (await run(['store'], { stdin: 'pinned' })).out
    assert.equal((await run(['pin', 'add', cid])).out, `${cid}: pinned`)
    assert.match((await run(['pin', 'list'])).out, new RegExp(`${cid} {2}6`))
    assert.match((await run(['where', cid])).out, /pinned {4}yes/)
    assert.equal((await run(['pin', 'remove', cid])).out, `${cid}: no longer pinned`)
    assert.equal((await run(['pin', 'remove', cid])).out, `${cid}: was not pinned`)
    assert.equal((await run(['scrub'])).code, 0)
    assert.match((await run(['scrub', '--status'])).out, /checked so far, \d+ good, 0 set aside/)
    assert.equal((await run(['gc', '--dry-run'])).code, 0)
    const without = await run(['pin', 'list'], { dir: folder })
    assert.equal(without.code, 1)
    assert.match(without.errors, /ADMIN_TOKEN_UNREADABLE/)
    assert.match(without.errors, /keys\/admin\.token/)
  })

  it('asks for what was named and nothing else, even when it is no CID', async () => {
    const asked = ['../health', '..', '.', '../status?x=', 'a#b', 'ü'].flatMap(name => [
      ['fetch', name],
      ['where', name]
    ])
    // The operator has few requests a minute.
    for (const args of [...asked, ['pin', 'add', '..'], ['pin', 'remove', '../health']]) {
      const { code, errors } = await run(args)
      assert.equal(code, 1, args.join(' '))
      assert.match(errors, /CID_INVALID/, args.join(' '))
    }
  })

  it('says that a node does not answer, and how to name another', async () => {
    const { code, errors } = await run(['--node', 'http://127.0.0.1:9', 'health'])
    assert.equal(code, 1)
    assert.match(errors, /--node or WARREN_NODE.*NODE_UNREACHABLE/)
  })

  it('brings a node back from a backup: the same peer, the same blobs, private files', async () => {
    const bytes = randomBytes(300_000)
    const file = join(folder, 'precious')
    await writeFile(file, bytes)
    const cid = (await run(['store', file])).out
    const backup = join(folder, 'backup')
    assert.match((await run(['backup', backup, '--blobs'])).out, /files, \d+ bytes\. It holds private keys/)
    assert.equal((await stat(join(backup, 'keys', 'private.key'))).mode & 0o777, 0o600)
    const taken = await run(['backup', backup])
    assert.equal(taken.code, 1)
    assert.match(taken.errors, /BACKUP_FAILED/)
    const occupied = await run(['restore', backup])
    assert.match(occupied.errors, /already has keys/)

    const other = join(folder, 'restored')
    assert.equal((await run(['restore', backup], { dir: other })).code, 0)
    const { peerId } = node
    await node.stop()
    node = await startNode(other)
    assert.equal(node.peerId, peerId)
    assert.ok((await run(['fetch', cid], { dir: other })).raw.equals(bytes))
  })

  it('restores nothing of a backup that is not whole', async () => {
    const backup = join(folder, 'spoiled')
    assert.equal((await run(['backup', backup])).code, 0)
    await writeFile(join(backup, 'keys', 'private.key'), 'something else')
    const other = join(folder, 'never')
    const { code, errors } = await run(['restore', backup], { dir: other })
    assert.equal(code, 1)
    assert.match(errors, /not whole: keys\/private\.key/)
    await assert.rejects(readdir(other), { code: 'ENOENT' })
    await rm(join(backup, 'manifest.json'))
    assert.match((await run(['restore', backup], { dir: other })).errors, /no manifest\.json/)
  })

  it('backs up keys that lie elsewhere and are linked to', async () => {
    const linked = join(folder, 'linked')
    await mkdir(join(linked, 'keys'), { recursive: true })
    await writeFile(join(linked, 'keys', 'admin.token'), 'a token')
    await writeFile(join(folder, 'secret'), 'a key')
    await symlink(join(folder, 'secret'), join(linked, 'keys', 'private.key'))
    const backup = join(folder, 'backup-of-links')
    assert.equal((await run(['backup', backup], { dir: linked })).code, 0)
    assert.equal(await readFile(join(backup, 'keys', 'private.key'), 'utf8'), 'a key')
  })

  it('leaves no half of a node where a restore breaks off', async () => {
    await run(['store'], { stdin: 'a blob' })
    const backup = join(folder, 'unlucky')
    assert.equal((await run(['backup', backup, '--blobs'], { dir: dataDir })).code, 0)
    // Keys have paths that Linux takes there, blobs have not.
    let other = join(folder, 'long')
    while (other.length < LONGEST_PATH - 300) other = join(other, 'x'.repeat(200))
    other = join(other, 'x'.repeat(LONGEST_PATH - 51 - other.length))
    assert.equal((await run(['restore', backup], { dir: other })).code, 1)
    assert.deepEqual(await readdir(other), [])
  })
})
