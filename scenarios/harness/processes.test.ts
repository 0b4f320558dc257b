import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { alive, identify, killIdentified, listeningPorts } from './processes.ts'

describe('processes', () => {
  it('are known by pid and start time, and killed only when both fit', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
    const identity = await identify(child.pid!)
    assert.ok(identity !== null && (await alive(identity)))
    await killIdentified({ ...identity, startTicks: '1' })
    assert.ok(await alive(identity), 'a process of the same pid but another start was killed')
    await killIdentified(identity)
    await once(child, 'exit')
    assert.equal(await alive(identity), false)
    await killIdentified(identity)
  })

  it('listen on ports that can be seen', async () => {
    const server = net.createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    assert.ok((await listeningPorts()).has(port))
    server.close()
    await once(server, 'close')
    assert.ok(!(await listeningPorts()).has(port))
  })
})
