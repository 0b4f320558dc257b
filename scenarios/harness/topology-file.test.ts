import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadTopology } from './topology-file.ts'

describe('a topology named on the command line', () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-topology-'))
  })
  after(async () => await rm(folder, { recursive: true }))

  it('is one that comes with Warren', async () => {
    assert.equal((await loadTopology('testnet')).name, 'testnet')
    await assert.rejects(loadTopology('nowhere'), { code: 'UNKNOWN_TOPOLOGY' })
  })

  it('is a file, data or a function of the options', async () => {
    const data = join(folder, 'data.mjs')
    await writeFile(data, "export default { name: 'mine', description: '', networks: {}, hosts: {} }")
    assert.equal((await loadTopology(data)).name, 'mine')
    const made = join(folder, 'made.mjs')
    await writeFile(
      made,
      "export default ({ nodes }) => ({ name: 'n' + nodes, description: '', networks: {}, hosts: {} })"
    )
    assert.equal((await loadTopology(made, { nodes: 7 })).name, 'n7')
  })

  it('is refused with a reason when the file is none', async () => {
    await assert.rejects(loadTopology(join(folder, 'absent.ts')), { code: 'TOPOLOGY_UNREADABLE' })
    const empty = join(folder, 'empty.mjs')
    await writeFile(empty, 'export const x = 1')
    await assert.rejects(loadTopology(empty), { code: 'TOPOLOGY_UNREADABLE' })
  })
})
