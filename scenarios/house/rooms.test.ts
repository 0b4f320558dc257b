import assert from 'node:assert/strict'
import { dirname, join, normalize } from 'node:path'
import { files, importsOf, specifiersIn } from './tree.ts'

/** Which doors each room may walk through (design, section 1). */
const MAY: Record<string, string[]> = {
  migrations: [],
  contracts: [],
  netem: [],
  node: ['migrations/index.ts', 'contracts/abi.ts'],
  relay: ['node/index.ts'],
  // The second door has what browsers run too.
  client: ['node/index.ts', 'node/portable.ts'],
  // What the client's tests run against, the test of its page runs against too.
  gateway: ['client/index.ts', 'client/testing.ts', 'node/index.ts', 'migrations/index.ts'],
  compose: ['netem/index.ts', 'node/index.ts'],
  scenarios: ['netem/index.ts', 'compose/index.ts', 'client/index.ts', 'node/index.ts'],
  examples: ['client/index.ts']
}

/** What stands behind an import that its room may not make, or null. */
function wrongArrow(file: string, specifier: string): string | null {
  if (!specifier.startsWith('.')) return null
  const room = file.split('/')[0] as string
  const target = normalize(join(dirname(file), specifier))
  const other = target.split('/')[0] as string
  if (room === other) return null
  if (room === 'bench')
    return target.endsWith('/index.ts') || target === 'contracts/abi.ts' ? null : `${file} → ${target}`
  // Tests of a room may meet the role they talk to at its door as well: a registry client needs a chain, say.
  return MAY[room]?.includes(target) ? null : `${file} → ${target}`
}

describe('the rooms', () => {
  it('import one way, and only through doors', () => {
    const wrong = files('.ts').flatMap(file => importsOf(file).flatMap(specifier => wrongArrow(file, specifier) ?? []))
    assert.deepEqual(wrong, [])
  })

  it('are all known to this test', () => {
    const rooms = new Set(
      files('.ts')
        .filter(file => file.includes('/'))
        .map(file => file.split('/')[0] as string)
    )
    for (const room of rooms) assert.ok(room in MAY || room === 'bench', `${room}/ has no row in MAY`)
  })

  it('have relative imports that end in .ts', () => {
    const bare = files('.ts').flatMap(file =>
      importsOf(file)
        .filter(specifier => specifier.startsWith('.') && !/\.(ts|json)$/.test(specifier))
        .map(specifier => `${file} imports ${specifier}`)
    )
    assert.deepEqual(bare, [])
  })

  it('would be caught breaking the rule', () => {
    assert.equal(wrongArrow('node/net/libp2p.ts', '../../gateway/index.ts'), 'node/net/libp2p.ts → gateway/index.ts')
    assert.equal(wrongArrow('relay/relay.ts', '../node/net/libp2p.ts'), 'relay/relay.ts → node/net/libp2p.ts')
    assert.equal(wrongArrow('relay/relay.ts', '../node/index.ts'), null)
    assert.deepEqual(specifiersIn("import './a.ts'\nexport * from './b.ts'\nawait import('./c.ts') // from './d.ts'"), [
      './a.ts',
      './b.ts',
      './c.ts',
      './d.ts'
    ])
  })
})
