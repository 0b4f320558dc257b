import assert from 'node:assert/strict'
import type { Connection, IdentifyResult, Libp2pEvents } from '@libp2p/interface'
import { TypedEventEmitter, type TypedEventTarget } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { createObservedAddresses, MAX_OBSERVATIONS } from './observed.ts'
import { type PunchingTransport, punchingTransport } from './punch.types.ts'

describe('observed addresses', () => {
  const events = () => new TypedEventEmitter<Libp2pEvents>() as TypedEventTarget<Libp2pEvents>
  const transport = {
    [punchingTransport]: true,
    punchProtocol: 'tcp',
    dialledFromPunchPort: ({ id }: Connection) => id !== 'another port'
  } as unknown as PunchingTransport

  function connection(peer: string, given: Partial<Connection> = {}): Connection {
    return {
      id: peer,
      direct: true,
      direction: 'outbound',
      remotePeer: { toString: () => peer },
      ...given
    } as Connection
  }
  function identify(target: TypedEventTarget<Libp2pEvents>, from: Connection, observed?: string): void {
    const detail = {
      connection: from,
      ...(observed === undefined ? {} : { observedAddr: multiaddr(observed) })
    } as IdentifyResult
    target.dispatchEvent(new CustomEvent('peer:identify', { detail }))
  }

  it('are of direct connections that we dialled from the punch port, over a transport that punches', () => {
    const target = events()
    const observed = createObservedAddresses({ events: target, transports: () => [transport] })
    const address = '/ip4/11.0.0.1/tcp/4001'
    identify(target, connection('in', { direction: 'inbound' }), address)
    identify(target, connection('relayed', { direct: false }), address)
    identify(target, connection('other', { id: 'another port' }), address)
    identify(target, connection('silent'))
    identify(target, connection('quic'), '/ip4/11.0.0.1/udp/4001/quic-v1')
    identify(target, connection('ws'), `${address}/ws`)
    assert.deepEqual(observed.list(), [])
    identify(target, connection('relay'), address)
    assert.deepEqual(
      observed.list().map(entry => ({ ...entry, address: entry.address.toString() })),
      [{ address, protocol: 'tcp', seenBy: 1, observer: 'relay' }]
    )
    observed.stop()
    identify(target, connection('late'), address)
    assert.deepEqual(observed.list(), [])
  })

  it('come newest first, with the number of peers who see them, and go with their connection', () => {
    const target = events()
    const observed = createObservedAddresses({ events: target, transports: () => [transport] })
    const [old, young] = ['/ip4/11.0.0.1/tcp/1', '/ip4/11.0.0.1/tcp/2']
    let changes = 0
    const unsubscribe = observed.subscribe(() => changes++)
    identify(target, connection('a'), old)
    identify(target, connection('b'), old)
    identify(target, connection('c'), young)
    const seen = () => observed.list().map(({ address, seenBy, observer }) => `${address} ${seenBy} ${observer}`)
    assert.deepEqual(seen(), [`${young} 1 c`, `${old} 2 b`])
    identify(target, connection('b'), young)
    assert.deepEqual(seen(), [`${young} 2 b`, `${old} 1 a`])
    target.dispatchEvent(new CustomEvent('connection:close', { detail: connection('a') }))
    assert.deepEqual(seen(), [`${young} 2 b`])
    assert.equal(changes, 5)
    unsubscribe()
    identify(target, connection('d'), old)
    assert.equal(changes, 5)
  })

  it('are never more than their number', () => {
    const target = events()
    const observed = createObservedAddresses({ events: target, transports: () => [transport] })
    for (let peer = 0; peer < MAX_OBSERVATIONS * 3; peer++) {
      identify(target, connection(`peer-${peer}`), `/ip4/11.0.0.1/tcp/${peer + 1}`)
    }
    assert.equal(observed.list().length, MAX_OBSERVATIONS)
    assert.equal(observed.list()[0]?.observer, `peer-${MAX_OBSERVATIONS * 3 - 1}`)
  })
})
