import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLogFile, LOG_QUEUE_MAX_BYTES } from './log-file.ts'

describe('the log file', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-log-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  it('has every line in order, begun again where it stood', async () => {
    const path = join(folder, 'logs', 'bytecave.log')
    for (const part of ['a', 'b']) {
      const log = createLogFile({ path, maxBytes: 1_000_000, maxFiles: 3 })
      for (let i = 0; i < 1000; i += 1) log.write(`${part}${i}\n`)
      await log.close()
    }
    const expected = ['a', 'b'].flatMap(part => Array.from({ length: 1000 }, (_, i) => `${part}${i}`))
    assert.deepEqual((await readFile(path, 'utf8')).trimEnd().split('\n'), expected)
  })

  it('is put aside by size, and only as many are kept as asked', async () => {
    const path = join(folder, 'bytecave.log')
    const log = createLogFile({ path, maxBytes: 1000, maxFiles: 3 })
    for (let i = 0; i < 100; i += 1) {
      log.write(`${String(i).padStart(99, '0')}\n`)
      await log.flush()
    }
    await log.close()
    assert.deepEqual((await readdir(folder)).sort(), ['bytecave.log', 'bytecave.log.1', 'bytecave.log.2'])
    const texts = await Promise.all(['.2', '.1', ''].map(end => readFile(`${path}${end}`, 'utf8')))
    assert.ok(texts.every(text => text.length <= 1000))
    const numbers = texts.join('').trimEnd().split('\n').map(Number)
    assert.deepEqual(
      numbers,
      Array.from({ length: 30 }, (_, i) => 70 + i)
    )
  })

  it('loses lines and nothing else when the disk is full or gone', async function () {
    const path = join(folder, 'full.log')
    await symlink('/dev/full', path).catch(() => this.skip())
    const full = createLogFile({ path, maxBytes: 1000, maxFiles: 3 })
    full.write('one\n')
    await full.flush()
    full.write('two\n')
    assert.equal(full.dropped, 2)
    await writeFile(join(folder, 'file'), '')
    const gone = createLogFile({ path: join(folder, 'file', 'x.log'), maxBytes: 1000, maxFiles: 3 })
    gone.write('one\n')
    await gone.flush()
    gone.flushSync()
    assert.equal(gone.dropped, 1)
  })

  it('holds a bounded number of lines for a slow disk', async () => {
    const log = createLogFile({ path: join(folder, 'slow.log'), maxBytes: 1e9, maxFiles: 2 })
    const line = `${'x'.repeat(1023)}\n`
    const lines = (LOG_QUEUE_MAX_BYTES / line.length) * 2
    for (let i = 0; i < lines; i += 1) log.write(line)
    assert.ok(log.dropped >= lines / 2 - 1000 && log.dropped < lines)
    await log.flush()
    log.write('after\n')
    await log.close()
    const written = await readFile(join(folder, 'slow.log'), 'utf8')
    assert.ok(written.includes(`"log lines lost on disk","lines":${log.dropped}}\n`))
    assert.ok(written.endsWith('after\n'))
  })
})
