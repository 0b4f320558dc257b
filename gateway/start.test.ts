import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
