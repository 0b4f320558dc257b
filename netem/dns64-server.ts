/**
 * The server of names of a NAT64 router: `dns64-server '{"address":…,"zone":…,"names":…}'` answers UDP on port 53 of
 * that address until it is ended, and prints one line `{"ready":true}` when it does.
 */
import { createSocket } from 'node:dgram'
import { decode, encode } from 'dns-packet'
import { answerOf } from './dns64.ts'
import type { LabNames } from './nat64.ts'

const DNS_PORT = 53

const { address, zone, names } = JSON.parse(process.argv[2] ?? '{}') as {
  address: string
  zone: string
  names: LabNames
}
const socket = createSocket('udp6')
socket.on('message', (message, from) => {
  try {
    socket.send(encode(answerOf(decode(message), zone, names)), from.port, from.address)
  } catch {
    // Not a query: a server that answers everything could be made to answer others.
  }
})
socket.bind(DNS_PORT, address, () => console.log(JSON.stringify({ ready: true })))
process.once('SIGTERM', () => process.exit(0))
