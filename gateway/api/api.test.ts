import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { Validator } from '@seriousme/openapi-schema-validator'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { z } from 'zod'
import { assertAnswersAsDescribed, type Case } from '../testing/described.ts'
import { type RunningGateway, startGateway } from '../testing/fixtures.ts'
import { authOperations } from './auth-operations.ts'
import { splitRoute } from './description.ts'
import { DOCS_HEADERS, docsPage } from './docs.ts'
import { healthOperations } from './health-operations.ts'
import { operations } from './index.ts'
import { networkOperations } from './network-operations.ts'
import { pageOperations } from './page-operations.ts'
import { pubsubOperations } from './pubsub-operations.ts'
import { sqlOperations } from './sql-operations.ts'
import { storageOperations } from './storage-operations.ts'

interface Described {
  operationId: string
  security: Array<Record<string, unknown>>
  parameters?: Array<{ name: string; in: string }>
  requestBody?: unknown
}
interface Document {
  paths: Record<string, Record<string, Described>>
  components: { securitySchemes: Record<string, unknown> }
}

const json = (body: unknown): RequestInit => ({ method: 'POST', body: JSON.stringify(body) })
const STORAGE_CASES: Case[] = [
  ['PUT /v1/storage/put', 201, '/v1/storage/put?key=a', { method: 'PUT', body: '0123456789' }],
  ['PUT /v1/storage', 201, '/v1/storage?key=b', { method: 'PUT', body: 'v', headers: { 'X-TTL-Seconds': '60' } }],
  ['POST /v1/storage/put', 201, '/v1/storage/put', json({ key: 'c', value: 'dg==', ttl_seconds: 60 })],
  ['POST /v1/storage/put', 400, '/v1/storage/put', json({ key: 'c', value: '%' })],
  ['POST /v1/storage/put', 400, '/v1/storage/put?key=c', { method: 'POST', headers: { 'X-TTL-Seconds': 'x' } }],
  ['POST /v1/storage/put', 403, '/v1/storage/put?key=c&namespace=bob', { method: 'POST', body: 'v' }],
  ['PUT /v1/storage/put', 412, '/v1/storage/put?key=a', { method: 'PUT', headers: { 'If-None-Match': '*' } }],
  ['POST /v1/storage/put', 413, '/v1/storage/put', json({ key: 'c', value: 'A'.repeat(2 ** 20) })],
  ['POST /v1/storage/put', 503, '/v1/storage/put?key=c', { method: 'POST', body: 'x'.repeat(70_000) }],
  ['GET /v1/storage/get', 200, '/v1/storage/get?key=a'],
  ['GET /v1/storage/get', 200, '/v1/storage/get?key=b', { headers: { Accept: 'application/json' } }],
  ['GET /v1/storage/get', 206, '/v1/storage/get?key=a', { headers: { Range: 'bytes=1-2' } }],
  ['GET /v1/storage/get', 304, '/v1/storage/get?key=a', { headers: { 'If-None-Match': '*' } }],
  ['GET /v1/storage/get', 416, '/v1/storage/get?key=a', { headers: { Range: 'bytes=10-' } }],
  ['GET /v1/storage/get', 404, '/v1/storage/get?key=nobody'],
  ['GET /v1/storage', 200, '/v1/storage?key=a'],
  ['GET /v1/storage', 400, '/v1/storage'],
  ['POST /v1/storage/get', 200, '/v1/storage/get', json({ key: 'a' })],
  ['GET /v1/storage/exists', 200, '/v1/storage/exists?key=a'],
  ['POST /v1/storage/exists', 200, '/v1/storage/exists', json({ key: 'nobody' })],
  ['GET /v1/storage/list', 200, '/v1/storage/list'],
  ['GET /v1/storage/list', 200, '/v1/storage/list?limit=1'],
  ['GET /v1/storage/list', 400, '/v1/storage/list?cursor=x'],
  ['POST /v1/storage/delete', 412, '/v1/storage/delete?key=a', { method: 'POST', headers: { 'If-Match': '"x"' } }],
  ['POST /v1/storage/delete', 200, '/v1/storage/delete', json({ key: 'a' })],
  ['DELETE /v1/storage/delete', 200, '/v1/storage/delete?key=b', { method: 'DELETE' }],
  ['DELETE /v1/storage/delete', 404, '/v1/storage/delete?key=b', { method: 'DELETE' }]
]

const sqlCases = (base: string): Case[] => {
  const at = (name: string) => `POST ${base}/${name}`
  const ask = (name: string, status: number, body: unknown): Case => [at(name), status, `${base}/${name}`, json(body)]
  return [
    ask('create-table', 201, { schema: 'CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)' }),
    ask('create-table', 400, { schema: 'DROP TABLE t' }),
    ask('exec', 200, { sql: 'INSERT INTO t (b) VALUES (?)', args: ['x'] }),
    ask('exec', 403, { sql: "ATTACH 'x' AS y" }),
    ask('query', 200, { sql: 'SELECT * FROM t' }),
    ask('query', 400, { sql: 'SELECT 1; SELECT 2' }),
    ask('transaction', 200, {
      ops: [{ kind: 'query', sql: 'SELECT 1' }, { sql: 'DELETE FROM t' }],
      return_results: true
    }),
    ask('find', 200, { table: 't' }),
    ask('find-one', 404, { table: 't' }),
    ask('select', 200, { table: 't' }),
    [`GET ${base}/schema`, 200, `${base}/schema`],
    [`GET ${base}/backup`, 200, `${base}/backup`],
    [`GET ${base}/export`, 200, `${base}/export?format=jsonl`],
    [`GET ${base}/export`, 400, `${base}/export?format=x`],
    [at('restore'), 400, `${base}/restore`, { method: 'POST', body: 'no database' }],
    ask('drop-table', 200, { table: 't' }),
    ask('drop-table', 404, { table: 't' })
  ]
}

describe('the description of the API', () => {
  let running: RunningGateway
  let document: Document

  before(async () => {
    running = await startGateway()
    document = (await (await fetch(`${running.url}/openapi.json`)).json()) as Document
  })
  after(() => running[Symbol.asyncDispose]())

  /** Every operation that is described, without HEAD, which the router adds itself. */
  const described = () =>
    Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([method]) => method !== 'head')
        .map(([method, operation]) => ({ row: `${method.toUpperCase()} ${path}`, operation }))
    )
  const named = (row: string) => row.replace(/:(\w+)/g, '{$1}')

  it('has every route that is mounted, once, and no other', () => {
    const mounted = running.gateway.routes.map(({ method, path }) => named(`${method} ${path}`))
    assert.deepEqual(
      described()
        .map(({ row }) => row)
        .sort(),
      mounted.sort()
    )
    const written = operations.flatMap(({ at }) => at)
    assert.equal(new Set(written).size, written.length)
  })

  it('has the rows of the README, with their access', async () => {
    const text = await readFile(new URL('../README.md', import.meta.url), 'utf8')
    const rows = [...text.matchAll(/^\| (`(?:GET|HEAD|POST|PUT|PATCH|DELETE) [^|]*) \| *([^|]+?) *\|/gm)].flatMap(
      ([, names, access]) =>
        [...(names as string).matchAll(/`([A-Z]+ [^`]+)`/g)].map(([, name]) => `${named(name as string)} ${access}`)
    )
    const ours = operations.flatMap(({ at, access }) => at.map(row => `${named(row)} ${access}`))
    assert.deepEqual(ours.sort(), rows.sort())
  })

  it('says who may ask as it is served: 401 to a stranger where a credential is asked for, and only there', async () => {
    for (const { row, operation } of described()) {
      const [method, path] = splitRoute(row)
      const answer = await fetch(running.url + path.replace(/\{\w+\}/g, 'x'), { method })
      await answer.arrayBuffer()
      assert.equal(answer.status === 401, operation.security.length > 0, row)
      for (const scheme of operation.security) {
        for (const name of Object.keys(scheme)) assert.ok(name in document.components.securitySchemes, name)
      }
    }
  })

  it('holds against the schema of OpenAPI 3.1, which finds a document that does not', async () => {
    assert.deepEqual(await new Validator().validate(structuredClone({ ...document })), { valid: true })
    const [[path, methods] = []] = Object.entries(document.paths)
    const spoiled = { ...document, paths: { [path!]: { ...methods, get: { responses: { nonsense: {} } } } } }
    assert.equal((await new Validator().validate(spoiled)).valid, false)
  })

  it('is sound: ids are unique, members of paths are described, codes are those of the gateway', async () => {
    const files = ['../errors.ts', '../auth/errors.ts', '../sql/errors.ts', '../pubsub/errors.ts'].map(name =>
      readFile(new URL(name, import.meta.url), 'utf8')
    )
    const source = (await Promise.all(files)).join('\n')
    const codes = new Set([...source.matchAll(/super\(\s*'([A-Z_]+)'/g)].map(([, code]) => code as string))
    assert.ok(codes.size > 20)
    const ids = new Set<string>()
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const where = `${method} ${path}`
        assert.ok(!ids.has(operation.operationId), `${where} has the id of another`)
        ids.add(operation.operationId)
        const inPath = (operation.parameters ?? []).filter(parameter => parameter.in === 'path')
        assert.deepEqual(inPath.map(({ name }) => `{${name}}`).sort(), (path.match(/\{\w+\}/g) ?? []).sort(), where)
        if (method === 'get' || method === 'head') assert.equal(operation.requestBody, undefined, where)
      }
    }
    for (const { at, errors = {} } of operations) {
      for (const code of Object.values(errors).flat()) assert.ok(codes.has(code), `${at[0]}: ${code}`)
    }
  })

  it('is what the gateway answers of its pages, its health and the network', async () => {
    await assertAnswersAsDescribed(running, {
      operations: [...healthOperations, ...networkOperations, ...pageOperations],
      cases: [
        ...[
          '/',
          '/docs',
          '/openapi.json',
          '/health',
          '/v1/health',
          '/status',
          '/v1/status',
          '/v1/version',
          '/ready'
        ].map((path): Case => [`GET ${path}`, 200, path]),
        ['GET /metrics', 200, '/metrics'],
        ['GET /v1/network/hosts', 200, '/v1/network/hosts'],
        ['GET /v1/network/hosts', 200, '/v1/network/hosts?as=html'],
        ['GET /v1/network/ws', 426, '/v1/network/ws'],
        ['GET /v1/network/peers', 200, '/v1/network/peers'],
        ['GET /v1/network/status', 200, '/v1/network/status'],
        ['GET /v1/network/status', 401, '/v1/network/status', { headers: { 'X-API-Key': 'wrong' } }]
      ]
    })
  })

  it('is what the gateway answers of logging in, and of apps', async () => {
    const account = privateKeyToAccount(generatePrivateKey())
    const wallet = account.address
    const signed = async (namespace: string): Promise<RequestInit> => {
      const answer = await fetch(`${running.url}/v1/auth/challenge`, json({ wallet, namespace }))
      const { nonce } = (await answer.json()) as { nonce: string }
      return json({ wallet, namespace, nonce, signature: await account.signMessage({ message: nonce }) })
    }
    const app = json({ name: 'a', public_key: 'k' })
    await assertAnswersAsDescribed(running, {
      operations: authOperations,
      cases: [
        ['POST /v1/auth/challenge', 200, '/v1/auth/challenge', json({ wallet, namespace: 'carol' })],
        ['POST /v1/auth/challenge', 400, '/v1/auth/challenge', json({ wallet: 'x' })],
        ['POST /v1/auth/verify', 200, '/v1/auth/verify', await signed('carol')],
        ['POST /v1/auth/verify', 400, '/v1/auth/verify', json({ wallet, nonce: 'x', signature: '0x00' })],
        ['POST /v1/auth/register', 201, '/v1/auth/register', await signed('carol')],
        ['POST /v1/auth/api-key', 200, '/v1/auth/api-key', await signed('carol')],
        ['POST /v1/auth/refresh', 401, '/v1/auth/refresh', json({ refresh_token: 'x' })],
        ['POST /v1/auth/logout', 200, '/v1/auth/logout', json({ refresh_token: 'x' })],
        ['POST /v1/auth/token', 200, '/v1/auth/token', { method: 'POST' }],
        ['GET /v1/auth/whoami', 200, '/v1/auth/whoami'],
        ['GET /v1/auth/jwks', 200, '/v1/auth/jwks'],
        ['GET /.well-known/jwks.json', 200, '/.well-known/jwks.json'],
        ['GET /v1/auth/login', 200, '/v1/auth/login?callback=http://127.0.0.1:1/'],
        ['GET /v1/auth/login.js', 200, '/v1/auth/login.js'],
        ['GET /v1/auth/login.css', 200, '/v1/auth/login.css'],
        ['POST /v1/apps', 201, '/v1/apps', app],
        ['POST /v1/apps', 400, '/v1/apps', json({})],
        ['GET /v1/apps', 200, '/v1/apps'],
        ['GET /v1/apps/:app_id', 404, '/v1/apps/x'],
        ['PUT /v1/apps/:app_id', 404, '/v1/apps/x', { ...app, method: 'PUT' }],
        ['DELETE /v1/apps/:app_id', 404, '/v1/apps/x', { method: 'DELETE' }]
      ]
    })
  })

  it('is what the gateway answers of pub/sub', async () => {
    const publish = '/v1/pubsub/publish'
    await assertAnswersAsDescribed(running, {
      operations: pubsubOperations,
      cases: [
        ['GET /v1/pubsub/ws', 426, '/v1/pubsub/ws?topic=a'],
        ['POST /v1/pubsub/publish', 200, publish, json({ topic: 'a', data_base64: 'aGk=' })],
        ['POST /v1/pubsub/publish', 400, publish, json({ topic: 'a::b', data_base64: 'aGk=' })],
        ['GET /v1/pubsub/topics', 200, '/v1/pubsub/topics'],
        ['GET /v1/pubsub/presence', 200, '/v1/pubsub/presence?topic=a'],
        ['GET /v1/pubsub/presence', 400, '/v1/pubsub/presence']
      ]
    })
  })

  it('is what the gateway answers of SQL', async () => {
    await assertAnswersAsDescribed(running, {
      operations: sqlOperations,
      cases: ['/v1/db', '/v1/rqlite'].flatMap(sqlCases)
    })
  })

  it('is what the gateway answers of key-value storage', async () => {
    await assertAnswersAsDescribed(running, { operations: storageOperations, cases: STORAGE_CASES })
  })
})

describe('the page of the API', () => {
  it('has every route, its own style, and nothing from outside', async () => {
    await using running = await startGateway()
    const answer = await fetch(`${running.url}/docs`)
    const text = await answer.text()
    assert.equal(answer.headers.get('content-type'), 'text/html; charset=utf-8')
    for (const [name, value] of Object.entries(DOCS_HEADERS)) assert.equal(answer.headers.get(name), value)
    assert.match(DOCS_HEADERS['Content-Security-Policy'] ?? '', /^default-src 'none'; style-src 'sha256-[^']+';/)
    for (const { method, path } of running.gateway.routes) assert.ok(text.includes(`<code>${method} ${path}</code>`))
    assert.doesNotMatch(text, /<script|<link|<img|\bsrc=|href="(?![/#])|url\(|@import/i)
    for (const [, anchor] of text.matchAll(/href="#([^"]+)"/g)) assert.ok(text.includes(`id="${anchor}"`), anchor)
  })

  it('writes what is described as text', () => {
    const answers = { 200: { description: '<b>', body: z.object({ a: z.string().describe('<i>') }) } }
    const page = docsPage([{ at: ['GET /x'], tag: '"><u>', summary: '<script>', access: 'public', answers }], {
      version: '<s>'
    })
    assert.doesNotMatch(page, /<(?:b|i|u|s|script)>/)
  })
})
