import assert from 'node:assert/strict'
import type { Connection, Libp2pEvents } from '@libp2p/interface'
import { TypedEventEmitter, type TypedEventTarget } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { RaceLostError, type RaceOptions, race } from './address-race.ts'
import type { Candidate, PunchProtocol } from './candidates.ts'
import { type PunchCause, PunchFailedError } from './errors.ts'
import { type PunchingTransport, type PunchOptions, punchingTransport } from './punch.types.ts'

const PEER = '12D3KooWBQzquWhTmBarvctQrjq5yYb5a214o3C8MYby6iTQexyn'
const TCP = candidate('/ip4/11.0.0.1/tcp/1', 'tcp')
const QUIC = candidate('/ip4/11.0.0.1/udp/1/quic-v1', 'quic-v1')
const FOREVER_MS = 3_600_000

function candidate(address: string, protocol: PunchProtocol): Candidate {
  return { address: multiaddr(`${address}/p2p/${PEER}`), protocol }
}

function connectionTo({ address }: Candidate, id: string): Connection {
  return { id, direct: true, status: 'open', remoteAddr: address, remotePeer: { toString: () => PEER } } as Connection
}

/** A transport whose punch is what the test gives; keeps the signals it was given. */
function transport(protocol: PunchProtocol, punch: (options: PunchOptions) => Promise<Connection>) {
  const signals: AbortSignal[] = []
  const made = {
    [punchingTransport]: true,
    punchProtocol: protocol,
    punch(_: unknown, options: PunchOptions) {
      signals.push(options.signal)
      return punch(options)
    }
  } as unknown as PunchingTransport
  return { made, signals }
}

const untilEnded = ({ signal }: PunchOptions) =>
  new Promise<Connection>((_, reject) => {
    signal.addEventListener('abort', () => reject(new PunchFailedError('aborted', 'there')), { once: true })
  })
const fails = (cause: PunchCause) => async (): Promise<Connection> => {
  throw new PunchFailedError(cause, 'there')
}

describe('the race of addresses', () => {
  const events = new TypedEventEmitter<Libp2pEvents>() as TypedEventTarget<Libp2pEvents>
  const options = (given: Partial<RaceOptions>): RaceOptions => ({
    events,
    peerId: PEER,
    transports: [],
    candidates: [TCP, QUIC],
    initiator: true,
    known: new Set(),
    tcpDelayMs: 0,
    graceMs: 0,
    signal: new AbortController().signal,
    ...given
  })

  it('begins QUIC at once and TCP after half the round trip', async () => {
    const tcp = transport('tcp', untilEnded)
    const quic = transport('quic-v1', async () => connectionTo(QUIC, 'new'))
    const { connection, outcomes } = await race(
      options({ transports: [tcp.made, quic.made], initiator: false, tcpDelayMs: FOREVER_MS })
    )
    assert.equal(connection.id, 'new')
    assert.equal(tcp.signals.length, 0)
    assert.deepEqual(
      [...outcomes],
      [
        ['tcp', 'overtaken'],
        ['quic-v1', 'direct']
      ]
    )
  })

  it('ends the losers and never the winner, whatever happens to its signal later', async () => {
    const end = new AbortController()
    const tcp = transport('tcp', untilEnded)
    const quic = transport('quic-v1', async () => connectionTo(QUIC, 'new'))
    await race(options({ transports: [tcp.made, quic.made], signal: end.signal }))
    end.abort()
    assert.deepEqual([tcp.signals[0]?.aborted, quic.signals[0]?.aborted], [true, false])
  })

  it('leaves the losers a moment where the other side has the word', async () => {
    const tcp = transport('tcp', untilEnded)
    const quic = transport('quic-v1', async () => connectionTo(QUIC, 'new'))
    const end = new AbortController()
    await race(options({ transports: [tcp.made, quic.made], graceMs: FOREVER_MS, signal: end.signal }))
    assert.equal(tcp.signals[0]?.aborted, false)
    end.abort()
    assert.equal(tcp.signals[0]?.aborted, true)
  })

  it('takes a connection that comes in by itself, and none that was there before', async () => {
    const tcp = transport('tcp', untilEnded)
    const racing = race(options({ transports: [tcp.made], candidates: [TCP], known: new Set(['old']) }))
    for (const id of ['old', 'new']) {
      events.dispatchEvent(new CustomEvent('connection:open', { detail: connectionTo(TCP, id) }))
    }
    assert.equal((await racing).connection.id, 'new')
    const stale = transport('tcp', async () => connectionTo(TCP, 'old'))
    await assert.rejects(race(options({ transports: [stale.made], candidates: [TCP], known: new Set(['old']) })), {
      reason: 'port-in-use'
    })
  })

  it('names what became of each transport when all failed', async () => {
    const transports = [transport('tcp', fails('refused')).made, transport('quic-v1', fails('unreachable')).made]
    await assert.rejects(race(options({ transports })), (error: unknown) => {
      assert.ok(error instanceof RaceLostError)
      assert.deepEqual(
        [...error.outcomes],
        [
          ['tcp', 'refused'],
          ['quic-v1', 'unreachable']
        ]
      )
      return true
    })
    await assert.rejects(race(options({ candidates: [TCP] })), { reason: 'no-transport' })
  })

  it('ends with the reason of its signal', async () => {
    const end = new AbortController()
    const racing = race(
      options({ transports: [transport('tcp', untilEnded).made], candidates: [TCP], signal: end.signal })
    )
    const reason = new Error('enough')
    end.abort(reason)
    await assert.rejects(racing, reason)
  })
})
