import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { runCli } from './cli.ts'

const KEY = 'the-key'

/** An HTTP server that keeps the gateway's storage contract (D41–D45), with a map behind it. */
function storageServer(values: Map<string, Buffer>): Server {
  const send = (res: ServerResponse, status: number, body: unknown) =>
    res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  const handle = async (req: IncomingMessage, res: ServerResponse) => {
    const { pathname, searchParams } = new URL(req.url ?? '/', 'http://gateway')
    if (pathname === '/health') return send(res, 200, { status: 'ok' })
    if (pathname === '/v1/version') return send(res, 200, { version: '0.1.0' })
    if (req.headers['x-api-key'] !== KEY) return send(res, 401, { error: 'invalid API key' })
    const key = searchParams.get('key') ?? ''
    switch (`${req.method} ${pathname}`) {
      case 'POST /v1/storage/put': {
        const value = await buffer(req)
        values.set(key, value)
        return send(res, 201, { status: 'ok', key, size: value.byteLength })
      }
      case 'GET /v1/storage/get':
        if (!values.has(key)) return send(res, 404, { error: `key not found: ${key}` })
        return res.writeHead(200, { 'content-type': 'application/octet-stream' }).end(values.get(key))
      case 'POST /v1/storage/delete':
        if (!values.delete(key)) return send(res, 404, { error: `key not found: ${key}` })
        return send(res, 200, { status: 'ok', key })
      case 'GET /v1/storage/exists':
        return send(res, 200, { exists: values.has(key) })
      case 'GET /v1/storage/list': {
        const keys = [...values.keys()].filter(name => name.startsWith(searchParams.get('prefix') ?? '')).sort()
        return send(res, 200, { keys: keys.slice(0, Number(searchParams.get('limit') ?? 100)) })
      }
      default:
        return send(res, 404, { error: 'not found' })
    }
  }
  return createServer((req, res) => void handle(req, res))
}

describe('the command line', () => {
  let folder: string
  let server: Server
  let gateway: string
  const values = new Map<string, Buffer>()

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-cli-'))
    server = storageServer(values).listen(0, '127.0.0.1')
    await once(server, 'listening')
    gateway = `http://127.0.0.1:${(server.address() as { port: number }).port}`
  })
  after(async () => {
    server.close()
    server.closeAllConnections()
    await rm(folder, { recursive: true, force: true })
  })
  beforeEach(() => values.clear())

  async function run(args: string[], options: { env?: Record<string, string>; stdin?: string; cwd?: string } = {}) {
    const told: string[] = []
    const complaints: string[] = []
    const raw: Buffer[] = []
    const stdout = new Writable({
      write(chunk: Buffer, _encoding, done) {
        raw.push(chunk)
        done()
      }
    })
    const code = await runCli(args, {
      env: options.env ?? { WARREN_GATEWAY: gateway, WARREN_API_KEY: KEY },
      cwd: options.cwd ?? folder,
      stdin: (async function* () {
        yield Buffer.from(options.stdin ?? '')
      })(),
      stdout,
      print: text => told.push(text),
      complain: text => complaints.push(text)
    })
    return { code, out: told.join('\n'), errors: complaints.join('\n'), raw: Buffer.concat(raw).toString() }
  }

  it('puts from a file and from stdin, gets, lists, tells and deletes', async () => {
    const file = join(folder, 'note.txt')
    await writeFile(file, 'from a file')
    assert.deepEqual(await run(['storage', 'put', 'a/1', file]), { code: 0, out: 'a/1: 11 bytes', errors: '', raw: '' })
    const { out } = await run(['--json', 'storage', 'put', 'a/2'], { stdin: 'from stdin' })
    assert.deepEqual(JSON.parse(out), { status: 'ok', key: 'a/2', size: 10 })

    assert.equal((await run(['storage', 'get', 'a/2'])).raw, 'from stdin')
    const copy = join(folder, 'copy')
    assert.equal((await run(['storage', 'get', 'a/1', '-o', copy])).code, 0)
    assert.equal(await readFile(copy, 'utf8'), 'from a file')

    assert.equal((await run(['storage', 'list', '--prefix', 'a/'])).out, 'a/1\na/2')
    assert.deepEqual(JSON.parse((await run(['storage', 'list', '--limit', '1', '--json'])).out), ['a/1'])
    assert.deepEqual(await run(['storage', 'exists', 'a/1']), { code: 0, out: 'yes', errors: '', raw: '' })
    assert.equal((await run(['storage', 'delete', 'a/1'])).out, 'a/1: deleted')
    assert.deepEqual(await run(['storage', 'exists', 'a/1']), { code: 1, out: 'no', errors: '', raw: '' })
    assert.deepEqual(JSON.parse((await run(['version', '--json'])).out), { version: '0.1.0' })
    assert.equal((await run(['health'])).code, 0)
  })

  it('says what is wrong with a source or a URL before it asks anybody', async () => {
    const nowhere = { env: { WARREN_GATEWAY: 'http://127.0.0.1:9', WARREN_API_KEY: KEY } }
    assert.match((await run(['storage', 'put', 'k', folder], nowhere)).errors, /it is a folder.*SOURCE_UNREADABLE/)
    const absent = await run(['storage', 'put', 'k', join(folder, 'absent')], nowhere)
    assert.match(absent.errors, /absent cannot be read.*Name a file/)
    assert.match((await run(['health'], { env: { WARREN_GATEWAY: 'nonsense' } })).errors, /WARREN_GATEWAY.*URL_INVALID/)
    const unknown = await run(['frob'])
    assert.equal(unknown.code, 2)
    assert.match(unknown.errors, /--help/)
  })

  it('finds the running testnet from a folder below it', async () => {
    const below = join(folder, 'project', 'deep')
    await mkdir(below, { recursive: true })
    const place = join(folder, 'project', '.testnet', 'current')
    await mkdir(place, { recursive: true })
    await writeFile(join(place, 'endpoints.json'), JSON.stringify({ gateways: [gateway], apiKey: KEY }))
    assert.equal((await run(['storage', 'list'], { env: {}, cwd: below })).code, 0)
    const nowhere = await run(['health'], { env: {} })
    assert.equal(nowhere.code, 1)
    assert.match(nowhere.errors, /--gateway/)
  })

  it('says what went wrong, with an exit code', async () => {
    const wrongKey = await run(['storage', 'list', '--api-key', 'nonsense'])
    assert.equal(wrongKey.code, 1)
    assert.match(wrongKey.errors, /invalid API key\. \(HTTP_401\)/)
    const missing = await run(['storage', 'get', 'absent'])
    assert.equal(missing.code, 1)
    assert.match(missing.errors, /key not found: absent/)
    assert.match((await run(['storage', 'put', 'k', join(folder, 'no-file')])).errors, /no such file/)
    assert.match((await run(['health', '--gateway', 'http://127.0.0.1:1'])).errors, /does not answer/)
    assert.equal((await run(['storage', 'list', '--limit', 'many'])).code, 2)
    assert.equal((await run(['nonsense'])).code, 2)
    assert.equal((await run(['--help'])).code, 0)
  })
})
