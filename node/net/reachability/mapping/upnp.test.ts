import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { MappingSilentError } from './mapping.types.ts'
import { upnp } from './upnp.ts'

const ROUTER = '127.0.0.1'
const TYPE = 'urn:schemas-upnp-org:service:WANIPConnection:1'
const REQUEST = {
  transport: 'tcp',
  innerHost: ROUTER,
  innerPort: 5011,
  outerPort: 20_011,
  lifetimeS: 60,
  nonce: new Uint8Array(12)
} as const

/** A gateway on loopback that says where it describes itself, and in how many bytes, as it is told. */
async function startDevice(manners: { describedAt?: string; controlledAt?: string; bytes?: number; blanks?: number }) {
  const { describedAt = ROUTER, controlledAt = ROUTER, bytes = 0, blanks = 0 } = manners
  const calls: string[] = []
  const server = createServer((request, response) => {
    const { port } = server.address() as AddressInfo
    calls.push(request.url!)
    if (request.url === '/control') response.end('<NewExternalIPAddress>11.0.7.1</NewExternalIPAddress>')
    else {
      const control = `${' '.repeat(blanks)}http://${controlledAt}:${port}/control`
      response.end(
        `<service><serviceType>${TYPE}</serviceType><controlURL>${control}</controlURL></service>${' '.repeat(bytes)}`
      )
    }
  })
  server.listen(0, '0.0.0.0')
  await once(server, 'listening')
  const search = createSocket({ type: 'udp4', reuseAddr: true })
  search.bind(1900)
  await once(search, 'listening')
  search.addMembership('239.255.255.250', ROUTER)
  search.on('message', (_, from) => {
    const location = `http://${describedAt}:${(server.address() as AddressInfo).port}/description`
    search.send(`HTTP/1.1 200 OK\r\nLOCATION: ${location}\r\n\r\n`, from.port, from.address)
  })
  return {
    calls,
    async [Symbol.asyncDispose]() {
      search.close()
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    }
  }
}

describe('a port mapped by UPnP', () => {
  const map = () => upnp.map(ROUTER, REQUEST, new AbortController().signal)

  it('is asked of the device that the gateway describes', async () => {
    await using device = await startDevice({})
    assert.deepEqual(await map(), { outerHost: '11.0.7.1', outerPort: 20_011, lifetimeS: 60 })
    assert.deepEqual(device.calls, ['/description', '/control', '/control'])
  })

  it('is asked of no other host, whatever an answer names', async () => {
    await using other = await startDevice({ controlledAt: '127.0.0.2' })
    await assert.rejects(map(), MappingSilentError)
    assert.deepEqual(other.calls, ['/description'])
  })

  it('is not looked for in what another host describes', async () => {
    await using other = await startDevice({ describedAt: '127.0.0.2' })
    await assert.rejects(map(), MappingSilentError)
    assert.deepEqual(other.calls, [])
  })

  it('is found in a description that is blank for long, at once', async () => {
    await using device = await startDevice({ blanks: 100_000 })
    assert.equal((await map()).outerPort, 20_011)
    assert.equal(device.calls.length, 3)
  })

  it('is not looked for in a description without end', async () => {
    await using endless = await startDevice({ bytes: 256 * 1024 })
    await assert.rejects(map(), MappingSilentError)
    assert.deepEqual(endless.calls, ['/description'])
  })
})
