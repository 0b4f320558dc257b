/** The symmetric side of an attempt: it opens, tells the cone side where to probe, and chooses the pair. */
import { openMappings } from './birthday.ts'
import { type Budget, createBudget } from './budget.ts'
import type { HardMethod } from './decide.ts'
import { type Chooser, chooseFrom, type Met } from './meet.ts'
import { ask } from './observe.ts'
import { likelyRange, nextPorts, type PortRange, planBirthday, portCount } from './ports.ts'
import { HardPunchError } from './reasons.ts'
import { openBetween } from './sandwich.ts'
import type { SideContext } from './side.types.ts'
import { bindMany, bindUdp, closeUdp } from './sockets.ts'

/** Packets kept for observations, choices and answers, both sides together. */
export const RESERVED_PACKETS = 60
/** Slices of a sandwich; each takes about two round trips through the relay. */
const MAX_SLICES = 5
/** Probed before the opener leaves, where the cone side has to be first. */
const PORTS_AHEAD = 32

/**
 * @returns the pair that met, the cone side having confirmed it
 * @throws HardPunchError with its reason, or the signal's; no socket stays open
 */
export async function symmetricSide(method: HardMethod, context: SideContext): Promise<Met> {
  const { talk, limits } = context
  const { port } = await talk.hear('ready')
  await context.host()
  const budget = createBudget(limits.maxPackets)
  try {
    const outcome = method === 'sandwich' ? await slices(port, budget, context) : await birthday(port, budget, context)
    if (outcome !== 'moved') return outcome
  } finally {
    context.spent(budget.spent())
  }
  // The cone side's router took our packets for its own. Now it has to send first, from a new port.
  await context.countAgain()
  const again = createBudget(limits.maxPackets)
  try {
    return method === 'sandwich' ? await sliceAhead(again, context) : await birthdayAhead(again, context)
  } finally {
    context.spent(again.spent())
  }
}

async function birthday(port: number, budget: Budget, context: SideContext): Promise<Met | 'moved'> {
  const { talk, limits, signal } = context
  const { range, plan } = planned(context)
  return await withChooser(await bindMany(plan.sockets), budget, context, async chooser => {
    await openMappings(chooser.sockets, port, {
      ...context,
      host: chooser.host,
      budget,
      perSecond: limits.packetsPerSecond,
      isOver: chooser.hasChosen
    })
    signal.throwIfAborted()
    await talk.say({ type: 'probe', ...range, probes: plan.probes, coneFirst: false })
  })
}

/** The cone side probed first; the openers are what meets. */
async function birthdayAhead(budget: Budget, context: SideContext): Promise<Met> {
  const { talk, limits } = context
  const { range, plan } = planned(context)
  await talk.say({ type: 'probe', ...range, probes: plan.probes, coneFirst: true })
  const { port } = await talk.hear('ready')
  const met = await withChooser(await bindMany(plan.sockets), budget, context, async chooser => {
    await openMappings(chooser.sockets, port, {
      ...context,
      host: chooser.host,
      budget,
      perSecond: limits.packetsPerSecond,
      isOver: chooser.hasChosen
    })
  })
  if (met === 'moved') throw new HardPunchError('port-moved')
  return met
}

function planned({ facts, limits }: SideContext): {
  range: PortRange
  plan: ReturnType<typeof planBirthday>
} {
  if (facts.ports === null) throw new HardPunchError('allocation-unknown')
  const range = likelyRange(facts.ports, facts.mappings)
  const { maxSockets } = limits
  const maxPackets = Math.max(2, limits.maxPackets - RESERVED_PACKETS)
  return { range, plan: planBirthday({ ports: portCount(range), maxSockets, maxPackets }) }
}

async function slices(port: number, budget: Budget, context: SideContext): Promise<Met | 'moved'> {
  for (let nth = 0; nth < MAX_SLICES; nth++) {
    const socket = await bindUdp()
    let met: Met | 'moved' | 'wrong'
    try {
      met = await slice(socket, port, budget, context)
    } catch (error) {
      closeUdp(socket)
      if (error instanceof HardPunchError && error.reason === 'no-meeting') continue
      throw error
    }
    if (met === 'wrong') closeUdp(socket)
    else return met
  }
  throw new HardPunchError('no-meeting')
}

async function slice(
  socket: Met['socket'],
  port: number,
  budget: Budget,
  context: SideContext
): Promise<Met | 'moved' | 'wrong'> {
  const { talk, facts, endpoints, signal } = context
  let isWrong = false
  const met = await withChooser([socket], budget, context, async chooser => {
    const window = await openBetween(socket, port, {
      ...context,
      host: chooser.host,
      budget,
      endpoints,
      step: facts.step,
      signal
    })
    if (window === null) {
      isWrong = true
      chooser.giveUp()
    } else await talk.say({ type: 'probe', ...window, probes: portCount(window), coneFirst: false })
  }).catch((error: unknown) => {
    if (isWrong) return 'wrong' as const
    throw error
  })
  return met
}

/** The next mapping's port is guessed, the cone side probes it, then the opener leaves. */
async function sliceAhead(budget: Budget, context: SideContext): Promise<Met> {
  const { talk, endpoints, facts, signal } = context
  const socket = await bindUdp()
  try {
    const [by] = endpoints
    const seen =
      by === undefined ? null : await ask({ socket, to: by, token: by.token, signal, mayRepeat: budget.take })
    if (seen === null) throw new HardPunchError('reflector-silent')
    const range = nextPorts(seen.port, facts.step, PORTS_AHEAD)
    await talk.say({ type: 'probe', ...range, probes: portCount(range), coneFirst: true })
    const { port } = await talk.hear('ready')
    const met = await withChooser([socket], budget, context, async chooser => {
      await openMappings([socket, socket], port, {
        ...context,
        host: chooser.host,
        budget,
        perSecond: 1000,
        isOver: chooser.hasChosen
      })
    })
    if (met === 'moved') throw new HardPunchError('port-moved')
    return met
  } catch (error) {
    closeUdp(socket)
    throw error
  }
}

/**
 * Listen on the sockets, open, and wait until one met or the cone side gave this round up.
 * @throws HardPunchError `no-meeting`; all sockets are closed then
 */
async function withChooser(
  sockets: Met['socket'][],
  budget: Budget,
  context: SideContext,
  open: (chooser: Chooser & { sockets: Met['socket'][]; host: string; giveUp: () => void }) => Promise<void>
): Promise<Met | 'moved'> {
  const { talk, signal } = context
  const host = await context.host()
  const chooser = chooseFrom(sockets, { ...context, host, budget })
  const over = Promise.withResolvers<never>()
  over.promise.catch(() => undefined)
  const onAbort = (): void => over.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    signal.throwIfAborted()
    const giveUp = (): void => over.reject(new HardPunchError('no-meeting'))
    await Promise.race([open({ ...chooser, sockets, host, giveUp }), over.promise])
    const met = await Promise.race([chooser.met, talk.spoken(), over.promise])
    if (met !== undefined) return met
    const { moved } = await talk.hear('missed')
    if (moved) return 'moved'
    throw new HardPunchError('no-meeting')
  } finally {
    signal.removeEventListener('abort', onAbort)
    chooser.end()
  }
}
