/** A relay and peers on loopback for tests of punching, and a transport at the seam that does as a test says. */
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { dcutr as stockDcutr } from '@libp2p/dcutr'
import { identify } from '@libp2p/identify'
import type { Connection, Libp2p, Transport, Upgrader } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { CODE_P2P, CODE_P2P_CIRCUIT, type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { createLibp2p, type Libp2pOptions } from 'libp2p'
import { eventually } from '../testing.ts'
import { dcutr } from './dcutr.ts'
import type { Dcutr, DcutrInit, PunchReport } from './dcutr.types.ts'
import { PunchFailedError } from './errors.ts'
import { type PunchingTransport, type PunchOptions, punchingTransport } from './punch.types.ts'

type TransportFactory = NonNullable<Libp2pOptions['transports']>[number]

/** Every peer of a test is here to the outside; loopback itself is private to js-libp2p and would be refused. */
const PUBLIC_HOST = '11.0.0.1'
const LOOPBACK = '127.0.0.1'

export interface Puncher extends AsyncDisposable {
  libp2p: Libp2p
  peerId: string
  /** Ours; null where the stock service or none runs. */
  dcutr: Dcutr | null
  reports: PunchReport[]
  /** Direct connections the service told of. */
  direct: Connection[]
  /** Reservation address: the relay, then this peer. */
  circuit: Multiaddr
  /** The stand-in's books. */
  door: Door
  /** Its TCP listener on loopback, with peer id. */
  listener: () => Multiaddr
  /** Open direct connections to a peer. */
  directTo: (peer: Puncher) => Connection[]
}

/** What the stand-in was asked for. */
export interface Door {
  punches: Array<{ address: string; initiator: boolean }>
  running: number
  mostAtOnce: number
}

export interface PuncherOptions {
  relay: string
  init?: DcutrInit
  service?: 'warren' | 'stock' | 'none'
  /** What a punch does: meet the peer (default), wait until it is ended, or this error at once. */
  punch?: 'meet' | 'wait' | Error
  /** False: the stand-in dials relays only, so that a punch is the only way to a peer. Default true. */
  canDial?: boolean
  /** Transports in place of the stand-in. */
  transports?: TransportFactory[]
  listen?: string[]
  /** Tell others of the own listener, as a peer that can be dialled does; or of these addresses. */
  announce?: boolean | readonly string[]
}

/** A started peer that holds a reservation at the relay. */
export async function startPuncher(options: PuncherOptions): Promise<Puncher> {
  const { relay, init = {}, service = 'warren', punch = 'meet' } = options
  const reports: PunchReport[] = []
  const direct: Connection[] = []
  const door: Door = { punches: [], running: 0, mostAtOnce: 0 }
  const isStandIn = options.transports === undefined
  let libp2p: Libp2p | undefined
  const outside = (): Multiaddr[] => (libp2p === undefined ? [] : listeners(libp2p).map(toPublic))
  const ours = dcutr({
    isUsable: () => true,
    // What a relay sees of the stand-in is a port that nobody listens on.
    ...(isStandIn
      ? {
          observed: {
            list: () => outside().map(address => ({ address, protocol: 'tcp' as const, seenBy: 1, observer: '' })),
            subscribe: () => () => undefined,
            stop: () => undefined
          }
        }
      : {}),
    onReport: report => reports.push(report),
    onDirect: (_, connection) => direct.push(connection),
    ...init
  })
  const services = {
    identify: identify(),
    ...(service === 'warren' ? { dcutr: ours } : {}),
    ...(service === 'stock' ? { dcutr: stockDcutr({ timeout: 2000 }) } : {})
  }
  libp2p = (await createLibp2p({
    addresses: {
      listen: [...(options.listen ?? [`/ip4/${LOOPBACK}/tcp/0`]), `${relay}/p2p-circuit`],
      announceFilter: addresses => {
        const circuits = addresses.filter(isCircuit)
        if (typeof options.announce === 'object') return [...circuits, ...options.announce.map(text => multiaddr(text))]
        return options.announce === true ? [...circuits, ...outside()] : circuits
      }
    },
    transports: [...(options.transports ?? [standIn(door, punch, options.canDial ?? true)]), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    connectionManager: { inboundConnectionThreshold: 1000 },
    services
  } as Parameters<typeof createLibp2p>[0])) as Libp2p
  const started = libp2p
  await eventually(() => started.getMultiaddrs().some(isCircuit), 'the peer has a reservation')
  const peerId = started.peerId.toString()
  return {
    libp2p: started,
    peerId,
    dcutr: service === 'warren' ? (started.services as { dcutr: Dcutr }).dcutr : null,
    reports,
    direct,
    circuit: multiaddr(`${relay}/p2p-circuit/p2p/${peerId}`),
    door,
    listener: () => multiaddr(`${String(listeners(started)[0]).replace(/\/p2p\/.*/, '')}/p2p/${peerId}`),
    directTo: peer => started.getConnections(peer.libp2p.peerId).filter(({ direct }) => direct),
    [Symbol.asyncDispose]: async () => await started.stop()
  }
}

function isCircuit(address: Multiaddr): boolean {
  return address.getComponents().some(({ code }) => code === CODE_P2P_CIRCUIT)
}

function listeners(libp2p: Libp2p): Multiaddr[] {
  const { transportManager } = (
    libp2p as unknown as { components: { transportManager: { getAddrs: () => Multiaddr[] } } }
  ).components
  return transportManager.getAddrs().filter(address => !isCircuit(address))
}

function toPublic(address: Multiaddr): Multiaddr {
  return multiaddr(address.decapsulateCode(CODE_P2P).toString().replace(LOOPBACK, PUBLIC_HOST))
}

function toLoopback(address: Multiaddr): Multiaddr {
  return multiaddr(address.toString().replace(`/ip4/${PUBLIC_HOST}/`, `/ip4/${LOOPBACK}/`))
}

/** A TCP transport whose `punch` needs no luck: the initiator dials the listener, and the responder waits for it. */
function standIn(door: Door, behaviour: 'meet' | 'wait' | Error, canDial: boolean): TransportFactory {
  return components => {
    const transport: Transport = tcp()(components)
    const dial = transport.dial.bind(transport)
    const punch = async (address: Multiaddr, { initiator, signal }: PunchOptions): Promise<Connection> => {
      door.punches.push({ address: address.toString(), initiator })
      door.running++
      door.mostAtOnce = Math.max(door.mostAtOnce, door.running)
      try {
        if (behaviour instanceof Error) throw behaviour
        if (behaviour === 'meet' && initiator) {
          return await dial(toLoopback(address), {
            signal,
            upgrader: (components as unknown as { upgrader: Upgrader }).upgrader
          } as never)
        }
        await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }))
        throw new PunchFailedError('aborted', address.toString())
      } finally {
        door.running--
      }
    }
    return Object.assign(transport, {
      dial: async (address: Multiaddr, options: never) => {
        if (!canDial && address.toString().includes(PUBLIC_HOST)) throw new Error('no way')
        return await dial(toLoopback(address), options)
      },
      [punchingTransport]: true as const,
      punchProtocol: 'tcp' as const,
      punch,
      dialledFromPunchPort: () => true
    } satisfies Partial<PunchingTransport>)
  }
}
