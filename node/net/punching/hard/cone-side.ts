/** The cone side of an attempt: one socket, whose port it tells; it probes where it is told, and follows the choice. */
import type { Socket } from 'node:dgram'
import { pause } from '../../timings.ts'
import { probePorts } from './birthday.ts'
import { type Budget, createBudget } from './budget.ts'
import { follow, type Met } from './meet.ts'
import type { Message } from './messages.ts'
import { ask } from './observe.ts'
import { portCount, randomPorts } from './ports.ts'
import { HardPunchError } from './reasons.ts'
import type { SideContext } from './side.types.ts'
import { bindUdp, closeUdp } from './sockets.ts'

/** After the last probe: its way there, the choice's way back, and one repetition. */
const PATIENCE_MS = 1200
/** A window this small is probed several times, so that loss does not decide. */
const SMALL_WINDOW_PORTS = 64
const SMALL_WINDOW_TIMES = 4
const AGAIN_MS = 150
/** Probes leave at half the rate that is allowed: after the hit fewer are under way for nothing. */
const PROBE_SHARE = 0.5
/** Rounds that a symmetric side may ask for in one negotiation. */
const MAX_ROUNDS = 8

interface Round {
  socket: Socket
  port: number
}

/**
 * @returns the pair that the symmetric side chose and says it met by
 * @throws HardPunchError with its reason, or the signal's; no socket stays open
 */
export async function coneSide(context: SideContext): Promise<Met> {
  const { talk, limits } = context
  // What is asked of us over all rounds, whatever the other side's limits are.
  const budget = createBudget(limits.maxPackets)
  let allowed = budget
  let round = await observed(allowed, context)
  const unused = [...context.endpoints].reverse()
  try {
    await talk.say({ type: 'ready', port: round.port })
    for (let nth = 0; nth < MAX_ROUNDS; nth++) {
      const probe = await talk.hear('probe')
      if (probe.lowest > probe.highest || probe.probes > limits.maxPackets) throw new HardPunchError('protocol')
      // Whoever asks for more than there is gets no more of our time either.
      if (allowed.left() === 0) throw new HardPunchError('no-meeting')
      if (probe.coneFirst) {
        await context.countAgain()
        allowed = createBudget(limits.maxPackets)
        closeUdp(round.socket)
        round = await observed(allowed, context)
      }
      const met = await probed(round, probe, allowed, context)
      if (met !== null) return met
      await talk.say({ type: 'missed', moved: await hasMoved(round, unused, allowed, context) })
    }
    throw new HardPunchError('no-meeting')
  } catch (error) {
    closeUdp(round.socket)
    throw error
  } finally {
    context.spent(budget.spent() + (allowed === budget ? 0 : allowed.spent()))
  }
}

/** A new socket and its port outside. */
async function observed(budget: Budget, { endpoints, signal }: SideContext): Promise<Round> {
  const socket = await bindUdp()
  try {
    for (const by of endpoints) {
      if (!budget.take()) break
      const seen = await ask({ socket, to: by, token: by.token, signal, mayRepeat: budget.take })
      if (seen !== null) return { socket, port: seen.port }
    }
    throw new HardPunchError('reflector-silent')
  } catch (error) {
    closeUdp(socket)
    throw error
  }
}

/** null: nothing met. */
async function probed(
  { socket, port }: Round,
  probe: Message<'probe'>,
  budget: Budget,
  context: SideContext
): Promise<Met | null> {
  const { talk, limits, signal } = context
  const host = await context.host()
  const follower = follow(socket, { ...context, host, budget })
  const ports = randomPorts(probe, Math.min(probe.probes, portCount(probe)))
  const times = ports.length <= SMALL_WINDOW_PORTS && !probe.coneFirst ? SMALL_WINDOW_TIMES : 1
  const ended = new AbortController()
  const stop = AbortSignal.any([signal, ended.signal])
  const sending = async (): Promise<void> => {
    const perSecond = Math.max(1, limits.packetsPerSecond * PROBE_SHARE)
    for (let time = 0; time < times && !follower.hasChosen(); time++) {
      if (time > 0) await pause(AGAIN_MS, stop)
      await probePorts(socket, ports, { ...context, host, budget, perSecond, signal: stop, isOver: follower.hasChosen })
    }
    if (probe.coneFirst && !follower.hasChosen()) await talk.say({ type: 'ready', port })
    await pause(PATIENCE_MS + (probe.coneFirst ? openersTakeMs(limits) : 0), stop)
  }
  try {
    // Whatever the other side says before it chose is that it gave up.
    await Promise.race([follower.chosen, sending(), talk.spoken()])
    signal.throwIfAborted()
    if (!follower.hasChosen()) {
      ended.abort()
      return null
    }
    const met = await follower.chosen
    // Until the other side says so it may not have heard us: its choices are answered meanwhile.
    await talk.hear('met')
    return met
  } finally {
    ended.abort()
    follower.end()
  }
}

/** The other side opens after it heard `ready`. */
function openersTakeMs({ maxSockets, packetsPerSecond }: SideContext['limits']): number {
  return Math.ceil((2000 * maxSockets) / packetsPerSecond)
}

/**
 * Whether the socket has another port outside than before, asked at an endpoint it never spoke to: a router that takes
 * packets from outside for its own gives our flow another port when they clash.
 */
async function hasMoved(
  { socket, port }: Round,
  unused: SideContext['endpoints'][number][],
  budget: Budget,
  { signal }: SideContext
): Promise<boolean> {
  const by = unused.length > 1 ? unused.shift() : undefined
  if (by === undefined || !budget.take()) return false
  const seen = await ask({ socket, to: by, token: by.token, signal, tries: 2, mayRepeat: budget.take })
  return seen !== null && seen.port !== port
}
