import { deepEqual, ok } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { files, ROOT } from './tree.ts'

const text = (path: string): string => readFileSync(join(ROOT, path), 'utf8')
const sources = ['node', 'relay', 'client']
  .flatMap(room => files('.ts', join(ROOT, room)))
  .filter(path => !path.endsWith('.test.ts'))
  .map(text)
  .join('\n')
const guide = text('docs/operations.md')

describe('the operator’s guide', () => {
  it('names error codes that there are', () => {
    const codes = new Set([...guide.matchAll(/`([A-Z]+(?:_[A-Z]+)+|BUSY|UNAUTHORIZED)`/g)].map(([, code]) => code!))
    const unknown = [...codes].filter(
      code => !sources.includes(`'${code}'`) && !new RegExp(`\\b${code}:|env\\.${code}\\b`).test(sources)
    )
    deepEqual(unknown, [])
  })

  it('names variables, metrics and commands that there are', () => {
    const variables = new Set(
      [
        ...guide.matchAll(
          /\b((?:P2P|GC|RELAY|NODE|MAX|OWNER|VAULT|RPC|ADMIN|SHARD|FAILURE|REPLICATION|COMPRESSION|DATA)_[A-Z0-9_]+)\b/g
        )
      ].map(([, name]) => name!)
    )
    deepEqual(
      [...variables].filter(name => !sources.includes(name)),
      []
    )
    const commands = new Set([...guide.matchAll(/warren node ([a-z]+)/g)].map(([, name]) => name!))
    ok(commands.size > 6)
    deepEqual(
      [...commands].filter(name => !sources.includes(`.command('${name}')`) && !['status', 'health'].includes(name)),
      []
    )
  })
})

describe('the alert rules', () => {
  it('are about metrics that there are, each with what to do', () => {
    const { groups } = parse(text('docs/alerts.yml')) as {
      groups: Array<{ rules: Array<{ alert: string; expr: string; annotations: { summary: string; do: string } }> }>
    }
    for (const { alert, expr, annotations } of groups.flatMap(({ rules }) => rules)) {
      ok(annotations.summary !== '' && annotations.do !== '', alert)
      for (const [, metric] of expr.matchAll(/\b(warren_[a-z_]+?)(?:_count)?\b(?=[{[ /)]|$)/g)) {
        ok(sources.includes(`'${metric}'`), `${alert}: ${metric}`)
      }
    }
  })
})
