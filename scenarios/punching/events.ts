/** Events that change the network under two connected peers, as data. Pure but for `act`, which the nemesis plays. */
import type { Nemesis } from '../harness/nemesis.ts'
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
