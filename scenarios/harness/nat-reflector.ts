/**
 * The reflector that sees a NAT from outside: it tells who it sees, and sends where it is asked to. A self-contained
 * function; see probe-programs.ts for how it is run.
 */

export interface ReflectorConfig {
  /** The first two are probed, the third is where flows are held. */
  ports: [number, number, number]
  /** The reflector at the other address; null where there is none. */
  peer: string | null
  forMs: number
}

/**
 * Answer every datagram and connection on both ports with who it came from. JSON lines on a connection ask for more:
 * `{ id, send: 'udp' | 'tcp', to, by: 'self' | 'peer', withinMs }` sends to an endpoint from the second port (TCP: from
 * another one), and answers `{ id, passage }`, which for UDP only says that it was sent. `afterMs` in a datagram or an
 * order puts the answer off; `mute` in a datagram does without.
 */
export function reflectNat({ ports, peer, forMs }: ReflectorConfig): void {
  const dgram = process.getBuiltinModule('node:dgram')
  const net = process.getBuiltinModule('node:net')
  const copies = 3
  const copyEveryMs = 30
  interface Order {
    id: number
    send: 'udp' | 'tcp' | 'nothing'
    to: [string, number]
    by: 'self' | 'peer'
    token: string
    withinMs: number
    afterMs?: number
  }
  const sockets = ports.map(port => {
    const socket = dgram.createSocket('udp4')
    socket.on('message', (message, { address, port: from }) => {
      const { id, mute, afterMs = 0 } = JSON.parse(message.toString()) as { id: number; mute?: true; afterMs?: number }
      const answer = (): void => socket.send(JSON.stringify({ id, seen: [address, from] }), from, address)
      if (mute !== true) setTimeout(answer, afterMs)
    })
    // An ICMP error of a host that closed its socket is nobody's business.
    socket.on('error', () => undefined)
    socket.bind(port)
    return socket
  })
  const dial = (to: [string, number], withinMs: number): Promise<string> =>
    new Promise(resolve => {
      const socket = net.connect({ host: to[0], port: to[1] })
      const end = (passage: string): void => {
        clearTimeout(timer)
        socket.destroy()
        resolve(passage)
      }
      const timer = setTimeout(end, withinMs, 'dropped')
      // Accepted and answered: a connection that only the router took says nothing.
      socket.on('data', () => end('passed'))
      socket.on('error', (error: NodeJS.ErrnoException) => end(error.code === 'ECONNREFUSED' ? 'refused' : 'dropped'))
    })
  const sendUdp = async ({ to, token }: Order): Promise<string> => {
    for (let copy = 0; copy < copies; copy++) {
      await new Promise<void>(resolve => sockets[1]!.send(JSON.stringify({ token }), to[1], to[0], () => resolve()))
      await new Promise(resolve => setTimeout(resolve, copyEveryMs))
    }
    return 'sent'
  }
  const byPeer = (order: Order): Promise<string> =>
    new Promise(resolve => {
      const socket = net.connect({ host: peer!, port: ports[0] })
      socket.on('connect', () => socket.write(`${JSON.stringify({ ...order, by: 'self' })}\n`))
      socket.on('error', () => resolve('no peer'))
      let text = ''
      socket.on('data', chunk => {
        text += chunk
        const answer = text.split('\n').find(line => line.includes('"passage"'))
        if (answer === undefined) return
        socket.destroy()
        resolve((JSON.parse(answer) as { passage: string }).passage)
      })
    })
  const obey = async (order: Order): Promise<string> => {
    if (order.by === 'peer') return await byPeer(order)
    if (order.send === 'nothing') return 'sent'
    return order.send === 'udp' ? await sendUdp(order) : await dial(order.to, order.withinMs)
  }
  for (const port of ports) {
    net
      .createServer(socket => {
        socket.on('error', () => undefined)
        socket.write(`${JSON.stringify({ seen: [socket.remoteAddress, socket.remotePort] })}\n`)
        let rest = ''
        socket.on('data', chunk => {
          const lines = `${rest}${chunk}`.split('\n')
          rest = lines.pop()!
          for (const line of lines) {
            const order = JSON.parse(line) as Order
            const answer = (passage: string): void =>
              void socket.write(`${JSON.stringify({ id: order.id, passage })}\n`)
            obey(order).then(passage => setTimeout(answer, order.afterMs ?? 0, passage))
          }
        })
      })
      .listen(port, '0.0.0.0')
  }
  setTimeout(() => process.exit(0), forMs)
}
