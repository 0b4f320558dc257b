/**
 * `make example`: serves the example page and the browser client it uses, to this machine alone.
 * `--port 8090 --relay http://127.0.0.1:9090/`
 */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bundleBrowser } from '../browser/bundle.ts'

const DEFAULT_PORT = '8090'

/** The page loads only what is here, and speaks to whatever relay and nodes there are. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  'connect-src http: https: ws: wss:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'"
].join('; ')

const file = (name: string): Promise<Uint8Array> => readFile(join(import.meta.dirname, name))

/** Path → what is there. */
async function contents(): Promise<Map<string, { type: string; body: Uint8Array }>> {
  const [{ code }, html, css, js] = await Promise.all([
    bundleBrowser(),
    file('index.html'),
    file('page.css'),
    file('page.js')
  ])
  return new Map([
    ['/', { type: 'text/html; charset=utf-8', body: html }],
    ['/page.css', { type: 'text/css; charset=utf-8', body: css }],
    ['/page.js', { type: 'text/javascript; charset=utf-8', body: js }],
    ['/warren.js', { type: 'text/javascript; charset=utf-8', body: code }]
  ])
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { port: { type: 'string', default: DEFAULT_PORT }, relay: { type: 'string' } }
  })
  const there = await contents()
  const server = createServer((request, response) => {
    const found = there.get(new URL(request.url ?? '/', 'http://localhost').pathname)
    if (found === undefined) response.writeHead(404, { 'content-type': 'text/plain' }).end('Not found\n')
    else {
      const headers = { 'content-type': found.type, 'content-security-policy': POLICY, 'cache-control': 'no-store' }
      response.writeHead(200, headers).end(request.method === 'HEAD' ? undefined : found.body)
    }
  })
  server.listen(Number(values.port), '127.0.0.1')
  await once(server, 'listening')
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  if (values.relay !== undefined) url.searchParams.set('relay', values.relay)
  // Programs wait for the line; a person is told what to do with it.
  const isPerson = process.stdout.isTTY === true
  process.stdout.write(`${isPerson ? `Open ${url.href}` : JSON.stringify({ ready: true, url: url.href })}\n`)
  process.once('SIGTERM', () => process.exit(0)).once('SIGINT', () => process.exit(0))
}

main().catch((error: Error) => {
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
})
