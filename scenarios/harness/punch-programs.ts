/**
 * The control puncher: which pairs of hosts can open a direct way at all, by plain sockets and a rendezvous. It shares no
 * code with the product. Self-contained functions; see probe-programs.ts for how they are run.
 */

export interface PunchPair {
  a: string
  b: string
  protocol: 'udp' | 'tcp'
}

/** What came of one pair: milliseconds until both sides had heard from each other, null when they never did. */
export interface PunchResult extends PunchPair {
  tookMs: number | null
  /** Why not, when it was no matter of NATs. */
  problem?: string
}

export interface RendezvousConfig {
  port: number
  /** Hosts that will come. */
  hosts: string[]
  pairs: PunchPair[]
  /** Pairs at one time. */
  atOnce: number
  /** How long both sides try. */
  tryForMs: { udp: number; tcp: number }
  /** Until every host must have come. */
  gatherWithinMs: number
}

/**
 * On the internet: tell each host of a pair the endpoint that the other is seen with, say go, hear what came of it; print
 * all PunchResults. TCP and UDP on one port.
 */
export function rendezvous({ port, hosts, pairs, atOnce, tryForMs, gatherWithinMs }: RendezvousConfig): void {
  const dgram = process.getBuiltinModule('node:dgram')
  const net = process.getBuiltinModule('node:net')
  const setUpWithinMs = 5000
  const slackMs = 1000
  type Socket = import('node:net').Socket
  interface Told {
    session: string
    ready?: [string, number]
    failed?: string
    done?: boolean
  }
  const lines = new Map<string, Socket>()
  const listeners = new Map<string, (host: string, told: Told) => void>()
  const gathered = Promise.withResolvers<void>()
  const hello = (host: string, socket: Socket): void => {
    lines.set(host, socket)
    if (hosts.every(name => lines.has(name))) gathered.resolve()
  }
  net
    .createServer(socket => {
      socket.on('error', () => undefined)
      let [host, rest] = ['', '']
      // A puncher's own line says so; any other connection only wants to know its endpoint.
      socket.write(`${JSON.stringify({ seen: [socket.remoteAddress, socket.remotePort] })}\n`)
      socket.on('data', chunk => {
        const parts = `${rest}${chunk}`.split('\n')
        rest = parts.pop()!
        for (const part of parts) {
          const told = JSON.parse(part) as Told & { host?: string }
          if (told.host === undefined) listeners.get(told.session)?.(host, told)
          else {
            host = told.host
            hello(host, socket)
          }
        }
      })
    })
    .listen(port, '0.0.0.0')
  const udp = dgram.createSocket('udp4')
  udp.on('message', (message, { address, port: from }) => {
    const { session } = JSON.parse(message.toString()) as { session: string }
    udp.send(JSON.stringify({ session, seen: [address, from] }), from, address)
  })
  udp.bind(port)

  const tell = (host: string, order: object): void => void lines.get(host)!.write(`${JSON.stringify(order)}\n`)
  const punch = async (pair: PunchPair, session: string): Promise<PunchResult> => {
    const sides = [pair.a, pair.b]
    const ready = new Map<string, [string, number]>()
    const done = new Set<string>()
    let problem: string | undefined
    let change = Promise.withResolvers<void>()
    listeners.set(session, (host, told) => {
      if (told.ready !== undefined) ready.set(host, told.ready)
      if (told.done === true) done.add(host)
      problem = told.failed ?? problem
      change.resolve()
    })
    const until = async (fact: () => boolean, withinMs: number): Promise<boolean> => {
      const late = new Promise<void>(resolve => setTimeout(resolve, withinMs))
      let isLate = false
      late.then(() => {
        isLate = true
      })
      while (!fact() && !isLate && problem === undefined) {
        change = Promise.withResolvers<void>()
        await Promise.race([change.promise, late])
      }
      return fact()
    }
    for (const host of sides) tell(host, { session, prepare: pair.protocol })
    const isReady = await until(() => ready.size === 2, setUpWithinMs)
    const began = performance.now()
    let isDirect = false
    if (isReady) {
      for (const [index, host] of sides.entries()) tell(host, { session, go: ready.get(sides[1 - index]!) })
      isDirect = await until(() => done.size === 2, tryForMs[pair.protocol])
    }
    const tookMs = isDirect ? Math.round((performance.now() - began) * 10) / 10 : null
    for (const host of sides) tell(host, { session, end: true })
    listeners.delete(session)
    const why = problem ?? (isReady ? undefined : 'a side did not learn its endpoint')
    return { ...pair, tookMs, ...(why === undefined || isDirect ? {} : { problem: why }) }
  }
  const main = async (): Promise<void> => {
    const late = setTimeout(() => {
      console.error(`never came: ${hosts.filter(name => !lines.has(name)).join(', ')}`)
      process.exit(1)
    }, gatherWithinMs)
    await gathered.promise
    clearTimeout(late)
    const results: PunchResult[] = []
    const rest = pairs.entries()
    const worker = async (): Promise<void> => {
      for (const [index, pair] of rest) results[index] = await punch(pair, `s${index}`)
    }
    await Promise.all(Array.from({ length: atOnce }, worker))
    const text = JSON.stringify(results)
    process.stdout.write(`${text}\n`, () => setTimeout(() => process.exit(0), slackMs / 10))
  }
  main()
}

export interface PuncherConfig {
  host: string
  /** The rendezvous. */
  address: string
  port: number
  forMs: number
}

/** Inside: do what the rendezvous says until it is gone. */
export function puncher({ host, address, port, forMs }: PuncherConfig): void {
  const dgram = process.getBuiltinModule('node:dgram')
  const net = process.getBuiltinModule('node:net')
  const retryMs = 100
  const sendEveryMs = 50
  const dialAgainMs = 20
  interface Attempt {
    go: (peer: [string, number]) => void
    end: () => void
  }
  const attempts = new Map<string, Attempt>()
  let tell: (message: object) => void = () => undefined
  // Below the ports that the kernel gives out, and never twice.
  let lastPort = 12_000 + Math.floor(Math.random() * 8000)

  const byUdp = (session: string): Attempt => {
    const socket = dgram.createSocket('udp4')
    let isSeen = false
    let heard = false
    let isDone = false
    let timer: NodeJS.Timeout | undefined
    socket.on('error', () => undefined)
    const ask = setInterval(() => socket.send(JSON.stringify({ session }), port, address), retryMs)
    socket.send(JSON.stringify({ session }), port, address)
    socket.on('message', (message, from) => {
      const said = JSON.parse(message.toString()) as { session: string; seen?: [string, number]; heard?: boolean }
      if (said.session !== session) return
      if (said.seen !== undefined) {
        clearInterval(ask)
        if (!isSeen) tell({ session, ready: said.seen })
        isSeen = true
        return
      }
      heard = true
      // To whoever it really came from, and again: the other must know that it was heard.
      socket.send(JSON.stringify({ session, heard }), from.port, from.address)
      if (said.heard === true && !isDone) {
        isDone = true
        tell({ session, done: true })
      }
    })
    return {
      go([to, toPort]) {
        const send = (): void => socket.send(JSON.stringify({ session, heard }), toPort, to)
        send()
        timer = setInterval(send, sendEveryMs)
      },
      end() {
        clearInterval(ask)
        clearInterval(timer)
        socket.close()
      }
    }
  }

  const byTcp = (session: string): Attempt => {
    lastPort += 1 + Math.floor(Math.random() * 20)
    const localPort = lastPort
    const sockets = new Set<import('node:net').Socket>()
    let server: import('node:net').Server | null = null
    let isOpen = false
    let isOver = false
    const dial = (to: string, toPort: number): import('node:net').Socket => {
      const socket = net.connect({ host: to, port: toPort, localPort, localAddress: '0.0.0.0' })
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      return socket
    }
    const greet = (socket: import('node:net').Socket): void => {
      isOpen = true
      socket.on('error', () => undefined)
      socket.write(`${session}\n`)
      socket.on('data', chunk => {
        if (chunk.toString().startsWith(session)) tell({ session, done: true })
      })
    }
    const ask = (): void => {
      const asking = dial(address, port)
      asking.on('data', chunk => {
        const { seen } = JSON.parse(chunk.toString().split('\n')[0]!) as { seen: [string, number] }
        tell({ session, ready: seen })
      })
      asking.on('error', error => tell({ session, failed: `it cannot reach the rendezvous: ${error.message}` }))
    }
    const punch = (to: string, toPort: number): void => {
      if (isOver || isOpen) return
      server?.close()
      // Dial first, listen then, on one port: the other order is refused by the kernel.
      const socket = dial(to, toPort)
      socket.on('connect', () => greet(socket))
      // Refused: the other was not there yet. It may dial in meanwhile; both dialling in step would refuse each other for ever.
      socket.on('error', () => setTimeout(punch, dialAgainMs * (1 + 5 * Math.random()), to, toPort))
      server = net.createServer(accepted => {
        sockets.add(accepted)
        greet(accepted)
      })
      server.on('error', () => undefined)
      server.listen(localPort, '0.0.0.0')
    }
    ask()
    return {
      go: ([to, toPort]) => punch(to, toPort),
      end() {
        isOver = true
        server?.close()
        for (const socket of sockets) socket.resetAndDestroy()
      }
    }
  }

  const connect = (): void => {
    const line = net.connect({ host: address, port })
    line.on('connect', () => {
      tell = message => void line.write(`${JSON.stringify(message)}\n`)
      tell({ host })
      line.on('close', () => process.exit(0))
    })
    line.on('error', () => setTimeout(connect, retryMs))
    let rest = ''
    line.on('data', chunk => {
      const parts = `${rest}${chunk}`.split('\n')
      rest = parts.pop()!
      for (const part of parts) {
        const order = JSON.parse(part) as {
          session?: string
          prepare?: 'udp' | 'tcp'
          go?: [string, number]
          end?: true
        }
        if (order.session === undefined) continue
        if (order.prepare !== undefined)
          attempts.set(order.session, (order.prepare === 'udp' ? byUdp : byTcp)(order.session))
        if (order.go !== undefined) attempts.get(order.session)?.go(order.go)
        if (order.end === true) {
          attempts.get(order.session)?.end()
          attempts.delete(order.session)
        }
      }
    })
  }
  connect()
  setTimeout(() => process.exit(0), forMs)
}
