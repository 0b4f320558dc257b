import { equal } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { type LinkProbeOrder, linkProbeArgv, type StreamSeen } from './link-probe.ts'

const PACKETS = 40
const LIVES_FOR_MS = 20_000

const start = (order: LinkProbeOrder) => {
  const child = spawn(process.execPath, linkProbeArgv(order).slice(1), { stdio: ['ignore', 'pipe', 'inherit'] })
  return { child, output: text(child.stdout) }
}

async function open(): Promise<Socket> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return socket
}

const portOf = (socket: Socket): number => (socket.address() as AddressInfo).port

describe('the link probe', () => {
  it('waits for a sender that a crowded machine holds up', async () => {
    const place = await open()
    const reflectorPort = portOf(place)
    place.close()
    const [near, far] = [await open(), await open()]
    const reflector = start({ reflect: { port: reflectorPort, forMs: LIVES_FOR_MS } })
    const stream = {
      direction: 'down',
      packets: PACKETS,
      payloadBytes: 100,
      perSecond: 400,
      earlyBelowMs: 0,
      settleMs: 200
    } as const
    const prober = start({ probe: { address: '127.0.0.1', port: portOf(near), streams: [stream] } })
    // What goes between them goes through here: the reflector is held in mid-stream until the prober asks whether it ended.
    let proberPort = 0
    let passed = 0
    near.on('message', (message, { port }) => {
      proberPort = port
      if (message[0] === 'E'.charCodeAt(0)) reflector.child.kill('SIGCONT')
      far.send(message, reflectorPort, '127.0.0.1')
    })
    far.on('message', message => {
      if (message[0] === 'P'.charCodeAt(0) && ++passed === PACKETS / 4) reflector.child.kill('SIGSTOP')
      near.send(message, proberPort, '127.0.0.1')
    })
    try {
      const [seen] = JSON.parse(await prober.output) as StreamSeen[]
      equal(seen!.received, PACKETS)
    } finally {
      prober.child.kill('SIGKILL')
      reflector.child.kill('SIGKILL')
      near.close()
      far.close()
    }
  })
})
