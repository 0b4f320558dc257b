/**
 * Small programs that run inside hosts to see the network from there. Each is a self-contained function: its source
 * text is handed to `node -e`, so that both runtimes run it and no image carries it.
 */

/** `node -e …` that calls the function with these arguments, given as JSON. */
export function nodeProgram<A extends unknown[]>(program: (...args: A) => void, ...args: A): string[] {
  return ['node', '-e', `(${program})(...${JSON.stringify(args)})`]
}

/** What a prober saw. `null` seen: no answer. */
export interface ProbeResult {
  localPort: number
  seen: Array<{ target: string; address: string; port: number } | { target: string; address: null; port: null }>
  /** Round trips to the first target, milliseconds, those that came back. */
  roundTripsMs: number[]
  sent: number
}

/** Answer every UDP datagram on these ports with who sent it and what it said, for `forMs`. */
export function reflectUdp(ports: number[], forMs: number): void {
  const dgram = process.getBuiltinModule('node:dgram')
  for (const port of ports) {
    const socket = dgram.createSocket('udp4')
    socket.on('message', (message, { address, port: from }) => {
      socket.send(JSON.stringify({ address, port: from, said: message.toString() }), from, address)
    })
    socket.bind(port)
  }
  setTimeout(() => process.exit(0), forMs)
}

/**
 * From one socket ask each `address:port` who it sees, then time `rounds` round trips to the first one, one after
 * another; print a ProbeResult.
 */
export function probeUdp(targets: string[], rounds: number, firstAnswerWithinMs: number, answerWithinMs: number): void {
  const dgram = process.getBuiltinModule('node:dgram')
  const socket = dgram.createSocket('udp4')
  const resendEveryMs = 100
  let sequence = 0
  const ask = (
    target: string,
    withinMs: number,
    resend: boolean
  ): Promise<{ address: string; port: number; tookMs: number } | null> =>
    new Promise(resolve => {
      const [address, port] = target.split(':') as [string, string]
      const said = `${++sequence}`
      const began = performance.now()
      const send = (): void => socket.send(said, Number(port), address)
      const timer = resend ? setInterval(send, resendEveryMs) : undefined
      const finish = (answer: { address: string; port: number; tookMs: number } | null): void => {
        clearInterval(timer)
        clearTimeout(deadline)
        socket.off('message', heard)
        resolve(answer)
      }
      const heard = (message: Buffer): void => {
        const answer = JSON.parse(message.toString()) as { address: string; port: number; said: string }
        if (answer.said === said)
          finish({ address: answer.address, port: answer.port, tookMs: performance.now() - began })
      }
      const deadline = setTimeout(finish, withinMs, null)
      socket.on('message', heard)
      send()
    })
  socket.bind(0, async () => {
    const seen: unknown[] = []
    for (const target of targets) {
      const answer = await ask(target, firstAnswerWithinMs, true)
      seen.push({ target, address: answer?.address ?? null, port: answer?.port ?? null })
    }
    const roundTripsMs: number[] = []
    for (let round = 0; round < rounds; round++) {
      const answer = await ask(targets[0] as string, answerWithinMs, false)
      if (answer !== null) roundTripsMs.push(Math.round(answer.tookMs * 1000) / 1000)
    }
    console.log(JSON.stringify({ localPort: socket.address().port, seen, roundTripsMs, sent: rounds }))
    process.exit(0)
  })
}
