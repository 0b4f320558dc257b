/** For tests on loopback: a NAT of plain sockets between a peer and what it speaks to. */
import type { Socket } from 'node:dgram'
import { bindUdp, closeUdp, sendUdp } from './sockets.ts'

export interface TestNat {
  /** Where a peer inside sends what is meant for `to`. */
  towards: (to: { host: string; port: number }) => Promise<{ host: string; port: number }>
  /** Lose every datagram outwards for which this says true. */
  loseIf: (lost: (nth: number) => boolean) => void
  close: () => void
}

/**
 * A NAT with address-and-port-dependent mapping and filtering.
 * @param allocate the outer port of the nth mapping; 0 lets the kernel choose
 */
export function createTestNat(allocate: (nth: number) => number): TestNat {
  const sockets: Socket[] = []
  let mappings = 0
  let datagrams = 0
  let isLost: (nth: number) => boolean = () => false
  return {
    async towards(to) {
      const inside = await bindUdp({ host: '127.0.0.1' })
      const outer = new Map<number, Promise<Socket>>()
      sockets.push(inside)
      inside.on('message', (bytes, from) => {
        if (isLost(datagrams++)) return
        let mapping = outer.get(from.port)
        if (mapping === undefined) {
          mapping = bindUdp({ host: '127.0.0.1', port: allocate(mappings++) })
          outer.set(from.port, mapping)
          void mapping.then(socket => {
            sockets.push(socket)
            socket.on('message', (answer, { port, address }) => {
              if (port === to.port && address === to.host)
                sendUdp(inside, answer, { host: from.address, port: from.port })
            })
          })
        }
        void mapping.then(socket => sendUdp(socket, bytes, to))
      })
      return { host: '127.0.0.1', port: inside.address().port }
    },
    loseIf(lost) {
      isLost = lost
    },
    close() {
      for (const socket of sockets.splice(0)) closeUdp(socket)
    }
  }
}
