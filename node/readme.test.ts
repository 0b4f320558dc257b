import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { CONFIG_VARIABLES, SETTINGS } from './config.ts'
import { HTTP_LIMITS } from './http/http-limits.ts'
import { type LimitSpec, NETWORK_LIMITS } from './net/limits.ts'
import { CEILINGS, HARD_PUNCH_LIMITS } from './net/punching/hard/hard-limits.ts'

const read = (path: string) => readFile(new URL(path, import.meta.url), 'utf8')

describe('the READMEs of the node', () => {
  it('have every variable of the configuration, and no other', async () => {
    const rows = (await read('./README.md')).matchAll(/^\| (`[A-Z0-9_]+`(?:, `[A-Z0-9_]+`)*) +\|/gm)
    const written = [...rows].flatMap(([, names]) => [...names!.matchAll(/`([A-Z0-9_]+)`/g)].map(([, name]) => name!))
    const others = written.filter(name => !CONFIG_VARIABLES.includes(name))
    assert.deepEqual(
      CONFIG_VARIABLES.filter(name => !written.includes(name)),
      []
    )
    // Variables that another file reads are described beside these; limits are in net/README.md.
    assert.deepEqual(
      others.filter(name => !name.startsWith('P2P_')),
      []
    )
  })

  it('have every limit with its values', async () => {
    const tables: Array<[string, Record<string, LimitSpec>]> = [
      ['./net/README.md', NETWORK_LIMITS],
      ['./http/README.md', HTTP_LIMITS]
    ]
    for (const [file, limits] of tables) {
      const text = await read(file)
      const missing = Object.values(limits).filter(({ env, default: usual, generous }) => {
        const row = new RegExp(`^\\| \`${env}\` +\\| ([\\d_.]+) +\\| ([\\d_.]+) +\\|`, 'm')
        const [, first, second] = row.exec(text) ?? []
        return Number(first) !== usual || Number(second) !== generous
      })
      assert.deepEqual(
        missing.map(({ env }) => env),
        []
      )
    }
  })

  it('have the defaults of the configuration', async () => {
    const rows = (await read('./README.md')).matchAll(/^\| (`[A-Z0-9_`, ]+?) +\| ([^|]*?) +\|/gm)
    const written = new Map(
      [...rows].flatMap(([, names = '', defaults = '']) => {
        const all = [...names.matchAll(/`([A-Z0-9_]+)`/g)].map(([, name]) => name!)
        const values = all.length === 1 ? [defaults] : defaults.split(', ')
        return all.map((name, at): [string, string] => [name, values[at] ?? values[0] ?? ''])
      })
    )
    // Words in the place of a value: `required`, `all`, and what is made of another setting.
    const isWords = (text: string) => /^(required|all|`)/.test(text)
    const wrong = [...SETTINGS].filter(([name, { fallback }]) => {
      const text = written.get(name)
      return text !== undefined && !isWords(text) && text !== fallback
    })
    assert.deepEqual(
      wrong.map(([name, { fallback }]) => [name, written.get(name), fallback]),
      []
    )
  })

  it('have every limit of hard punches with its default, ceiling and what testnets have instead', async () => {
    const text = await read('./net/punching/hard/README.md')
    const missing = Object.entries(HARD_PUNCH_LIMITS).filter(([name, { env, default: usual, generous }]) => {
      const row = new RegExp(`^\\| \`${env}\` +\\| (\\d+) +\\| (\\d*) +\\| (.*)\\|$`, 'm').exec(text)
      const [, first, ceiling, what = ''] = row ?? []
      const inTestnets = Number(/testnets: (\d+)/.exec(what)?.[1] ?? usual)
      const most = String((CEILINGS as Record<string, number>)[name] ?? '')
      return Number(first) !== usual || ceiling !== most || inTestnets !== generous
    })
    assert.deepEqual(
      missing.map(([, { env }]) => env),
      []
    )
  })
})
