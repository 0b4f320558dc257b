import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startHistory } from './history.ts'

describe('a history', () => {
  it('tells every operation from its call to its end, on disk as it happens', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'warren-history-'))
    try {
      const file = join(folder, 'history.jsonl')
      const history = startHistory(file)
      await history.operation(
        'put',
        { key: 'a' },
        async () => 42,
        result => ({ result })
      )
      await assert.rejects(
        history.operation('get', { key: 'b' }, async () => {
          throw new Error('cut off')
        })
      )
      history.event('kill', ['alice'])
      const lines = (await readFile(file, 'utf8'))
        .trim()
        .split('\n')
        .map(line => JSON.parse(line) as { type: string; id: number; what: string })
      assert.deepEqual(lines, history.entries)
      assert.deepEqual(
        lines.map(({ type, id, what }) => [type, id, what]),
        [
          ['invoke', 1, 'put'],
          ['ok', 1, 'put'],
          ['invoke', 2, 'get'],
          ['info', 2, 'get'],
          ['event', 3, 'kill']
        ]
      )
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})
