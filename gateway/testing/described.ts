/** Holds answers of a running gateway to what `/openapi.json` says of them. Not for production code. */
import assert from 'node:assert/strict'
import { z } from 'zod'
import { splitRoute } from '../api/description.ts'
import type { Operation } from '../api/operation.ts'
import type { RunningGateway } from './fixtures.ts'

/** One request and its status; `at` is the row that it is a case of, as it stands in the operation. */
export type Case = [at: string, status: number, url: string, init?: RequestInit]

interface Media {
  schema?: Record<string, unknown>
}
interface Document {
  paths: Record<
    string,
    Record<string, { responses: Record<string, { description: string; content?: Record<string, Media> }> }>
  >
  components: { schemas: Record<string, Record<string, unknown>> }
}

/**
 * Asks every case in order, and fails when one is answered otherwise than described: status, content type, JSON, the code
 * of an error; or when an operation has a row without a case.
 */
export async function assertAnswersAsDescribed(
  running: Pick<RunningGateway, 'url' | 'ask'>,
  { operations, cases }: { operations: readonly Operation[]; cases: readonly Case[] }
): Promise<void> {
  const document = (await (await fetch(`${running.url}/openapi.json`)).json()) as Document
  const seen = new Set<string>()
  for (const [at, status, url, init = {}] of cases) {
    const where = `${init.method ?? 'GET'} ${url}`
    const answer = await running.ask(url, init)
    const body = Buffer.from(await answer.arrayBuffer())
    assert.equal(answer.status, status, `${where}: ${body}`)
    seen.add(at)
    const [method, path] = splitRoute(at)
    const form = document.paths[path.replace(/:(\w+)/g, '{$1}')]?.[method.toLowerCase()]?.responses[status]
    assert.ok(form, `${where} ${status} is not described`)
    if (form.content === undefined) {
      assert.equal(body.byteLength, 0, where)
      continue
    }
    const type = (answer.headers.get('content-type') ?? '').split(';')[0] as string
    const media = form.content[type]
    assert.ok(media, `${where}: ${type} is not described`)
    if (type !== 'application/json') continue
    const reference = /^#\/components\/schemas\/(\w+)$/.exec(String(media.schema?.$ref ?? ''))?.[1]
    const schema = reference === undefined ? media.schema : document.components.schemas[reference]
    const value = JSON.parse(body.toString())
    const parsed = z.fromJSONSchema(schema as never).safeParse(value)
    assert.ok(parsed.success, `${where}: ${parsed.error?.message}`)
    if (status >= 400 && reference === 'Failure') {
      assert.ok(form.description.includes(value.code), `${where}: ${value.code} is not described`)
    }
  }
  assert.deepEqual(
    operations.flatMap(({ at }) => at).filter(row => !seen.has(row)),
    [],
    'rows without a case'
  )
}
