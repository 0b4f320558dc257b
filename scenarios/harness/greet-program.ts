/** Who answers at a TCP port: one self-contained function whose source text can be handed to `node -e` inside any host. */

/** Connect, print the first bytes that come within `withinMs` (a libp2p peer's greeting), or nothing. */
export function greetTcp(host: string, port: number, withinMs: number): void {
  const net = process.getBuiltinModule('node:net')
  const socket = net.connect(port, host)
  const finish = (greeting: string): void => {
    console.log(greeting)
    process.exit(0)
  }
  setTimeout(finish, withinMs, '')
  socket.on('error', () => finish(''))
  // The dialling side greets first.
  socket.on('connect', () => socket.write(Buffer.concat([Buffer.from([19]), Buffer.from('/multistream/1.0.0\n')])))
  socket.on('data', data => finish(data.toString('latin1')))
}
