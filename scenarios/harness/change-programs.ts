/** Small programs that run inside hosts while the network changes; see probe-programs.ts for how. */

/** From a local port ask a reflector who it sees; print `address:port`, or `silence` when nothing came within `withinMs`. */
export function seenFrom(localPort: number, target: string, withinMs: number): void {
  const socket = process.getBuiltinModule('node:dgram').createSocket('udp4')
  const [address, port] = target.split(':') as [string, string]
  const resendEveryMs = 50
  const end = (word: string): void => {
    console.log(word)
    process.exit(0)
  }
  socket.on('message', message => {
    const seen = JSON.parse(message.toString()) as { address: string; port: number }
    end(`${seen.address}:${seen.port}`)
  })
  // A host without a way hears of it at once; it may get one.
  socket.on('error', () => {})
  socket.bind(localPort, () => {
    const send = (): void => socket.send('who', Number(port), address, () => {})
    send()
    setInterval(send, resendEveryMs)
  })
  setTimeout(end, withinMs, 'silence')
}

/** Print the addresses of this host's interfaces that are up and have a carrier, as JSON. */
export function listAddresses(): void {
  const all = Object.values(process.getBuiltinModule('node:os').networkInterfaces()).flatMap(list => list ?? [])
  console.log(JSON.stringify(all.filter(({ internal }) => !internal).map(({ address }) => address)))
}

/** Who was heard. `late`: this program began after the window did, so what it says means nothing. */
export interface MeshHearing {
  late: boolean
  heard: string[]
}

/** Say one's name to every peer, over and over, until the window ends; print whom one heard within it as MeshHearing. */
export function mesh(name: string, port: number, peers: string[], startAtMs: number, windowMs: number): void {
  const late = Date.now() > startAtMs
  const socket = process.getBuiltinModule('node:dgram').createSocket('udp4')
  const sayEveryMs = 30
  const heard = new Set<string>()
  socket.on('error', () => {})
  socket.on('message', message => {
    if (Date.now() >= startAtMs) heard.add(message.toString())
  })
  socket.bind(port, () => {
    setInterval(() => {
      for (const peer of peers) {
        const [address, to] = peer.split(':') as [string, string]
        socket.send(name, Number(to), address, () => {})
      }
    }, sayEveryMs)
  })
  setTimeout(
    () => {
      console.log(JSON.stringify({ late, heard: [...heard].sort() }))
      process.exit(0)
    },
    startAtMs + windowMs - Date.now()
  )
}
