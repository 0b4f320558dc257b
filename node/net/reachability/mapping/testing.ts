/** A router on a loopback address that speaks PCP and NAT-PMP as it is told, for tests. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { ROUTER_PORT } from './pcp.ts'

export interface RouterManners {
  /** Whether it answers PCP; without, it answers such requests in NAT-PMP's version, as RFC 6887 appendix A has it. */
  pcp: boolean
  /** What it says its outer address is. */
  outerHost: string
  /** Result code of every answer. */
  result: number
  /** Longest lease, seconds. */
  leaseS: number
  /** Never answers. */
  silent: boolean
}

export interface TestRouter extends AsyncDisposable {
  /** Its address. */
  host: string
  manners: RouterManners
  /** Inner port → outer port of what is mapped now. */
  mapped: Map<number, number>
  /** Requests to map or renew so far. */
  asked: () => number
}

let nextHost = 1

export async function startRouter(manners: Partial<RouterManners> = {}): Promise<TestRouter> {
  const how: RouterManners = { pcp: true, outerHost: '11.0.7.1', result: 0, leaseS: 7200, silent: false, ...manners }
  // Each router has an address of its own, so that their one port is free.
  const host = `127.${64 + (process.pid % 64)}.${Math.floor(Math.random() * 250)}.${nextHost++}`
  const mapped = new Map<number, number>()
  let asked = 0
  const socket = createSocket('udp4')
  socket.on('message', (data, sender) => {
    if (how.silent) return
    const answer =
      data[0] === 2 ? (how.pcp ? answerPcp(data) : Buffer.from([0, 128, 0, 1, 0, 0, 0, 0])) : answerPmp(data)
    socket.send(answer, sender.port, sender.address)
  })

  function grant(innerPort: number, lifetimeS: number): { outerPort: number; leaseS: number } {
    asked++
    const outerPort = 20_000 + (innerPort % 1000)
    if (how.result !== 0) return { outerPort: 0, leaseS: 0 }
    if (lifetimeS === 0) mapped.delete(innerPort)
    else mapped.set(innerPort, outerPort)
    return { outerPort, leaseS: Math.min(lifetimeS, how.leaseS) }
  }

  function answerPcp(data: Buffer): Buffer {
    const answer = Buffer.from(data)
    const { outerPort, leaseS } = grant(data.readUInt16BE(40), data.readUInt32BE(4))
    answer.writeUInt8(129, 1)
    answer.writeUInt8(how.result, 3)
    answer.writeUInt32BE(leaseS, 4)
    answer.writeUInt16BE(outerPort, 42)
    Buffer.from(how.outerHost.split('.').map(Number)).copy(answer, 56)
    return answer
  }

  function answerPmp(data: Buffer): Buffer {
    const opcode = data[1]!
    if (opcode === 0) {
      const answer = Buffer.alloc(12)
      answer.writeUInt8(128, 1)
      answer.writeUInt16BE(how.result, 2)
      Buffer.from(how.outerHost.split('.').map(Number)).copy(answer, 8)
      return answer
    }
    const answer = Buffer.alloc(16)
    const { outerPort, leaseS } = grant(data.readUInt16BE(4), data.readUInt32BE(8))
    answer.writeUInt8(128 + opcode, 1)
    answer.writeUInt16BE(how.result, 2)
    data.copy(answer, 8, 4, 6)
    answer.writeUInt16BE(outerPort, 10)
    answer.writeUInt32BE(leaseS, 12)
    return answer
  }

  socket.bind(ROUTER_PORT, host)
  await once(socket, 'listening')
  return {
    host,
    manners: how,
    mapped,
    asked: () => asked,
    async [Symbol.asyncDispose]() {
      socket.close()
      await once(socket, 'close')
    }
  }
}
