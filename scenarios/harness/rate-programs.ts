/** Programs that measure a rate limit from inside hosts: bursts of UDP, timed where they arrive. See probe-programs.ts. */

/** What a prober measured, kilobit per second of whole frames, one number a round; what never came is not in it. */
export interface RateResult {
  upKbit: number[]
  downKbit: number[]
}

/**
 * Receive bursts (`B`) and say at `Q` how long they took; send one of so many packets at `D<count>`. For `forMs`.
 * Packets carry 1200 bytes.
 */
export function reflectBursts(port: number, forMs: number): void {
  const payloadBytes = 1200
  const socket = process.getBuiltinModule('node:dgram').createSocket('udp4')
  const bursts = new Map<string, { first: number; last: number; packets: number }>()
  socket.on('message', (message, { address, port: from }) => {
    const who = `${address}:${from}`
    const kind = String.fromCharCode(message[0] ?? 0)
    if (kind === 'B') {
      const now = performance.now()
      const burst = bursts.get(who) ?? { first: now, last: now, packets: 0 }
      bursts.set(who, { first: burst.first, last: now, packets: burst.packets + 1 })
    } else if (kind === 'Q') {
      socket.send(JSON.stringify(bursts.get(who) ?? null), from, address)
      bursts.delete(who)
    } else if (kind === 'D') {
      const packet = Buffer.alloc(payloadBytes, 'B')
      for (let count = Number(message.subarray(1)); count > 0; count--) socket.send(packet, from, address)
    }
  })
  socket.bind(port)
  setTimeout(() => process.exit(0), forMs)
}

/** Send and ask for bursts, `rounds` of each that is not 0 packets long; print a RateResult. */
export function probeBursts(
  address: string,
  port: number,
  upPackets: number,
  downPackets: number,
  rounds: number
): void {
  const payloadBytes = 1200
  // IPv4, UDP and Ethernet headers: what a rate limit counts besides.
  const frameBits = (payloadBytes + 20 + 8 + 14) * 8
  const quietMs = 250
  const roundWithinMs = 10_000
  const dgram = process.getBuiltinModule('node:dgram')
  const kbit = ({ first, last, packets }: { first: number; last: number; packets: number }): number[] =>
    packets < 3 || last <= first ? [] : [Math.round(((packets - 1) * frameBits) / (last - first))]
  /** A socket of its own for each round, so that no packet of one is counted in another. */
  const withSocket = (
    act: (socket: import('node:dgram').Socket, done: (result: number[]) => void) => void
  ): Promise<number[]> =>
    new Promise(resolve => {
      const socket = dgram.createSocket({ type: 'udp4', recvBufferSize: 4 << 20 })
      const timer = setTimeout(() => finish([]), roundWithinMs)
      const finish = (result: number[]): void => {
        clearTimeout(timer)
        socket.close()
        resolve(result)
      }
      socket.bind(0, () => act(socket, finish))
    })
  const up = (): Promise<number[]> =>
    withSocket((socket, done) => {
      const packet = Buffer.alloc(payloadBytes, 'B')
      // The question travels behind the burst through the same queue; it is repeated because it can be dropped too.
      const ask = setInterval(() => socket.send('Q', port, address), quietMs)
      socket.on('close', () => clearInterval(ask))
      socket.once('message', message => done(kbit(JSON.parse(message.toString()) ?? { first: 0, last: 0, packets: 0 })))
      for (let count = upPackets; count > 0; count--) socket.send(packet, port, address)
    })
  const down = (): Promise<number[]> =>
    withSocket((socket, done) => {
      const burst = { first: 0, last: 0, packets: 0 }
      let quiet: NodeJS.Timeout | undefined
      socket.on('message', () => {
        burst.last = performance.now()
        if (burst.packets === 0) burst.first = burst.last
        burst.packets += 1
        clearTimeout(quiet)
        quiet = setTimeout(() => done(kbit(burst)), quietMs)
      })
      socket.on('close', () => clearTimeout(quiet))
      socket.send(`D${downPackets}`, port, address)
    })
  const measure = async (): Promise<void> => {
    const result: { upKbit: number[]; downKbit: number[] } = { upKbit: [], downKbit: [] }
    for (let round = 0; round < rounds; round++) {
      if (upPackets > 0) result.upKbit.push(...(await up()))
      if (downPackets > 0) result.downKbit.push(...(await down()))
    }
    console.log(JSON.stringify(result))
    process.exit(0)
  }
  measure()
}
