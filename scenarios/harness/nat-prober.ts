/**
 * The prober that sees a NAT from inside, with `nat-reflector.ts` on the internet. A self-contained function; see
 * probe-programs.ts for how it is run. `nat-words.ts` says what its observations amount to.
 */

export type NatProtocol = 'udp' | 'tcp'
/** Address and port. */
export type Endpoint = [address: string, port: number]
/** What became of something sent to an inner endpoint. `refused`: somebody answered that nobody is there. */
export type Passage = 'passed' | 'refused' | 'dropped'

/** What one protocol showed. `null`: no answer. */
export interface ProtocolObservation {
  /** How one inner endpoint is seen at first address and port, other port, other address, other address and port. */
  mapping: { localPort: number; seen: Array<Endpoint | null> }
  /** New inner endpoints in a row and the ports they were seen with. */
  fresh: Array<{ localPort: number; port: number | null }>
  /** The same flow twice, its first mapping gone in between; null where that cannot be had in a moment. */
  again: [number, number] | null
  /** To an inner endpoint that has sent to one endpoint alone: from another port of that address, from another address. */
  fromOtherPort: Passage
  fromOtherAddress: Passage | null
  /** To an inner endpoint that has sent nothing, by the outer address. */
  unasked: Passage
  /** From one inner endpoint to another by its outer endpoint, and back. `source`: as whom the first was seen. */
  hairpin: { forth: Passage; back: Passage; source: Endpoint | null; expected: Endpoint | null }
}

/** What a prober prints. `null` protocol: nothing came back at all. */
export interface NatObservation {
  udp: ProtocolObservation | null
  tcp: ProtocolObservation | null
  /** Outer ports of one inner port by both protocols. */
  twins: Array<{ localPort: number; udp: number | null; tcp: number | null }>
}

export interface ProberConfig {
  reflectors: string[]
  ports: [number, number, number]
  /** Fresh endpoints to open. */
  fresh: number
  /** Until the reflectors must be there. */
  startWithinMs: number
  /** For all of it. */
  endWithinMs: number
}

/** Look at the way out from inside, by UDP and TCP; print a NatObservation. */
export function probeNat({ reflectors, ports, fresh, startWithinMs, endWithinMs }: ProberConfig): void {
  const dgram = process.getBuiltinModule('node:dgram')
  const net = process.getBuiltinModule('node:net')
  type Where = [string, number]
  type Passed = 'passed' | 'refused' | 'dropped'
  /** An inner endpoint. */
  interface Inner {
    localPort: number
    /** Ask a reflector who it sees. */
    ask: (to: Where) => Promise<Where | null>
    /** Take what comes in from now on. */
    listen: () => Promise<void>
    /** Send to an endpoint that listens; whom it saw, and whether its answer came back. */
    call: (to: Where, token: string) => Promise<{ forth: Passed; back: Passed }>
    close: () => void
  }
  const resendEveryMs = 100
  const slowestMs = 4
  const patienceMs = 800
  // A SYN that is lost comes again after 1 s: a NAT may lose one whose port turns out to be another's.
  const dialPatienceMs = 2400
  const graceMs = 120
  const quickMs = 250
  let roundTripMs = 0
  let lastId = 0
  const [first, second] = reflectors as [string, string | undefined]
  const [p1, p2] = ports
  /** Tokens that reached an inner endpoint, and from whom. */
  const arrived = new Map<string, Where>()
  const wait = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))
  const until = async (fact: () => boolean, withinMs: number): Promise<boolean> => {
    const deadline = performance.now() + withinMs
    while (!fact() && performance.now() < deadline) await wait(slowestMs)
    return fact()
  }
  const within = (): number => patienceMs + 10 * roundTripMs
  // Below the ports that the kernel gives out, and never twice, so that nobody here has it already.
  let lastPort = 12_000 + Math.floor(Math.random() * 10_000)
  const freePort = (): number => {
    lastPort += 1 + Math.floor(Math.random() * 50)
    return lastPort
  }

  const openUdp = async (localPort: number): Promise<Inner> => {
    const socket = dgram.createSocket('udp4')
    const answers = new Map<number, Where>()
    const echoes = new Set<string>()
    // An ICMP error is nobody's business.
    socket.on('error', () => undefined)
    socket.on('message', (message, { address, port }) => {
      const said = JSON.parse(message.toString()) as { id?: number; seen?: Where; token?: string; echo?: string }
      if (said.seen !== undefined) answers.set(said.id!, said.seen)
      if (said.echo !== undefined) echoes.add(said.echo)
      if (said.token === undefined) return
      arrived.set(said.token, [address, port])
      socket.send(JSON.stringify({ echo: said.token }), port, address)
    })
    await new Promise<void>(resolve => socket.bind(localPort, () => resolve()))
    const repeat = async (to: Where, message: object, fact: () => boolean, withinMs: number): Promise<boolean> => {
      const send = (): void => socket.send(JSON.stringify(message), to[1], to[0])
      send()
      const timer = setInterval(send, Math.max(resendEveryMs, 2 * roundTripMs))
      const came = await until(fact, withinMs)
      clearInterval(timer)
      return came
    }
    return {
      localPort: socket.address().port,
      async ask(to) {
        const id = ++lastId
        await repeat(to, { id }, () => answers.has(id), within())
        return answers.get(id) ?? null
      },
      listen: async () => undefined,
      async call(to, token) {
        await repeat(to, { token }, () => echoes.has(token), quickMs + 5 * roundTripMs)
        return { forth: arrived.has(token) ? 'passed' : 'dropped', back: echoes.has(token) ? 'passed' : 'dropped' }
      },
      close: () => socket.close()
    }
  }

  const openTcp = async (localPort: number): Promise<Inner & { reset: () => Promise<void> }> => {
    const connections: Array<import('node:net').Socket> = []
    const connect = (to: Where, hello: string | null): Promise<string> =>
      new Promise(resolve => {
        const socket = net.connect({ host: to[0], port: to[1], localPort, localAddress: '0.0.0.0' })
        const end = (what: string): void => {
          clearTimeout(timer)
          resolve(what)
        }
        const withinMs = (hello === null ? dialPatienceMs : quickMs) + 5 * roundTripMs
        const timer = setTimeout(() => {
          socket.destroy()
          end('dropped')
        }, withinMs)
        let text = ''
        if (hello !== null) socket.write(`${hello}\n`)
        socket.on('data', chunk => {
          text += chunk
          if (text.includes('\n')) end(text)
        })
        socket.on('error', (error: NodeJS.ErrnoException) => end(error.code === 'ECONNREFUSED' ? 'refused' : 'dropped'))
        connections.push(socket)
      })
    return {
      localPort,
      async ask(to) {
        const said = await connect(to, null)
        return said.startsWith('{') ? (JSON.parse(said) as { seen: Where }).seen : null
      },
      async listen() {
        const server = net.createServer(socket => {
          socket.on('error', () => undefined)
          socket.write('{}\n')
          socket.on('data', chunk => {
            arrived.set(chunk.toString().trim(), [socket.remoteAddress!, socket.remotePort!])
          })
        })
        // Only once nothing more connects from this port: who listens keeps others from binding it.
        await new Promise<void>(resolve => server.listen(localPort, '0.0.0.0', () => resolve()))
      },
      async call(to, token) {
        const said = await connect(to, token)
        await until(() => arrived.has(token), said === '{}\n' ? quickMs : 0)
        const back = said === '{}\n' ? 'passed' : (said as Passed)
        return { forth: arrived.has(token) ? 'passed' : back, back }
      },
      close: () => {
        for (const socket of connections) socket.destroy()
      },
      async reset() {
        for (const socket of connections) socket.resetAndDestroy()
        await wait(slowestMs)
      }
    }
  }

  /** A line to the first reflector for orders, by TCP since that passes every NAT. */
  const orders = async (): Promise<(order: object) => Promise<string>> => {
    const answers = new Map<number, string>()
    const deadline = performance.now() + startWithinMs
    for (;;) {
      const began = performance.now()
      const line = await new Promise<import('node:net').Socket | null>(resolve => {
        const socket = net.connect({ host: first, port: p1 })
        const late = setTimeout(() => socket.destroy(), startWithinMs)
        socket.once('data', () => {
          clearTimeout(late)
          resolve(socket)
        })
        socket.once('error', () => resolve(null))
        socket.once('close', () => resolve(null))
      })
      if (line !== null) {
        roundTripMs = (performance.now() - began) / 2
        let rest = ''
        line.on('error', () => undefined)
        line.on('data', chunk => {
          const lines = `${rest}${chunk}`.split('\n')
          rest = lines.pop()!
          for (const text of lines) {
            const { id, passage } = JSON.parse(text) as { id: number; passage: string }
            answers.set(id, passage)
          }
        })
        return async order => {
          const id = ++lastId
          line.write(`${JSON.stringify({ id, ...order })}\n`)
          await until(() => answers.has(id), startWithinMs)
          return answers.get(id) ?? 'no answer'
        }
      }
      if (performance.now() > deadline) throw new Error(`no reflector answers at ${first}:${p1}`)
      await wait(quickMs)
    }
  }

  const observe = async (
    protocol: 'udp' | 'tcp',
    open: (localPort: number) => Promise<Inner>,
    order: (order: object) => Promise<string>
  ): Promise<ProtocolObservation | null> => {
    const one = await open(freePort())
    const firstSeen = await one.ask([first, p1])
    if (firstSeen === null) return null
    const others: Where[] =
      second === undefined
        ? [[first, p2]]
        : [
            [first, p2],
            [second, p1],
            [second, p2]
          ]
    const seen = [firstSeen, ...(await Promise.all(others.map(one.ask)))]

    const opened: Array<{ localPort: number; port: number | null }> = []
    for (let n = 0; n < fresh; n++) {
      const each = await open(freePort())
      opened.push({ localPort: each.localPort, port: (await each.ask([first, p1]))?.[1] ?? null })
    }

    /** Have something sent to an inner endpoint's outer one, and see whether it comes. */
    const knock = async (to: Where, by: 'self' | 'peer'): Promise<Passed> => {
      const token = `${protocol}-${++lastId}`
      const passage = await order({ send: protocol, to, by, token, withinMs: patienceMs + 5 * roundTripMs })
      if (protocol === 'tcp') return passage as Passed
      if (passage !== 'sent') throw new Error(`the reflector at ${by} says: ${passage}`)
      await until(() => arrived.has(token), graceMs + 3 * roundTripMs)
      return arrived.has(token) ? 'passed' : 'dropped'
    }
    /** A new inner endpoint that takes what comes in, and its outer one. */
    const listening = async (): Promise<Where> => {
      const inner = await open(freePort())
      const outer = await inner.ask([first, p1])
      await inner.listen()
      return outer ?? firstSeen
    }
    const silent = await open(freePort())
    await silent.listen()
    const caller = await open(freePort())
    const [expected, callee, ...knocked] = [
      await caller.ask([first, p1]),
      await listening(),
      await listening(),
      await listening()
    ] as const
    const token = `${protocol}-${++lastId}`
    const [fromOtherPort, fromOtherAddress, unasked, { forth, back }] = await Promise.all([
      knock(knocked[0], 'self'),
      second === undefined ? null : knock(knocked[1], 'peer'),
      knock([firstSeen[0], silent.localPort], 'self'),
      caller.call(callee, token)
    ])
    return {
      mapping: { localPort: one.localPort, seen },
      fresh: opened,
      again: null,
      fromOtherPort,
      fromOtherAddress,
      unasked,
      hairpin: { forth, back, source: arrived.get(token) ?? null, expected }
    }
  }

  const main = async (): Promise<void> => {
    setTimeout(() => {
      console.error(`it did not come to an end within ${endWithinMs / 1000} s`)
      process.exit(1)
    }, endWithinMs)
    const order = await orders()
    if (second !== undefined) {
      const isThere = async (): Promise<boolean> => (await order({ send: 'nothing', by: 'peer' })) === 'sent'
      const deadline = performance.now() + startWithinMs
      while (!(await isThere())) {
        if (performance.now() > deadline) throw new Error(`no reflector answers at ${second}`)
        await wait(quickMs)
      }
    }
    const [udp, tcp] = await Promise.all([observe('udp', openUdp, order), observe('tcp', openTcp, order)])
    const twins: Array<{ localPort: number; udp: number | null; tcp: number | null }> = []
    for (let n = 0; n < 3 && udp !== null; n++) {
      const localPort = freePort()
      const [byUdp, byTcp] = [await openUdp(localPort), await openTcp(localPort)]
      const [udpSeen, tcpSeen] = [await byUdp.ask([first, p2]), await byTcp.ask([first, p2])]
      twins.push({ localPort, udp: udpSeen?.[1] ?? null, tcp: tcpSeen?.[1] ?? null })
    }
    if (tcp !== null) {
      const once = await openTcp(freePort())
      const before = await once.ask([first, p2])
      await once.reset()
      const after = await once.ask([first, p2])
      if (before !== null && after !== null) tcp.again = [before[1], after[1]]
    }
    console.log(JSON.stringify({ udp, tcp, twins }))
    process.exit(0)
  }
  main().catch((error: Error) => {
    console.error(error.message)
    process.exit(1)
  })
}
