/** More small programs that run inside hosts; see probe-programs.ts for how. */

/** Connect by TCP to `address:port`: exit 0 when it is accepted, 1 with the error's code on stdout when not. */
export function connectTcp(address: string, port: number, withinMs: number): void {
  const socket = process.getBuiltinModule('node:net').connect({ host: address, port, timeout: withinMs })
  const end = (code: number, word: string): void => {
    console.log(word)
    process.exit(code)
  }
  socket.on('connect', () => end(0, 'connected'))
  socket.on('timeout', () => end(1, 'ETIMEDOUT'))
  socket.on('error', (error: NodeJS.ErrnoException) => end(1, error.code ?? error.message))
}

/** Exit 0 once a port of every address takes TCP connections, 1 when one does not within the time. */
export function awaitTcp(addresses: string[], port: number, withinMs: number): void {
  const net = process.getBuiltinModule('node:net')
  const retryMs = 50
  const waiting = new Set(addresses)
  setTimeout(() => {
    console.error(`port ${port} is not open at ${[...waiting].join(', ')}`)
    process.exit(1)
  }, withinMs)
  const dial = (address: string): void => {
    const socket = net.connect({ host: address, port })
    socket.on('connect', () => {
      socket.destroy()
      waiting.delete(address)
      if (waiting.size === 0) process.exit(0)
    })
    socket.on('error', () => setTimeout(dial, retryMs, address))
  }
  for (const address of addresses) dial(address)
}

/** What a host's routing tables say, from /proc: it needs no tool that an image may not have. */
export interface RoutingTables {
  /** IPv4: destination and mask as they are written, next hop or null for directly attached. */
  v4: Array<{ destination: string; prefixLength: number; via: string | null; device: string }>
  /** IPv6 routes that lead anywhere but to this host or its link. */
  v6: string[]
}

/** Print the host's RoutingTables. */
export function readRoutes(): void {
  const fs = process.getBuiltinModule('node:fs')
  // proc(5): addresses are little-endian hexadecimal; flag 1 is up, 2 is "by a gateway".
  const dotted = (hex: string): string =>
    (hex.match(/../g) ?? [])
      .reverse()
      .map(byte => Number.parseInt(byte, 16))
      .join('.')
  const bits = (hex: string): number => [...Number.parseInt(hex, 16).toString(2)].filter(bit => bit === '1').length
  const v4 = fs
    .readFileSync('/proc/net/route', 'utf8')
    .trim()
    .split('\n')
    .slice(1)
    .map(line => line.split('\t') as [string, string, string, string, string, string, string, string])
    .filter(([, , , flags]) => (Number.parseInt(flags, 16) & 1) === 1)
    .map(([device, destination, via, flags, , , , mask]) => ({
      destination: dotted(destination),
      prefixLength: bits(mask),
      via: (Number.parseInt(flags, 16) & 2) === 2 ? dotted(via) : null,
      device
    }))
  const linkLocalOrMulticast = /^(fe80|ff)/
  let v6: string[] = []
  try {
    // Rejecting routes (flag 0x200) and those on lo lead nowhere.
    v6 = fs
      .readFileSync('/proc/net/ipv6_route', 'utf8')
      .trim()
      .split('\n')
      .map(line => line.split(/\s+/))
      .filter(
        ([destination, , , , , , , , flags, device]) =>
          device !== 'lo' &&
          (Number.parseInt(flags ?? '0', 16) & 0x200) === 0 &&
          !linkLocalOrMulticast.test(destination ?? '')
      )
      .map(line => line.join(' '))
  } catch {
    // A kernel without IPv6 has no IPv6 way out.
  }
  console.log(JSON.stringify({ v4, v6 }))
}
