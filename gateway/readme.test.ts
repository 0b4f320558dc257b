import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { startGateway } from './testing/fixtures.ts'

describe('the README', () => {
  it('has exactly the routes that are served, with their access', async () => {
    const text = await readFile(new URL('./README.md', import.meta.url), 'utf8')
    const written = [...text.matchAll(/^\| (`(?:GET|POST|PUT|DELETE) [^|]*) \| (public|key) +\|/gm)].flatMap(
      ([, names, access]) => [...(names as string).matchAll(/`([A-Z]+ [^`]+)`/g)].map(([, name]) => `${name} ${access}`)
    )
    await using running = await startGateway()
    const served = await Promise.all(
      running.gateway.routes.map(async ({ method, path }) => {
        const { status } = await fetch(running.url + path, { method })
        return `${method} ${path} ${status === 401 ? 'key' : 'public'}`
      })
    )
    assert.deepEqual(written.sort(), served.sort())
  })

  it('has exactly the codes of SQL, with their status', async () => {
    const [text, source] = await Promise.all(
      ['./README.md', './sql/errors.ts'].map(path => readFile(new URL(path, import.meta.url), 'utf8'))
    )
    const written = [...text!.matchAll(/^\| `(SQL_[A-Z_]+)` +\| (\d{3}) +\|/gm)].map(
      ([, code, status]) => `${code} ${status}`
    )
    const thrown = [...source!.matchAll(/super\(\s*'(SQL_[A-Z_]+)',\s*(\d{3}),/g)].map(
      ([, code, status]) => `${code} ${status}`
    )
    assert.ok(thrown.length > 10)
    assert.deepEqual(written.sort(), thrown.sort())
  })
})
