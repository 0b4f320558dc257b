import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Validator } from '@seriousme/openapi-schema-validator'
import { z } from 'zod'
import { cidOf } from '../../blobs/cid.ts'
import { startNode, startNodes, type TestNode } from '../../testing.ts'
import { createRouter, type RoutesOptions } from '../server.ts'
import { describe as documentOf, operations } from './description.ts'

interface Media {
  schema?: Record<string, unknown>
}
interface Described {
  operationId: string
  parameters?: Array<{ name: string; in: string; required: boolean; schema: Record<string, unknown> }>
  requestBody?: { content: Record<string, Media> }
  responses: Record<string, { description: string; content?: Record<string, Media> }>
}
interface Document {
  openapi: string
  info: { title: string; version: string }
  paths: Record<string, Record<string, Described>>
  components: { schemas: Record<string, Record<string, unknown>> }
}

const METHODS = new Set(['get', 'head', 'post', 'put', 'delete', 'patch', 'options', 'trace'])

/** Every `$ref` of a document. */
function refs(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, item]) => (key === '$ref' ? [String(item)] : refs(item)))
}

describe('the description of the API', function () {
  this.timeout(30_000)
  let nodes: TestNode[] & AsyncDisposable
  let peer: TestNode
  let document: Document

  before(async () => {
    nodes = await startNodes(2)
    peer = nodes[0]!
    document = (await (await fetch(`${peer.url}/openapi.json`)).json()) as Document
  })
  after(() => nodes[Symbol.asyncDispose]())

  it('has every route of the router, and no other', () => {
    // Nothing is called: the routes are only looked at.
    const given = {
      http: { limits: {}, metrics: true },
      status: {},
      keeping: {},
      nodeUrl: null
    } as unknown as RoutesOptions
    const routed = createRouter(given).stack.flatMap(({ methods, path }) =>
      methods.map(method => `${method.toLowerCase()} ${String(path).replace(/:(\w+)/g, '{$1}')}`)
    )
    const described = Object.entries(document.paths).flatMap(([path, of]) =>
      Object.keys(of).map(method => `${method} ${path}`)
    )
    assert.deepEqual(described.sort(), routed.sort())
  })

  it('holds against the schema of OpenAPI 3.1, which finds a document that does not', async () => {
    assert.deepEqual(await new Validator().validate(structuredClone({ ...document })), { valid: true })
    const [[path, of] = []] = Object.entries(document.paths)
    const spoiled = { ...document, paths: { [path!]: { ...of, get: { responses: { nonsense: {} } } } } }
    assert.equal((await new Validator().validate(spoiled)).valid, false)
  })

  it('is sound by the rules of OpenAPI 3.1', () => {
    assert.match(document.openapi, /^3\.1\.\d+$/)
    assert.ok(document.info.title && document.info.version)
    const ids = new Set<string>()
    for (const [path, of] of Object.entries(document.paths)) {
      assert.match(path, /^\//)
      for (const [method, operation] of Object.entries(of)) {
        const where = `${method} ${path}`
        assert.ok(METHODS.has(method), where)
        assert.ok(!ids.has(operation.operationId), `${where} has the id of another`)
        ids.add(operation.operationId)
        const inPath = (operation.parameters ?? []).filter(parameter => parameter.in === 'path')
        assert.ok(inPath.every(({ required }) => required))
        assert.deepEqual(inPath.map(({ name }) => `{${name}}`).sort(), (path.match(/\{\w+\}/g) ?? []).sort(), where)
        assert.ok(Object.values(operation.responses).every(({ description }) => description !== ''))
        for (const status of Object.keys(operation.responses)) assert.match(status, /^([1-5]\d\d|default)$/)
      }
    }
    for (const ref of refs(document)) {
      assert.match(ref, /^#\/components\/schemas\/\w+$/)
      assert.ok(ref.split('/').at(-1)! in document.components.schemas, ref)
    }
  })

  it('is what the node answers', async () => {
    const bytes = randomBytes(100)
    const ciphertext = bytes.toString('base64')
    const token = (await readFile(join(peer.dataDir, 'keys', 'admin.token'), 'utf8')).trim()
    const authorization = `Bearer ${token}`
    const json = { 'content-type': 'application/json', authorization }
    const other = nodes[1]!
    const stored = await fetch(`${peer.url}/store`, { method: 'POST', body: bytes })
    const { cid } = (await stored.json()) as { cid: string }
    const foreign = await cidOf([Buffer.from('of somebody else')])
    const post = (path: string, body: unknown): [string, RequestInit] => [
      path,
      { method: 'POST', headers: json, body: JSON.stringify(body) }
    ]
    const cases: Array<[string, number, string, RequestInit?]> = [
      ...operations
        .filter(({ method }) => method === 'get')
        .map(({ path }): [string, number, string, RequestInit] => [
          path,
          200,
          path.replace(':cid', cid),
          { headers: { authorization } }
        ]),
      ['/health', 200, '/health?deep=1'],
      ['/pin/list', 401, '/pin/list'],
      ['/peers/connect', 401, '/peers/connect', { method: 'POST' }],
      ['/proofs/generate', 200, ...post('/proofs/generate', { cid, challenge: randomBytes(32).toString('hex') })],
      [
        '/proofs/generate',
        200,
        ...post('/proofs/generate', { cid, mode: 'leaves', challenge: randomBytes(32).toString('hex') })
      ],
      ['/proofs/generate', 400, ...post('/proofs/generate', { cid, challenge: 'x' })],
      ['/proofs/:cid', 200, `/proofs/${cid}`],
      ['/status', 200, '/status'],
      ['/pin/:cid', 201, ...post(`/pin/${cid}`, {})],
      ['/pin/:cid', 200, ...post(`/pin/${cid}`, {})],
      ['/pin/list', 200, '/pin/list', { headers: { authorization } }],
      ['/admin/blob/:cid', 409, `/admin/blob/${cid}`, { method: 'DELETE', headers: { authorization } }],
      ['/pin/:cid', 200, `/pin/${cid}`, { method: 'DELETE', headers: { authorization } }],
      ['/pin/bulk', 200, ...post('/pin/bulk', { cids: [cid, 'x'], action: 'unpin' })],
      ['/admin/gc', 200, ...post('/admin/gc?simulate=true', {})],
      ['/admin/gc', 400, ...post('/admin/gc?simulate=yes', {})],
      ['/gc/status', 200, '/gc/status'],
      ['/admin/scrub', 202, ...post('/admin/scrub', {})],
      ['/admin/blocked/:cid', 201, ...post(`/admin/blocked/${foreign}`, { reason: 'a test' })],
      ['/admin/blocked/:cid', 200, ...post(`/admin/blocked/${foreign}`, {})],
      ['/admin/blocked', 200, '/admin/blocked', { headers: { authorization } }],
      ['/admin/blocked/:cid', 200, `/admin/blocked/${foreign}`, { method: 'DELETE', headers: { authorization } }],
      ['/store', 200, ...post('/store', { ciphertext })],
      ['/store', 201, ...post('/store', { ciphertext: `${ciphertext.slice(0, -4)}AAAA`, mimeType: 'text/plain' })],
      ['/store', 201, '/store', { method: 'POST', body: randomBytes(10) }],
      ['/store', 400, '/store', { method: 'POST' }],
      ['/store', 400, ...post('/store', { ciphertext: 'no base64!' })],
      ['/replicate', 200, ...post('/replicate', { cid, ciphertext })],
      ['/peers/connect', 200, ...post('/peers/connect', { multiaddr: other.node.addresses()[0] })],
      ['/peers/connect', 400, ...post('/peers/connect', { multiaddr: '/ip4/127.0.0.1/tcp/1' })],
      ['/retrieve/:cid', 206, `/retrieve/${cid}`, { headers: { range: 'bytes=0-1' } }],
      ['/retrieve/:cid', 304, `/retrieve/${cid}`, { headers: { 'if-none-match': `"${cid}"` } }],
      ['/retrieve/:cid', 416, `/retrieve/${cid}`, { headers: { range: 'bytes=1000-' } }],
      ['/retrieve/:cid', 400, '/retrieve/x'],
      ['/blobs', 400, '/blobs?limit=x', { headers: { authorization } }],
      ['/blobs', 401, '/blobs'],
      ['/replicate', 400, ...post('/replicate', { cid, ciphertext: `${ciphertext}AAAA`.slice(4) })],
      ['/admin/blob/:cid', 404, `/admin/blob/${cid}`, { method: 'DELETE', headers: { authorization } }],
      ['/store', 201, '/store', { method: 'POST', body: bytes }],
      ['/admin/blob/:cid', 200, `/admin/blob/${cid}?force=true`, { method: 'DELETE', headers: { authorization } }]
    ]
    const seen = new Set<string>()
    for (const [path, status, url, init] of cases) {
      const method = (init?.method ?? 'GET').toLowerCase()
      // What is here already is not compared again.
      if (path === '/replicate' && status === 400) await peer.node.store.delete(cid)
      const answer = await fetch(`${peer.url}${url}`, init)
      const where = `${method} ${url} ${JSON.stringify(init?.body ?? '')}`
      assert.equal(answer.status, status, `${where}: ${answer.status === status ? '' : await answer.text()}`)
      const described = document.paths[path.replace(/:(\w+)/g, '{$1}')]?.[method]
      const form = described?.responses[status]
      assert.ok(form, `${where} ${status} is not described`)
      seen.add(`${method} ${path}`)
      const type = (answer.headers.get('content-type') ?? '').split(';')[0]!
      const media = form.content?.[type]
      if (media?.schema === undefined || type !== 'application/json') {
        await answer.arrayBuffer()
        assert.ok(status === 304 || form.content === undefined || type in form.content || '*/*' in form.content, where)
        continue
      }
      const reference = /^#\/components\/schemas\/(\w+)$/.exec(String(media.schema.$ref ?? ''))?.[1]
      const schema = reference === undefined ? media.schema : document.components.schemas[reference]!
      const body = await answer.json()
      const parsed = z.fromJSONSchema(schema as never).safeParse(body)
      assert.ok(parsed.success, `${where}: ${parsed.error?.message}`)
    }
    const missed = operations.filter(({ method, path }) => !seen.has(`${method} ${path}`))
    assert.deepEqual(
      missed.map(({ path }) => path),
      []
    )
  })

  it('tells where the node is reached, and not of metrics that are not served', async () => {
    await using quiet = await startNode({ METRICS_ENABLED: 'false', NODE_URL: 'https://node.example/' })
    const its = (await (await fetch(`${quiet.url}/openapi.json`)).json()) as Document & { servers: unknown }
    assert.deepEqual(its.servers, [{ url: 'https://node.example' }])
    assert.equal('/metrics' in its.paths, false)
    assert.equal((await fetch(`${quiet.url}/metrics`)).status, 404)
    assert.deepEqual(documentOf(operations, { nodeUrl: null }).servers, [{ url: '/' }])
  })
})
