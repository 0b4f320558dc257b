/**
 * The birthday method, for symmetric NATs whose next port cannot be told: the symmetric side opens many mappings to the
 * cone side's one port, the cone side probes many ports of the symmetric side's address, and one of these is one of those.
 */
import type { Socket } from 'node:dgram'
import { paced } from './budget.ts'
import type { MeetOptions } from './meet.ts'
import { encodePunch } from './packets.ts'
import { sendUdp } from './sockets.ts'

export interface SendOptions extends MeetOptions {
  perSecond: number
  signal: AbortSignal
  /** No more is sent once the sides met. */
  isOver: () => boolean
}

/**
 * One opener from each socket to the cone side's port.
 * @returns datagrams sent
 */
export async function openMappings(sockets: readonly Socket[], port: number, options: SendOptions): Promise<number> {
  const { host, token, budget } = options
  const opener = encodePunch('open', token)
  return await paced(
    sockets,
    socket => {
      if (budget.take()) sendUdp(socket, opener, { host, port })
    },
    options
  )
}

/**
 * One probe to each port of the symmetric side's address.
 * @returns datagrams sent
 */
export async function probePorts(socket: Socket, ports: readonly number[], options: SendOptions): Promise<number> {
  const { host, token, budget } = options
  const probe = encodePunch('probe', token)
  return await paced(
    ports,
    port => {
      if (budget.take()) sendUdp(socket, probe, { host, port })
    },
    options
  )
}
