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

  it('has exactly the codes there are, with their status', async () => {
    const [text, ...sources] = await Promise.all(
      ['./README.md', './errors.ts', './auth/errors.ts', './sql/errors.ts', './pubsub/errors.ts', './failures.ts'].map(
        path => readFile(new URL(path, import.meta.url), 'utf8')
      )
    )
    const written = [...text!.matchAll(/^\| `([A-Z_]+)` +\| (\d{3}|start) +\|/gm)].map(
      ([, code, status]) => `${code} ${status}`
    )
    const classes = sources.flatMap(source => source.split(/^(?=\/\*\* )/m))
    const thrown = classes.flatMap(source =>
      [...source.matchAll(/(?:super|new GatewayError)\(\s*'([A-Z_]+)',\s*(\d{3})?/g)].map(([, code, status]) => {
        const isAtStart = source.startsWith('/** Thrown at start')
        // A login that fails has its status from the class that all of them are.
        return `${code} ${isAtStart ? 'start' : (status ?? 401)}`
      })
    )
    assert.ok(thrown.length > 60)
    assert.deepEqual(written.sort(), thrown.sort())
  })

  it('has exactly the variables that are read, apart from those it leaves to other READMEs', async () => {
    const [text, source] = await Promise.all(
      ['./README.md', './config.ts'].map(path => readFile(new URL(path, import.meta.url), 'utf8'))
    )
    const environment = /\n## Environment\n(.*?)\n## /s.exec(text!)?.[1] as string
    const written = [...environment.matchAll(/^\| ((?:`[A-Z0-9_]+`(?:, )?)+)(, …)? +\|/gm)]
      .filter(([, , more]) => more === undefined)
      .flatMap(([, names]) => [...(names as string).matchAll(/`([A-Z0-9_]+)`/g)].map(([, name]) => name))
    const read = [...source!.matchAll(/^ {2}([A-Z][A-Z0-9_]+): /gm)].map(([, name]) => name)
    assert.ok(read.length > 20)
    assert.deepEqual(written.sort(), read.sort())
  })
})
