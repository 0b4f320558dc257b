/** Programs that measure TCP from inside hosts. See probe-programs.ts. */

/** What a bulk transfer reached. */
export interface TcpResult {
  /** Payload that arrived after the start-up time, megabit per second. */
  goodputMbit: number
  /** What both ends' kernels let a connection have under way, bytes. */
  windowBytes: number
}

/** Accept connections and throw away what comes; tell each at its end what came of it. For `forMs`. */
export function sinkTcp(port: number, forMs: number): void {
  const net = process.getBuiltinModule('node:net')
  const { readFileSync } = process.getBuiltinModule('node:fs')
  /** Largest of a kernel's three sizes of a socket buffer. */
  const most = (name: string): number =>
    Number(readFileSync(`/proc/sys/net/ipv4/${name}`, 'utf8').trim().split(/\s+/)[2])
  const server = net.createServer({ allowHalfOpen: true }, socket => {
    const arrivals: Array<[ms: number, bytes: number]> = []
    let bytes = 0
    socket.on('data', chunk => {
      bytes += chunk.length
      const now = performance.now()
      const last = arrivals.at(-1)
      // A few hundred are enough to find any moment of it.
      if (last === undefined || now - last[0] >= 10) arrivals.push([now, bytes])
    })
    socket.on('error', () => socket.destroy())
    socket.on('end', () => socket.end(JSON.stringify({ arrivals, receiveBytes: most('tcp_rmem') })))
  })
  server.listen(port)
  setTimeout(() => process.exit(0), forMs)
}

/** Send for `sendMs` as fast as it goes; print a TcpResult of what came after the first `startUpMs`. */
export function pourTcp(address: string, port: number, sendMs: number, startUpMs: number): void {
  const net = process.getBuiltinModule('node:net')
  const { readFileSync } = process.getBuiltinModule('node:fs')
  const most = (name: string): number =>
    Number(readFileSync(`/proc/sys/net/ipv4/${name}`, 'utf8').trim().split(/\s+/)[2])
  const chunk = Buffer.alloc(256 << 10, 0x55)
  const retryMs = 100
  const connect = (): void => {
    const socket = net.connect(port, address)
    let answer = ''
    socket.on('error', () => setTimeout(connect, retryMs))
    socket.on('connect', () => {
      socket.removeAllListeners('error')
      const endAt = performance.now() + sendMs
      const pour = (): void => {
        while (performance.now() < endAt) if (!socket.write(chunk)) return void socket.once('drain', pour)
        socket.end()
      }
      pour()
    })
    socket.on('data', text => {
      answer += text.toString()
    })
    socket.on('end', () => {
      const { arrivals, receiveBytes } = JSON.parse(answer) as {
        arrivals: Array<[number, number]>
        receiveBytes: number
      }
      const [firstMs] = arrivals[0]!
      const begun = arrivals.find(([ms]) => ms >= firstMs + startUpMs) ?? arrivals[0]!
      const ended = arrivals.findLast(([ms]) => ms <= firstMs + sendMs) ?? arrivals.at(-1)!
      const goodputMbit = ((ended[1] - begun[1]) * 8) / 1000 / (ended[0] - begun[0])
      // Linux advertises about half of a receive buffer, and keeps headers beside what is sent.
      const windowBytes = Math.min(receiveBytes, most('tcp_wmem')) / 2
      console.log(JSON.stringify({ goodputMbit, windowBytes }))
      process.exit(0)
    })
  }
  connect()
}
