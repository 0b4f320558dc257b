import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { openDataDir } from './data-dir.ts'
import { serve } from './server.ts'

describe('a start that cannot succeed', () => {
  it('names the variable and what to do: a port that is taken, an address that is not this host’s', async () => {
    const host = '127.0.0.1'
    const handle = async () => {}
    const first = await serve({ handle, host, port: 0 })
    try {
      await assert.rejects(serve({ handle, host, port: first.port }), {
        code: 'ADDRESS_UNAVAILABLE',
        message: `127.0.0.1:${first.port} is taken: stop what listens there, or set PORT or GATEWAY_ADDR`
      })
    } finally {
      await first.close()
    }
    await assert.rejects(serve({ handle, host: '192.0.2.1', port: 0 }), {
      code: 'ADDRESS_UNAVAILABLE',
      message: /^192\.0\.2\.1:0 cannot be listened on .*EADDRNOTAVAIL.*: set PORT or GATEWAY_ADDR$/
    })
  })

  it('names the folder that it cannot write to', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'warren-start-'))
    try {
      await writeFile(join(folder, 'file'), '')
      await assert.rejects(openDataDir(join(folder, 'file', 'data')), {
        code: 'DATA_DIR_UNUSABLE',
        message: /^DATA_DIR .*file\/data cannot be written to \(ENOTDIR\): name a folder of this user's$/
      })
      await openDataDir(join(folder, 'a', 'b'))
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})

/** A temporary table too large for its cache is a file, which is open until the connection is closed. */
const SPILL = `
import { keepTemporaryFilesIn } from '${new URL('./data-dir.ts', import.meta.url)}'
import { readdirSync, readlinkSync } from 'node:fs'
import Sqlite from 'better-sqlite3'
keepTemporaryFilesIn(process.argv[1])
const database = new Sqlite(':memory:')
database.exec('PRAGMA temp_store = FILE; CREATE TEMP TABLE t (a); PRAGMA temp.cache_size = 10')
database.exec('WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 3000) INSERT INTO t SELECT randomblob(1000) FROM c')
const open = readdirSync('/proc/self/fd').map(fd => { try { return readlinkSync('/proc/self/fd/' + fd) } catch { return '' } })
console.log(JSON.stringify(open.filter(path => path.endsWith(' (deleted)'))))
`

describe('temporary files of the database', () => {
  it('are in the data directory', async function () {
    if (process.platform !== 'linux') this.skip()
    const folder = await realpath(await mkdtemp(join(tmpdir(), 'warren-start-')))
    try {
      const { stdout } = await promisify(execFile)(
        process.execPath,
        ['--input-type=module-typescript', '--eval', SPILL, folder],
        { cwd: fileURLToPath(new URL('.', import.meta.url)) }
      )
      const paths = JSON.parse(stdout) as string[]
      assert.ok(paths.length > 0)
      for (const path of paths) assert.ok(path.startsWith(`${folder}/`), path)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})
