/** Programs that look at IPv6 from inside hosts; see probe-programs.ts for how they get there. */

/** What a host with IPv6 saw; null: no answer. */
export interface Ipv6Observation {
  /** As whom the reflector saw it by UDP and by TCP. */
  udp: string | null
  tcp: string | null
  /** Whether an answer came in from a port that was never sent to. */
  unasked: boolean
  /** As whom an IPv4 host saw it through NAT64, by UDP and by TCP; null also where it was not asked. */
  nat64: { udp: string | null; tcp: string | null }
  /** Addresses of the name that was asked for, or the resolver's error; null where none was asked. */
  name: string[] | string | null
}

/** UDP on `port`: `who` is told, `other` is told from `port + 1`. TCP on `port`: who connects is told. For `forMs`. */
export function reflectIpv6(port: number, forMs: number): void {
  const dgram = process.getBuiltinModule('node:dgram')
  // IPv4 comes in as ::ffff:…
  const plain = (address: string): string => address.replace(/^::ffff:/, '')
  const [socket, other] = [dgram.createSocket('udp6'), dgram.createSocket('udp6')]
  other.bind(port + 1)
  socket.on('message', (message, from) => {
    const sender = message.toString() === 'other' ? other : socket
    sender.send(plain(from.address), from.port, from.address)
  })
  socket.bind(port)
  process
    .getBuiltinModule('node:net')
    .createServer(client => {
      client.on('error', () => {})
      client.end(plain(client.remoteAddress ?? ''))
    })
    .listen(port, '::')
  setTimeout(() => process.exit(0), forMs)
}

/** Look at the reflector, and where given at an IPv4 host through NAT64 and at a name; print an Ipv6Observation. */
export function probeIpv6(config: {
  reflector: string
  port: number
  /** The reflector's IPv4 address behind the NAT64 prefix. */
  nat64: string | null
  name: { server: string; name: string } | null
  withinMs: number
  /** How long an unasked answer may take. */
  quietMs: number
}): void {
  const { reflector, port, nat64, name, withinMs, quietMs } = config
  const resendEveryMs = 100
  const udp = (address: string, message: string, limitMs: number, fromPort: number): Promise<string | null> =>
    new Promise(resolve => {
      const socket = process.getBuiltinModule('node:dgram').createSocket('udp6')
      const send = (): void => socket.send(message, port, address)
      const finish = (answer: string | null): void => {
        clearInterval(timer)
        clearTimeout(deadline)
        socket.close()
        resolve(answer)
      }
      const timer = setInterval(send, resendEveryMs)
      const deadline = setTimeout(finish, limitMs, null)
      socket.on('error', () => finish(null))
      socket.on('message', (heard, from) => from.port === fromPort && finish(heard.toString()))
      socket.bind(0, send)
    })
  const tcp = (address: string): Promise<string | null> =>
    new Promise(resolve => {
      const socket = process.getBuiltinModule('node:net').connect({ host: address, port, timeout: withinMs })
      let heard = ''
      socket.on('data', chunk => {
        heard += chunk
      })
      socket.on('end', () => resolve(heard))
      socket.on('timeout', () => socket.destroy())
      socket.on('error', () => {})
      socket.on('close', () => resolve(heard === '' ? null : heard))
    })
  const lookUp = async (): Promise<string[] | string | null> => {
    if (name === null) return null
    const { Resolver } = process.getBuiltinModule('node:dns').promises
    const resolver = new Resolver({ timeout: withinMs, tries: 1 })
    resolver.setServers([`[${name.server}]`])
    return await resolver.resolve6(name.name).catch((error: NodeJS.ErrnoException) => error.code ?? error.message)
  }
  const look = async (): Promise<void> => {
    const observation = {
      udp: await udp(reflector, 'who', withinMs, port),
      tcp: await tcp(reflector),
      unasked: (await udp(reflector, 'other', quietMs, port + 1)) !== null,
      nat64:
        nat64 === null
          ? { udp: null, tcp: null }
          : { udp: await udp(nat64, 'who', withinMs, port), tcp: await tcp(nat64) },
      name: await lookUp()
    }
    console.log(JSON.stringify(observation))
    process.exit(0)
  }
  look()
}
