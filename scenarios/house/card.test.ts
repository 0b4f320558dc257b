import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { files, importsOf, ROOT } from './tree.ts'

/** What the project's card names; k6 arrives with the gateway's load tests. */
const PACKAGES = [
  'libp2p',
  '@libp2p/tcp',
  '@libp2p/websockets',
  '@chainsafe/libp2p-gossipsub',
  '@libp2p/kad-dht',
  '@libp2p/autonat',
  '@libp2p/dcutr',
  'koa',
  'ws',
  'knex',
  'sqlite3',
  'hardhat',
  'testcontainers',
  'mocha'
]

const TOP_LEVEL = [
  'package.json',
  'node',
  'relay',
  'gateway',
  'contracts',
  'compose',
  'netem',
  'scenarios',
  'migrations',
  'Makefile',
  'README.md'
]

interface Manifest {
  scripts: Record<string, string>
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
  optionalDependencies: Record<string, string>
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest
const declared = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies }

/** Imported by a file that is not a test, or run by a script (mocha), or named as knex's client (sqlite3). */
function users(name: string): string[] {
  if (name === 'mocha') return Object.values(manifest.scripts).filter(script => script.includes('mocha'))
  const sources = files('.ts').filter(file => !file.endsWith('.test.ts'))
  if (name === 'sqlite3') return sources.filter(file => readFileSync(join(ROOT, file), 'utf8').includes("'sqlite3'"))
  return sources.filter(file => importsOf(file).some(at => at === name || at.startsWith(`${name}/`)))
}

describe('the card', () => {
  for (const name of PACKAGES) {
    it(`names ${name}: it is declared, locked exactly and used`, () => {
      assert.match(declared[name] ?? '', /^(npm:@libp2p\/gossipsub@)?\d+\.\d+\.\d+$/)
      assert.notDeepEqual(users(name), [], `${name} is declared but nothing uses it`)
    })
  }

  for (const name of TOP_LEVEL) {
    it(`names ${name}: it is there`, () => assert.ok(existsSync(join(ROOT, name))))
  }

  it('keeps the seed’s script names', () => {
    for (const script of ['start', 'dev', 'build', 'lint', 'test', 'test:integration', 'test:coverage']) {
      assert.ok(manifest.scripts[script], `package.json has no script ${script}`)
    }
  })

  it('pins every version exactly', () => {
    const loose = Object.entries(declared).filter(([, version]) => !/^(npm:[^ ]+@)?\d+\.\d+\.\d+$/.test(version))
    assert.deepEqual(loose, [])
  })
})
