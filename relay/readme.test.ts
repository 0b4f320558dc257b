import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { RELAY_LIMITS } from '../node/index.ts'
import { CONFIG_VARIABLES, readConfig } from './config.ts'

describe('the README of the relay', () => {
  let text: string
  before(async () => {
    text = await readFile(new URL('./README.md', import.meta.url), 'utf8')
  })

  it('has every variable of the configuration, and no other', () => {
    const rows = text.matchAll(/^\| (`[A-Z0-9_]+`(?:, `[A-Z0-9_]+`)*) +\|/gm)
    const written = [...rows].flatMap(([, names]) => [...names!.matchAll(/`([A-Z0-9_]+)`/g)].map(([, name]) => name!))
    const known = [...CONFIG_VARIABLES, ...Object.values(RELAY_LIMITS).map(({ env }) => env)]
    assert.deepEqual(written.toSorted(), known.toSorted())
  })

  it('has every limit with its values', () => {
    for (const { env, default: usual, generous } of Object.values(RELAY_LIMITS)) {
      const [, first, second] = new RegExp(`^\\| \`${env}\` +\\| (\\d+) +\\| (\\d+) +\\|`, 'm').exec(text) ?? []
      assert.deepEqual([first, second].map(Number), [usual, generous], env)
    }
  })

  it('has the defaults that the configuration gives', () => {
    const { listen, healthPort, limits, reflector } = readConfig({})
    assert.equal(listen.pop(), '/ip4/0.0.0.0/tcp/4003/ws')
    for (const [name, value] of [
      ['RELAY_LISTEN_ADDRESSES', listen.join(',')],
      ['RELAY_WS_PORT', '4003'],
      ['RELAY_HEALTH_PORT', String(healthPort)],
      ['RELAY_MAX_CONNECTIONS', String(limits.maxConnections)],
      ['P2P_REFLECTOR_PORTS', reflector.ports.join(',')]
    ] as const) {
      const [, cell] = new RegExp(`^\\| \`${name}\`[^|]*\\| *([^|]+?) *\\|`, 'm').exec(text) ?? []
      assert.ok(cell?.replaceAll('`', '').startsWith(value), `${name}: ${cell} is to be ${value}`)
    }
  })

  it('reads every variable that it names', () => {
    const asked = new Set<string>()
    const env = new Proxy({} as Record<string, string>, {
      get(target, name) {
        asked.add(String(name))
        return target[String(name)]
      }
    })
    readConfig(env)
    assert.deepEqual(
      CONFIG_VARIABLES.filter(name => !asked.has(name)),
      []
    )
  })
})
