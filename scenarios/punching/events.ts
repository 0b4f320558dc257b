/** Events that change the network under two connected peers, as data. Pure but for `act`, which the nemesis plays. */
import { HarnessError } from '../harness/errors.ts'
import type { Nemesis } from '../harness/nemesis.ts'
import type { Depth } from '../harness/scenario.ts'
import type { PunchTransport } from './expected.ts'

export type Side = 'a' | 'b'

/** Two homes with a spare one each, and the peers in them. */
export interface EventLab {
  name: string
  /** Transports of both peers. */
  transports: PunchTransport[]
  family: 4 | 6
}

export interface NetworkEvent {
  name: string
  /** Needed of the runtime. */
  needs: 'router-change' | 'move' | 'kill'
  /** Sides it is played on; a relay's death is on neither. */
  sides: readonly Side[]
  /** IP versions it means anything to. */
  families: ReadonlyArray<4 | 6>
  /** Transports that relays are reached by, and that stay punchable, afterwards. */
  leaves: readonly PunchTransport[]
  act: (nemesis: Nemesis, lab: EventLab, side: Side, relay: string) => Promise<void>
}

const BOTH: readonly Side[] = ['a', 'b']
const EVERY: readonly PunchTransport[] = ['tcp', 'quic']
/** Of every home of these labs: strict, and punchable with its like. */
export const HOME_KIND = 'port-restricted'

export const EVENT_LABS: EventLab[] = [
  { name: 'quic', transports: ['quic'], family: 4 },
  { name: 'tcp', transports: ['tcp'], family: 4 },
  { name: 'dual', transports: ['tcp', 'quic'], family: 4 },
  { name: 'six', transports: ['tcp', 'quic'], family: 6 }
]

export const hostOf = (lab: EventLab, side: Side): string => `${lab.name}-${side}`
export const homeOf = (lab: EventLab, side: Side, spare = false): string =>
  `${lab.name}-${side}-${spare ? 'spare' : 'home'}`
const routerOf = (lab: EventLab, side: Side): string => `${homeOf(lab, side)}-nat`

export const NETWORK_EVENTS: NetworkEvent[] = [
  {
    name: 'rebind',
    needs: 'router-change',
    sides: BOTH,
    families: [4, 6],
    leaves: EVERY,
    act: async (nemesis, lab, side) => await nemesis.rebind(routerOf(lab, side))
  },
  {
    name: 'public address change',
    needs: 'router-change',
    sides: BOTH,
    families: [4],
    leaves: EVERY,
    act: async (nemesis, lab, side) => void (await nemesis.setPublicAddress(routerOf(lab, side)))
  },
  {
    name: 'uplink switch',
    needs: 'move',
    sides: BOTH,
    families: [4, 6],
    leaves: EVERY,
    act: async (nemesis, lab, side) => void (await nemesis.move(hostOf(lab, side), homeOf(lab, side, true)))
  },
  {
    name: 'UDP blocked',
    needs: 'router-change',
    sides: BOTH,
    families: [4, 6],
    leaves: ['tcp'],
    act: async (nemesis, lab, side) =>
      void (await nemesis.setNat(routerOf(lab, side), { kind: HOME_KIND, udpBlocked: true }))
  },
  {
    name: 'relay loss',
    needs: 'kill',
    sides: ['a'],
    families: [4],
    leaves: EVERY,
    act: async (nemesis, _lab, _side, relay) => void (await nemesis.kill(relay))
  },
  {
    name: 'relay loss, then rebind',
    needs: 'kill',
    sides: BOTH,
    families: [4],
    leaves: EVERY,
    async act(nemesis, lab, side, relay) {
      await nemesis.kill(relay)
      await nemesis.rebind(routerOf(lab, side))
    }
  }
]

/** Whether the event means something to a lab, and leaves it a transport that can be punched. */
export function concerns({ families, leaves }: NetworkEvent, { family, transports }: EventLab): boolean {
  return families.includes(family) && transports.some(transport => leaves.includes(transport))
}

/** Whether it touches the relays, which all labs share. */
export function isShared({ needs }: NetworkEvent): boolean {
  return needs === 'kill'
}

/** One event at one side of one lab. */
export interface Played {
  event: NetworkEvent
  lab: EventLab
  side: Side
}

/**
 * What a run plays: everything in full; in short each event once or twice, over the lab with both transports, TCP and
 * QUIC by themselves where an event takes them different ways, and IPv6. EVENTS, LABS and SIDES choose of all of it.
 * @throws HarnessError BAD_SETTINGS that names every word that is none
 */
export function chosen(env: Readonly<Record<string, string | undefined>>, depth: Depth): Played[] {
  const problems: string[] = []
  const words = (name: string, known: readonly string[]): ReadonlySet<string> | null => {
    const list = (env[name] || '').split(',').filter(word => word !== '')
    for (const word of list)
      if (!known.includes(word)) problems.push(`${name} has "${word}": ${known.join(', ')} are known`)
    return list.length === 0 ? null : new Set(list)
  }
  const events = words(
    'EVENTS',
    NETWORK_EVENTS.map(({ name }) => name)
  )
  const labs = words(
    'LABS',
    EVENT_LABS.map(({ name }) => name)
  )
  const sides = words('SIDES', BOTH)
  if (problems.length > 0) throw new HarnessError('BAD_SETTINGS', problems.join('; '))
  const isAny = events === null && labs === null && sides === null
  return NETWORK_EVENTS.flatMap(event =>
    EVENT_LABS.filter(lab => concerns(event, lab)).flatMap(lab =>
      event.sides.map((side): Played => ({ event, lab, side }))
    )
  ).filter(({ event, lab, side }) =>
    isAny && depth === 'short'
      ? SHORT.has(`${event.name} ${lab.name} ${side}`)
      : events?.has(event.name) !== false && labs?.has(lab.name) !== false && sides?.has(side) !== false
  )
}

const SHORT: ReadonlySet<string> = new Set([
  'rebind quic a',
  'rebind tcp b',
  'rebind six a',
  'public address change quic b',
  'public address change tcp a',
  'public address change dual b',
  'uplink switch quic a',
  'uplink switch tcp b',
  'uplink switch dual a',
  'uplink switch six b',
  'UDP blocked dual a',
  'UDP blocked six b',
  'relay loss dual a',
  'relay loss, then rebind quic b'
])
