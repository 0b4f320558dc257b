import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import Sqlite from 'better-sqlite3'
import { ROOT } from './tree.ts'

/** Oldest versions without a known hole: what each one mends stands beside it. */
const FLOORS: Record<string, string> = {
  '@libp2p/gossipsub': '15.0.23', // CVE-2026-46679: a frame of topics eats the heap
  '@libp2p/kad-dht': '16.4.5', // CVE-2026-45783: PUT_VALUE without a namespace skipped validation
  koa: '3.1.2', // CVE-2026-27959: ctx.hostname taken from userinfo
  ws: '8.20.1' // header-count crash
}

/** SQLite before this loses committed WAL transactions (the WAL-reset bug). */
const SQLITE_FLOOR = '3.51.3'

/** node:sqlite has an authorizer and limits from this version on. */
const NODE_FLOOR = '24.15.0'

/** Negative when a < b. */
function compare(a: string, b: string): number {
  const [left, right] = [a, b].map(version => version.split('.').map(Number)) as [number[], number[]]
  for (let i = 0; i < 3; i++) if (left[i] !== right[i]) return (left[i] ?? 0) - (right[i] ?? 0)
  return 0
}

interface Lock {
  packages: Record<string, { version?: string; name?: string; hasInstallScript?: boolean; license?: string }>
}
const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as Lock

describe('version floors', () => {
  for (const [name, floor] of Object.entries(FLOORS)) {
    it(`${name} is at least ${floor} wherever it is locked`, () => {
      const found = Object.entries(lock.packages).filter(
        ([path, entry]) => path.endsWith(`node_modules/${name}`) || entry.name === name
      )
      assert.notEqual(found.length, 0)
      // testcontainers and others may carry their own copies: each one counts.
      for (const [path, entry] of found) {
        assert.ok(compare(entry.version ?? '0.0.0', floor) >= 0, `${path} is ${entry.version}`)
      }
    })
  }

  it(`both SQLites are at least ${SQLITE_FLOOR}`, () => {
    const ours = new Sqlite(':memory:')
    const theirs = new DatabaseSync(':memory:')
    const { v: bundled } = ours.prepare('select sqlite_version() as v').get() as { v: string }
    const { v: builtIn } = theirs.prepare('select sqlite_version() as v').get() as { v: string }
    ours.close()
    theirs.close()
    assert.ok(compare(bundled, SQLITE_FLOOR) >= 0, `better-sqlite3 brings ${bundled}`)
    assert.ok(compare(builtIn, SQLITE_FLOOR) >= 0, `node:sqlite brings ${builtIn}`)
  })

  it(`Node is at least ${NODE_FLOOR}`, () => assert.ok(compare(process.versions.node, NODE_FLOOR) >= 0))

  it('locks nothing from git or a bare address, and only packages we know run an install script', () => {
    const text = readFileSync(join(ROOT, 'package-lock.json'), 'utf8')
    assert.doesNotMatch(text, /"resolved":/)
    const scripts = Object.entries(lock.packages)
      .filter(([, entry]) => entry.hasInstallScript === true)
      .map(([path]) => path.replace(/^.*node_modules\//, ''))
    // None of these is run: .npmrc has ignore-scripts. A newcomer in this list wants a look.
    const known = ['better-sqlite3', 'cpu-features', 'esbuild', 'fsevents', 'koffi', 'protobufjs', 'sqlite3', 'ssh2']
    assert.deepEqual(
      [...new Set(scripts)].filter(name => !known.includes(name)),
      []
    )
  })
})
