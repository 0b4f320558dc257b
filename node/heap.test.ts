import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const MIB = 2 ** 20

/** The most bytes of buffers a process has that makes 400 MiB of them, 64 KiB each, and keeps none. */
async function mostBytes(before: string): Promise<number> {
  const program = `
    ${before}
    let most = 0
    for (let nth = 0; nth < 6400; nth++) {
      new Uint8Array(65536)
      most = Math.max(most, process.memoryUsage().arrayBuffers)
    }
    console.log(most)`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program])
  return Number(stdout)
}

describe('the heap of a node’s process', function () {
  this.timeout(30_000)

  it('does not grow by the buffers that went through it', async () => {
    const url = new URL('./heap.ts', import.meta.url)
    const bounded = await mostBytes(`(await import(${JSON.stringify(url)})).collectBuffersSoon()`)
    assert.ok(bounded < 48 * MIB, `${bounded} bytes`)
    // Else this says nothing of the flag.
    const unbounded = await mostBytes('')
    assert.ok(unbounded > 60 * MIB, `${unbounded} bytes without`)
  })
})
