/**
 * The sandwich, for symmetric NATs that give ports one after another: between two observations at reflectors a new
 * socket sends its opener to the cone side, so that the opener's port is between the two that were seen.
 */
import type { Socket } from 'node:dgram'
import type { MeetOptions } from './meet.ts'
import { ask, type ObservedBy } from './observe.ts'
import { encodePunch } from './packets.ts'
import { between, nextPorts, type PortRange, portCount } from './ports.ts'
import { sendUdp } from './sockets.ts'

/** Twice, back to back: the second makes the mapping where the first is lost on the way to the NAT. */
const OPENERS = 2
const OBSERVE_TRIES = 3
/** With a single endpoint to observe at there is only one slice: the next ports are probed. */
const PORTS_AFTER = 16

export interface SandwichOptions extends MeetOptions {
  /** Of the reflectors, at least one. */
  endpoints: readonly ObservedBy[]
  /** Distance of two mappings made one after another. */
  step: number
  signal: AbortSignal
}

/**
 * Open from a socket that sent nothing yet to the cone side's port.
 * @returns where its mapping is; null when the sandwich came out wrong and has to be made anew with another socket
 * @throws the signal's reason
 */
export async function openBetween(socket: Socket, port: number, options: SandwichOptions): Promise<PortRange | null> {
  const { endpoints, host, token, budget, step, signal } = options
  const observe = (by: ObservedBy | undefined): Promise<number | null> => {
    if (by === undefined || !budget.take()) return Promise.resolve(null)
    const asked = ask({ socket, to: by, token: by.token, signal, tries: OBSERVE_TRIES, mayRepeat: budget.take })
    return asked.then(seen => seen?.port ?? null)
  }
  const [first, second, third] = endpoints
  // No await between these: the datagrams leave back to back.
  const before = [observe(first), ...(third === undefined ? [] : [observe(second)])]
  const opener = encodePunch('open', token)
  for (let nth = 0; nth < OPENERS; nth++) if (budget.take()) sendUdp(socket, opener, { host, port })
  const after = observe(third ?? second)

  const [seenAfter, ...seenBefore] = await Promise.all([after, ...before])
  const known = seenBefore.filter(seen => seen !== null)
  if (endpoints.length === 1) return known[0] === undefined ? null : nextPorts(known[0], step, PORTS_AFTER)
  if (seenAfter === null || seenAfter === undefined) return null
  const windows = known.map(seen => between(seen, seenAfter, step)).filter(window => window !== null)
  return windows.sort((one, other) => portCount(one) - portCount(other))[0] ?? null
}
