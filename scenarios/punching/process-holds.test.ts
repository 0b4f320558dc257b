import { deepEqual, ok } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { socketsOf } from './process-holds.ts'

describe('what a process holds', () => {
  it('is its sockets by kind, and those of other networks apart', () => {
    const tcp = 'head\n   0: 0100007F:1 0:0 0A 0:0 00:0 0 0 0 71 1 x\n'
    const unix = 'head\nx: 00000002 00000000 00010000 0001 01 72 /run/a\n'
    const links = ['socket:[71]', 'socket:[72]', 'socket:[73]', 'pipe:[71]', '/dev/null', '']
    const counts = socketsOf(links, [
      ['tcp', tcp],
      ['unix', unix]
    ])
    deepEqual(counts, { tcp: 1, udp: 0, unix: 1, elsewhere: 1 })
  })

  // In a process of their own: beside other tests of this one, sockets and memory of theirs go meanwhile.
  it('counts a socket for as long as it is open', async () => {
    const counts = await inNewProcess(`
      const { udp } = await ownSockets()
      const socket = createSocket('udp4').bind(0, '127.0.0.1')
      await once(socket, 'listening')
      const open = (await ownSockets()).udp
      socket.close()
      await once(socket, 'close')
      return [open - udp, (await ownSockets()).udp - udp]`)
    deepEqual(counts, [1, 0])
  })

  it('is memory that somebody still refers to', async () => {
    const heaps = await inNewProcess(`
      const heap = async () => (await settledMemory()).heapBytes
      const before = await heap()
      const kept = Array.from({ length: 1_000_000 }, (_, n) => ({ n }))
      const during = await heap()
      kept.length = 0
      return [before, during, await heap()]`)
    const [before = 0, during = 0, after = 0] = heaps
    ok(during > before + 10_000_000, String(heaps))
    ok(after < during - 10_000_000, String(heaps))
  })
})

/** @param body of an async function that returns numbers */
async function inNewProcess(body: string): Promise<number[]> {
  const script = `
    import { createSocket } from 'node:dgram'
    import { once } from 'node:events'
    import { ownSockets, settledMemory } from ${JSON.stringify(new URL('process-holds.ts', import.meta.url))}
    async function measure() {${body}}
    console.log(JSON.stringify(await measure()))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  return JSON.parse(stdout) as number[]
}
