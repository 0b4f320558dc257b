import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../../netem/index.ts'
import { ensureTool } from './tools.ts'

describe('a tool made on demand', () => {
  let tools: string
  let made: number
  beforeEach(async () => {
    tools = await mkdtemp(join(tmpdir(), 'warren-tools-'))
    made = 0
  })
  afterEach(() => rm(tools, { recursive: true }))

  const ensure = async (source: string) => {
    const path = join(tools, 'source')
    await writeFile(path, source)
    const make = async (folder: string) => {
      made += 1
      await writeFile(join(folder, 'program'), source)
    }
    return await ensureTool({ name: 'thing', sources: [path], words: ['1'], make, tools })
  }

  it('is made once for what it is made of, and goes when that has changed', async () => {
    const first = await ensure('a')
    assert.deepEqual(await ensure('a'), first)
    assert.equal(made, 1)
    const second = await ensure('b')
    assert.ok('home' in second)
    assert.equal(await readFile(join(second.home, 'program'), 'utf8'), 'b')
    assert.equal((await readdir(join(tools, 'thing'))).length, 1)
  })

  it('is missing with what the command said last where that failed, and is tried again', async () => {
    const make = async () => {
      made += 1
      await run(['sh', '-c', 'echo first >&2; echo the registry does not answer >&2; exit 1'])
    }
    for (const times of [1, 2]) {
      const tool = await ensureTool({ name: 'thing', sources: [], words: [], make, tools })
      assert.deepEqual(tool, { missing: 'sh -c: the registry does not answer' })
      assert.equal(made, times)
    }
    assert.deepEqual(await readdir(join(tools, 'thing')), [])
  })

  it('hides no error of ours', async () => {
    const make = () => Promise.reject(new TypeError('a mistake'))
    await assert.rejects(ensureTool({ name: 'thing', sources: [], words: [], make, tools }), /a mistake/)
  })
})
