import assert from 'node:assert/strict'
import type { Connection, IdentifyResult, Libp2pEvents } from '@libp2p/interface'
import { TypedEventEmitter, type TypedEventTarget } from '@libp2p/interface'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { eventually } from '../testing.ts'
import type { DcutrComponents } from './dcutr.types.ts'
import { createObservedAddresses } from './observed.ts'
import { createObservers } from './observers.ts'
import { type PunchingTransport, punchingTransport } from './punch.types.ts'

const RELAY = '12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu'
const HOP = '/libp2p/circuit/relay/0.2.0/hop'
const ADDRESSES = ['/ip4/11.0.0.1', '/ip6/2a11::1'].flatMap(ip => [`${ip}/tcp/4001`, `${ip}/udp/4001/quic-v1`])

/** What libp2p gives, with one relay connected by its IPv6 TCP address. */
function lab(ownHosts: string[], { fails = false, denies = '' } = {}) {
  const events = new TypedEventEmitter<Libp2pEvents>() as TypedEventTarget<Libp2pEvents>
  const transports = ['tcp', 'quic-v1'].map(
    punchProtocol =>
      ({ [punchingTransport]: true, punchProtocol, dialledFromPunchPort: () => true }) as unknown as PunchingTransport
  )
  const peerId = { toString: () => RELAY }
  const connected = {
    id: 'first',
    direct: true,
    direction: 'outbound',
    remotePeer: peerId,
    remoteAddr: multiaddr(ADDRESSES[2]!)
  } as Connection
  const dialled: string[] = []
  const components = {
    events,
    connectionGater: {
      denyDialMultiaddr: async (address: Multiaddr) => denies !== '' && String(address).includes(denies)
    },
    connectionManager: { getConnections: () => [connected] },
    transportManager: {
      getTransports: () => transports,
      async dial(address: Multiaddr) {
        dialled.push(address.toString().replace(`/p2p/${RELAY}`, ''))
        if (fails) throw new Error('the way is closed')
      }
    }
  } as unknown as DcutrComponents
  const observed = createObservedAddresses({ events, transports: () => transports })
  const observers = createObservers(components, observed, { ownHosts: () => ownHosts })
  const identify = () => {
    const detail = {
      connection: connected,
      peerId,
      protocols: [HOP],
      listenAddrs: ADDRESSES.map(address => multiaddr(address)),
      observedAddr: multiaddr('/ip6/2a11::2/tcp/20000')
    } as unknown as IdentifyResult
    events.dispatchEvent(new CustomEvent('peer:identify', { detail }))
  }
  return { dialled, identify, observers }
}

describe('observers', () => {
  it('are dialled by every transport and IP version that we have and nobody sees', async () => {
    const { dialled, identify, observers } = lab(['10.0.0.2', '2a11::2'])
    identify()
    await eventually(() => dialled.length >= 3, 'dialled')
    assert.deepEqual(dialled.toSorted(), [ADDRESSES[0]!, ADDRESSES[1]!, ADDRESSES[3]!])
    observers.stop()
  })

  it('are not dialled by an IP version that we do not have', async () => {
    const { dialled, identify, observers } = lab(['10.0.0.2'])
    identify()
    await eventually(() => dialled.length >= 2, 'dialled')
    assert.deepEqual(dialled.toSorted(), [ADDRESSES[0]!, ADDRESSES[1]!])
    observers.stop()
  })

  it('are not dialled where the dial policy does not allow it: a relay names its addresses itself', async () => {
    const { dialled, identify, observers } = lab(['10.0.0.2', '2a11::2'], { denies: '/ip4/11.0.0.1/' })
    identify()
    await eventually(() => dialled.length >= 1, 'dialled')
    await new Promise(resolve => setImmediate(resolve))
    assert.deepEqual(dialled, [ADDRESSES[3]!])
    observers.stop()
  })

  it('that could not be dialled are left alone, until our network changes', async () => {
    const { dialled, identify, observers } = lab(['2a11::2'], { fails: true })
    identify()
    await eventually(() => dialled.length >= 1, 'dialled')
    identify()
    await new Promise(resolve => setImmediate(resolve))
    assert.deepEqual(dialled, [ADDRESSES[3]!])
    observers.networkChanged()
    await eventually(() => dialled.length >= 2, 'dialled again')
    assert.deepEqual(dialled, [ADDRESSES[3]!, ADDRESSES[3]!])
    observers.stop()
  })
})
