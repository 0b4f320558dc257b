import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { bindSocket } from './netns-socket.ts'

/** A port nobody listens on just now. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function refused(port: number): Promise<boolean> {
  const socket = net.connect(port, '127.0.0.1')
  return await new Promise(resolve => {
    socket.on('connect', () => resolve(false))
    socket.on('error', error => resolve((error as NodeJS.ErrnoException).code === 'ECONNREFUSED'))
  })
}

describe('a control port', () => {
  it('refuses while its socket is only bound, and serves once a process listens on it', async () => {
    const port = await freePort()
    const socket = bindSocket(port)
    assert.equal(await refused(port), true)
    const server = createServer((_request, response) => response.end('here')).listen({ fd: socket.fd })
    await once(server, 'listening')
    assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'here')
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
    assert.equal(await refused(port), true)
  })

  it('that someone listens on is told as taken', async () => {
    const server = net.createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    assert.throws(() => bindSocket((server.address() as AddressInfo).port), { code: 'PORT_TAKEN' })
    server.close()
  })
})
