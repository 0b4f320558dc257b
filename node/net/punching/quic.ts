/**
 * QUIC that can be punched: the unmodified `@chainsafe/libp2p-quic` behind one external UDP socket for dialling and
 * listening (`udp-mux.ts`). The package dials from one native socket and listens on another, so what a peer observes of
 * a dial says nothing of the port that listens, and a NAT that was opened for one is closed for the other
 * (ChainSafe/js-libp2p-quic 68).
 *
 * A datagram that passes the multiplexer costs two more system calls. So what needs no punching may avoid it: with
 * `fromPunchPort` dials leave from the native socket unless their observation is wanted, and with `listen: 'native'` a
 * host that is reached directly gives its port to the package itself. Both are the package at its own speed.
 */
import { type QuicComponents, type QuicOptions, quic } from '@chainsafe/libp2p-quic'
import type {
  Connection,
  CreateListenerOptions,
  DialTransportOptions,
  Libp2pEvents,
  Listener,
  ListenerEvents,
  MultiaddrConnection,
  Startable,
  StreamOptions,
  Transport,
  TypedEventTarget,
  Upgrader,
  UpgraderWithoutEncryptionOptions
} from '@libp2p/interface'
import { serviceCapabilities, TypedEventEmitter, transportSymbol } from '@libp2p/interface'
import { getNetConfig, getThinWaistAddresses } from '@libp2p/utils'
import { CODE_P2P, type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { untilAborted } from '../../until-aborted.ts'
import { punchDatagram, untilNextPunchMs } from './datagrams.ts'
import { PunchFailedError } from './errors.ts'
import { type AdoptingTransport, type PunchOptions, punchingTransport } from './punch.types.ts'
import { ownStreams } from './quic-streams.ts'
import { createUdpMux } from './udp-mux.ts'
import type { Hold, Remote, UdpMux, UdpMuxLimits } from './udp-mux.types.ts'

/** Ports of the peer's address that its datagrams may come from beside the one it told. */
const MAX_REFLEXIVE = 4

/** Of the package's UDP sockets: a burst that a busy machine reads late is not lost. The kernel caps them. */
const NATIVE_BUFFERS = { receiveBufferSize: 4 * 1024 * 1024, sendBufferSize: 4 * 1024 * 1024 } as const

export interface PunchingQuicInit extends Partial<QuicOptions> {
  /**
   * `shared`: listeners share the port that is dialled and punched from. `native`: listeners own their port and have
   * full speed; for hosts that are reached directly, which nobody needs to punch. Default `shared`.
   */
  listen?: 'shared' | 'native'
  /**
   * Which dials leave from the punch port, so that what their far end observes is of use; the others leave from the
   * package's own socket at full speed. `punch` and adopted flows always use the punch port. Default: all.
   */
  fromPunchPort?: (address: Multiaddr) => boolean
  limits?: Partial<UdpMuxLimits>
  /** As of the other muxers. */
  streamOptions?: StreamOptions
}

export interface PunchingQuicComponents extends QuicComponents {
  events: TypedEventTarget<Libp2pEvents>
  upgrader: Upgrader
}

/** A transport for `createLibp2p({ transports: [punchingQuic()] })`. */
export function punchingQuic(
  init: PunchingQuicInit = {}
): (components: PunchingQuicComponents) => AdoptingTransport & Startable {
  return components => createPunchingQuic(components, init)
}

function createPunchingQuic(
  components: PunchingQuicComponents,
  { listen = 'shared', fromPunchPort = () => true, limits, streamOptions = {}, ...options }: PunchingQuicInit
): AdoptingTransport & Startable {
  const native = quic({ ...NATIVE_BUFFERS, ...options })(components) as Transport & Startable
  const client: { port: number | undefined } = { port: undefined }
  const withOwnStreams = (upgrade: UpgraderWithoutEncryptionOptions): UpgraderWithoutEncryptionOptions => ({
    ...upgrade,
    ...(upgrade.muxerFactory === undefined ? {} : { muxerFactory: ownStreams(upgrade.muxerFactory, streamOptions) })
  })
  const listeners = new Set<UdpMux>()
  /** Listeners that are being opened: libp2p opens all at once, and a circuit's listener dials its relay. */
  const opening = new Set<Promise<number>>()
  /** For hosts that do not listen on this family, opened at the first dial. */
  const dialling = new Map<4 | 6, UdpMux>()
  /** Remote addresses of our connections, by identity: known before anybody can ask about the connection. */
  const fromPort = new WeakSet<Multiaddr>()
  const accepted = new WeakSet<Multiaddr>()
  const inbound = new Map<string, Connection>()

  const onOpen = ({ detail }: CustomEvent<Connection>) => {
    if (accepted.has(detail.remoteAddr)) inbound.set(detail.remotePeer.toString(), detail)
  }
  const onClose = ({ detail }: CustomEvent<Connection>) => {
    const peer = detail.remotePeer.toString()
    if (inbound.get(peer) === detail) inbound.delete(peer)
  }

  function muxFor(host: string, family: 4 | 6): UdpMux {
    const fitting = [...listeners].filter(mux => mux.family === family)
    const isLocal = isLoopback(host)
    const shared = fitting.find(mux => isWildcard(mux.host)) ?? fitting.find(mux => isLoopback(mux.host) === isLocal)
    if (shared !== undefined) return shared
    let own = dialling.get(family)
    if (own === undefined) {
      own = createUdpMux({ host: family === 4 ? '0.0.0.0' : '::', port: 0, client, limits: limits ?? {} })
      dialling.set(family, own)
    }
    return own
  }

  /** The multiplexer that already knows the remote, as an adopted one, else the one to send from. */
  const routeTo = (remote: Remote, family: 4 | 6): UdpMux =>
    [...listeners, ...dialling.values()].find(mux => mux.family === family && mux.hasAdopted(remote)) ??
    muxFor(remote.host, family)

  async function dialBy(mux: UdpMux, address: Multiaddr, dial: DialTransportOptions, repeat: boolean) {
    const { signal, upgrader } = dial
    await mux.bound
    signal.throwIfAborted()
    const remote = remoteOf(address)
    const way = await mux.dial(remote, repeat)
    const peer = peerOf(address)
    let isConnected = false
    const upgradeOutbound: Upgrade<Connection> = (maConn, upgrade) => {
      signal.throwIfAborted()
      way.confirm()
      showRemote(maConn, remote)
      if (!way.isAdopted) fromPort.add(maConn.remoteAddr)
      // The connection keeps the flow, not the dial.
      const held = mux.hold(remote)
      maConn.addEventListener('close', () => held?.release(), { once: true })
      isConnected = true
      return upgrader.upgradeOutbound(maConn, withOwnStreams(upgrade))
    }
    try {
      const target = multiaddr(`/ip4/127.0.0.1/udp/${way.legPort}/quic-v1${peer === undefined ? '' : `/p2p/${peer}`}`)
      // The native dial does not hear the signal: it is left to its own time-out, its leg is closed under it.
      return await untilAborted(
        native.dial(target, { ...dial, upgrader: withUpgrade(upgrader, { upgradeOutbound }) }),
        signal
      )
    } finally {
      way.release(!isConnected)
    }
  }

  async function dial(address: Multiaddr, dialOptions: DialTransportOptions): Promise<Connection> {
    const { family, remote } = targetOf(address)
    await Promise.allSettled(opening)
    const mux = routeTo(remote, family)
    if (!mux.hasAdopted(remote) && !fromPunchPort(address)) {
      const { upgrader } = dialOptions
      const upgradeOutbound: Upgrade<Connection> = (maConn, upgrade) =>
        upgrader.upgradeOutbound(maConn, withOwnStreams(upgrade))
      return await native.dial(address, { ...dialOptions, upgrader: withUpgrade(upgrader, { upgradeOutbound }) })
    }
    return await dialBy(mux, address, dialOptions, false)
  }

  /** The client's side: dials, also the ports that the other side turns out to come from. */
  async function punchOut(mux: UdpMux, address: Multiaddr, remote: Remote, end: AbortSignal): Promise<Connection> {
    const { upgrader } = components
    const ports = new Set([remote.port])
    // Not AbortSignal.any: what it answers may be collected while somebody still waits for it.
    const ending = new AbortController()
    const { signal } = ending
    const onEnd = () => ending.abort(end.reason)
    end.addEventListener('abort', onEnd, { once: true })
    const failures: unknown[] = []
    return await new Promise<Connection>((resolve, reject) => {
      let underWay = 0
      const attempt = (to: Multiaddr) => {
        underWay++
        dialBy(mux, to, { signal, upgrader } as DialTransportOptions, true).then(
          connection => {
            finish()
            // The losers end; the winner's upgrade is over and the signal is nothing to it.
            ending.abort()
            resolve(connection)
          },
          error => {
            failures.push(error)
            if (--underWay > 0) return
            finish()
            reject(failures[0])
          }
        )
      }
      const off = mux.onStray(({ host, port }) => {
        if (host !== remote.host || ports.has(port) || ports.size > MAX_REFLEXIVE) return
        ports.add(port)
        attempt(addressOf({ host, port }, peerOf(address)))
      })
      const finish = () => {
        off()
        end.removeEventListener('abort', onEnd)
      }
      attempt(address)
    })
  }

  /** The server's side: opens the own NAT and waits for the peer to come in. */
  async function punchIn(mux: UdpMux, peer: string, remote: Remote, signal: AbortSignal): Promise<Connection> {
    const already = inbound.get(peer)
    if (already?.status === 'open') return already
    return await new Promise<Connection>((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined
      const finish = () => {
        clearTimeout(timer)
        components.events.removeEventListener('connection:open', onConnection)
        signal.removeEventListener('abort', onAbort)
      }
      const onConnection = ({ detail }: CustomEvent<Connection>) => {
        if (!accepted.has(detail.remoteAddr) || detail.remotePeer.toString() !== peer) return
        finish()
        resolve(detail)
      }
      const onAbort = () => {
        finish()
        reject(signal.reason)
      }
      const send = () => {
        mux.send(punchDatagram(), remote)
        timer = setTimeout(send, untilNextPunchMs())
      }
      components.events.addEventListener('connection:open', onConnection)
      signal.addEventListener('abort', onAbort, { once: true })
      send()
    })
  }

  async function punch(address: Multiaddr, { initiator, signal }: PunchOptions): Promise<Connection> {
    try {
      signal.throwIfAborted()
      if (native.dialFilter([address]).length === 0) throw new PunchFailedError('no-transport', address.toString())
      const { family, remote } = targetOf(address)
      const peer = peerOf(address)
      if (peer === undefined && !initiator) throw new PunchFailedError('no-transport', address.toString())
      const mux = routeTo(remote, family)
      await mux.bound
      signal.throwIfAborted()
      return initiator ? await punchOut(mux, address, remote, signal) : await punchIn(mux, peer!, remote, signal)
    } catch (error) {
      throw asPunchFailure(error, address, signal)
    }
  }

  function createListener(listenOptions: CreateListenerOptions): Listener {
    const { upgrader } = listenOptions
    if (listen === 'native') {
      const upgradeInbound: Upgrade<void> = (maConn, upgrade) => {
        showDialler(maConn, remoteOf(maConn.remoteAddr))
        accepted.add(maConn.remoteAddr)
        return upgrader.upgradeInbound(maConn, withOwnStreams(upgrade))
      }
      return native.createListener({ ...listenOptions, upgrader: withUpgrade(upgrader, { upgradeInbound }) })
    }
    let mux: UdpMux | undefined
    const upgradeInbound: Upgrade<void> = (maConn, upgrade) => {
      const held: Hold | undefined = mux?.accept(getNetConfig(maConn.remoteAddr).port ?? 0)
      if (held === undefined) throw new Error('A program on this machine dialled past the external socket')
      maConn.addEventListener('close', () => held.release(), { once: true })
      showDialler(maConn, held.remote)
      accepted.add(maConn.remoteAddr)
      return upgrader.upgradeInbound(maConn, withOwnStreams(upgrade))
    }
    const inner = native.createListener({ ...listenOptions, upgrader: withUpgrade(upgrader, { upgradeInbound }) })
    let port: number | undefined
    const bind = async (address: Multiaddr): Promise<number> => {
      const { host, port: asked } = remoteOf(address)
      mux = createUdpMux({ host, port: asked, serverPort: () => port, client, limits: limits ?? {} })
      try {
        await mux.bound
        await inner.listen(multiaddr('/ip4/127.0.0.1/udp/0/quic-v1'))
      } catch (error) {
        await mux.close()
        throw error
      }
      port = getNetConfig(inner.getAddrs()[0]!).port
      listeners.add(mux)
      return mux.port
    }
    return new SharedListener(inner, {
      open(address) {
        const work = bind(address)
        opening.add(work)
        const done = () => opening.delete(work)
        work.then(done, done)
        return work
      },
      async close() {
        if (mux === undefined) return
        listeners.delete(mux)
        port = undefined
        await mux.close()
      }
    })
  }

  return {
    [Symbol.toStringTag]: 'quic',
    [transportSymbol]: true,
    [punchingTransport]: true,
    punchProtocol: 'quic-v1',
    // @ts-expect-error declared by the package's own transport too, and not part of Transport
    [serviceCapabilities]: ['@libp2p/transport'],
    listenFilter: native.listenFilter,
    dialFilter: native.dialFilter,
    dial,
    punch,
    createListener,
    dialledFromPunchPort: connection => fromPort.has(connection.remoteAddr),
    adopt(socket, remote, isPunch) {
      muxFor(remote.host, remote.host.includes(':') ? 6 : 4).adopt(socket, remote, isPunch)
    },
    async start() {
      components.events.addEventListener('connection:open', onOpen)
      components.events.addEventListener('connection:close', onClose)
      client.port = undefined
      await native.start()
    },
    async stop() {
      components.events.removeEventListener('connection:open', onOpen)
      components.events.removeEventListener('connection:close', onClose)
      inbound.clear()
      const open = [...dialling.values()]
      dialling.clear()
      await Promise.all(open.map(mux => mux.close()))
      await native.stop()
    }
  }
}

/** A listener whose address is the external socket's. */
class SharedListener extends TypedEventEmitter<ListenerEvents> implements Listener {
  readonly #inner: Listener
  readonly #outer: { open: (address: Multiaddr) => Promise<number>; close: () => Promise<void> }
  #address: Multiaddr | undefined

  constructor(inner: Listener, outer: { open: (address: Multiaddr) => Promise<number>; close: () => Promise<void> }) {
    super()
    this.#inner = inner
    this.#outer = outer
  }

  async listen(address: Multiaddr): Promise<void> {
    const port = await this.#outer.open(address)
    const { host } = remoteOf(address)
    this.#address = addressOf({ host, port })
    this.safeDispatchEvent('listening')
  }

  getAddrs(): Multiaddr[] {
    return getThinWaistAddresses(this.#address).map(address => address.encapsulate('/quic-v1'))
  }

  updateAnnounceAddrs(): void {}

  async close(): Promise<void> {
    if (this.#address === undefined) return
    this.#address = undefined
    // The closing packets of the connections leave by the external socket.
    await this.#inner.close()
    await this.#outer.close()
    this.safeDispatchEvent('close')
  }
}

const isLoopback = (host: string): boolean => host.startsWith('127.') || host === '::1'
const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::'

const peerOf = (address: Multiaddr): string | undefined =>
  address.getComponents().findLast(({ code }) => code === CODE_P2P)?.value

function remoteOf(address: Multiaddr): Remote {
  const { host, port } = getNetConfig(address)
  return { host, port: port ?? 0 }
}

function targetOf(address: Multiaddr): { remote: Remote; family: 4 | 6 } {
  const { type } = getNetConfig(address)
  if (type !== 'ip4' && type !== 'ip6') throw new PunchFailedError('no-transport', address.toString())
  return { remote: remoteOf(address), family: type === 'ip4' ? 4 : 6 }
}

function addressOf({ host, port }: Remote, peer?: string): Multiaddr {
  const [ip, zone] = host.split('%')
  const at = host.includes(':') ? `${zone === undefined ? '' : `/ip6zone/${zone}`}/ip6/${ip}` : `/ip4/${ip}`
  return multiaddr(`${at}/udp/${port}/quic-v1${peer === undefined ? '' : `/p2p/${peer}`}`)
}

/** What the native side knows is a leg on loopback; everybody else is told the peer's own address. */
function showRemote(maConn: MultiaddrConnection, remote: Remote): void {
  maConn.remoteAddr = addressOf(remote, peerOf(maConn.remoteAddr))
}

/**
 * The same for who came in. Its address may be the very one that is dialled, as both leave from the port that listens,
 * and libp2p ends what it dialled when a connection with an equal address is there already (`connection-manager`,
 * "Duplicate multiaddr connection"): two peers that dial each other at once would both do so and have none left. So
 * nothing is equal to it but itself.
 */
function showDialler(maConn: MultiaddrConnection, remote: Remote): void {
  const shown = addressOf(remote, peerOf(maConn.remoteAddr))
  shown.equals = other => other === shown
  maConn.remoteAddr = shown
}

type Upgrade<T> = (maConn: MultiaddrConnection, options: UpgraderWithoutEncryptionOptions) => Promise<T>

function withUpgrade(
  upgrader: Upgrader,
  own: Partial<Record<'upgradeInbound' | 'upgradeOutbound', unknown>>
): Upgrader {
  return {
    upgradeInbound: upgrader.upgradeInbound.bind(upgrader),
    upgradeOutbound: upgrader.upgradeOutbound.bind(upgrader),
    createInboundAbortSignal: signal => upgrader.createInboundAbortSignal(signal),
    getConnectionEncrypters: () => upgrader.getConnectionEncrypters(),
    getStreamMuxers: () => upgrader.getStreamMuxers(),
    ...own
  } as Upgrader
}

function asPunchFailure(error: unknown, address: Multiaddr, signal: AbortSignal): PunchFailedError {
  if (error instanceof PunchFailedError) return error
  const { name, code, message } = error as { name?: string; code?: string; message?: string }
  const options = { cause: error }
  const failed = (reason: ConstructorParameters<typeof PunchFailedError>[0]) =>
    new PunchFailedError(reason, address.toString(), options)
  if (signal.aborted)
    return failed((signal.reason as Error | undefined)?.name === 'TimeoutError' ? 'timeout' : 'aborted')
  if (code === 'EADDRINUSE' || code === 'EACCES') return failed('port-in-use')
  if (code === 'ENETUNREACH' || code === 'EHOSTUNREACH' || code === 'EADDRNOTAVAIL') return failed('unreachable')
  if (name === 'TimeoutError' || /timed? ?out/i.test(message ?? '')) return failed('timeout')
  return failed('handshake-failed')
}
