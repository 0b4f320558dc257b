import assert from 'node:assert/strict'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { lpStream, streamPair } from '@libp2p/utils'
import { multiaddr } from '@multiformats/multiaddr'
import fc from 'fast-check'
import { DcutrProtocolError, DcutrUnsupportedError, PeerGoneError } from './dcutr-errors.ts'
import {
  DCUTR_PROTOCOL,
  decodeMessage,
  encodeMessage,
  type HolePunchMessage,
  MAX_ADDRESSES,
  MAX_MESSAGE_BYTES,
  messageReader,
  sendMessage
} from './dcutr-wire.ts'

/** The codec of `@libp2p/dcutr`, which its package does not export. */
interface StockCodec {
  encode: (message: { type?: string; observedAddresses: Uint8Array[] }) => Uint8Array
  decode: (bytes: Uint8Array) => { type?: string; observedAddresses: Uint8Array[] }
}

async function stockCodec(): Promise<StockCodec> {
  const path = join(import.meta.dirname, '../../../node_modules/@libp2p/dcutr/dist/src/pb/message.js')
  const { HolePunch } = (await import(pathToFileURL(path).href)) as { HolePunch: StockCodec }
  return HolePunch
}

const messages = fc.record({
  type: fc.constantFrom<HolePunchMessage['type']>('CONNECT', 'SYNC'),
  addresses: fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: MAX_ADDRESSES })
})
const plain = ({ type, addresses }: HolePunchMessage) => ({ type, addresses: addresses.map(bytes => [...bytes]) })
const { signal } = new AbortController()

describe('DCUtR messages', () => {
  it('are byte for byte those of @libp2p/dcutr, both ways', async () => {
    const stock = await stockCodec()
    fc.assert(
      fc.property(messages, message => {
        const bytes = encodeMessage(message)
        const theirs = stock.encode({ type: message.type, observedAddresses: message.addresses })
        assert.deepEqual([...bytes], [...theirs])
        assert.deepEqual(plain(decodeMessage(theirs)), plain(message))
        const read = stock.decode(bytes)
        assert.equal(read.type, message.type)
        assert.deepEqual(
          read.observedAddresses.map(address => [...address]),
          plain(message).addresses
        )
      })
    )
  })

  it('say with a field of our own, which others skip, that nothing is announced', async () => {
    const stock = await stockCodec()
    const bytes = encodeMessage({ type: 'CONNECT', addresses: [], isPrivate: true })
    assert.equal(decodeMessage(bytes).isPrivate, true)
    assert.equal(decodeMessage(encodeMessage({ type: 'CONNECT', addresses: [] })).isPrivate, false)
    assert.equal(stock.decode(bytes).type, 'CONNECT')
  })

  for (const [what, lines, error] of [
    ['agrees', ['/multistream/1.0.0\n', `${DCUTR_PROTOCOL}\n`], null],
    ['speaks no DCUtR', ['/multistream/1.0.0\n', 'na\n'], DcutrUnsupportedError],
    ['says something else', ['/multistream/1.0.0\n', '/ipfs/id/1.0.0\n'], DcutrProtocolError],
    ['begins with something else', ['GET / HTTP/1.1\n'], DcutrProtocolError]
  ] as const) {
    it(`of a stream that was opened lazily come after the word of a peer that ${what}`, async () => {
      const [ours, theirs] = await streamPair()
      const reader = messageReader(ours)
      for (const line of lines) theirs.send(Uint8Array.of(line.length, ...Buffer.from(line)))
      sendMessage(theirs, { type: 'SYNC', addresses: [] })
      if (error === null) {
        await reader.agreed({ signal })
        assert.equal((await reader.next('SYNC', { signal })).type, 'SYNC')
      } else await assert.rejects(reader.agreed({ signal }), error)
      reader.release()
    })
  }

  it('have the numbers of the specification', () => {
    const address = multiaddr('/ip4/11.0.0.1/tcp/4001').bytes
    assert.deepEqual([...encodeMessage({ type: 'SYNC', addresses: [] })], [0x08, 0xac, 0x02])
    assert.deepEqual(
      [...encodeMessage({ type: 'CONNECT', addresses: [address] })],
      [0x08, 100, 0x12, address.byteLength, ...address]
    )
  })

  it('read any bytes as a message or as a protocol error, never as something else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: MAX_MESSAGE_BYTES + 100, size: 'max' }), bytes => {
        try {
          const { type, addresses } = decodeMessage(bytes)
          assert.ok(type === 'CONNECT' || type === 'SYNC')
          assert.ok(addresses.length <= MAX_ADDRESSES)
        } catch (error) {
          assert.ok(error instanceof DcutrProtocolError, String(error))
        }
      }),
      { numRuns: 500 }
    )
  })

  it('are cut and bent without another error', () => {
    fc.assert(
      fc.property(messages, fc.nat(), fc.nat(255), (message, at, value) => {
        const bytes = Uint8Array.from(encodeMessage(message))
        bytes[at % bytes.byteLength] = value
        for (const bent of [bytes, bytes.subarray(0, at % bytes.byteLength)]) {
          try {
            decodeMessage(bent)
          } catch (error) {
            assert.ok(error instanceof DcutrProtocolError, String(error))
          }
        }
      })
    )
  })

  it('skip fields they do not know and addresses beyond the sixteenth', () => {
    const many = Array.from({ length: MAX_ADDRESSES + 100 }, (_, at) => Uint8Array.of(at))
    const bytes = Buffer.concat([
      Uint8Array.of(0x18, 0x85, 0x01), // field 3, varint
      Uint8Array.of(0x21, 1, 2, 3, 4, 5, 6, 7, 8), // field 4, fixed64
      encodeMessage({ type: 'CONNECT', addresses: many }),
      Uint8Array.of(0x2d, 1, 2, 3, 4, 0x32, 1, 9) // field 5, fixed32; field 6, bytes
    ])
    const { type, addresses } = decodeMessage(bytes)
    assert.equal(type, 'CONNECT')
    assert.deepEqual(
      addresses.map(([first]) => first),
      Array.from({ length: MAX_ADDRESSES }, (_, at) => at)
    )
  })
})

describe('a DCUtR stream', () => {
  it('gives the messages in turn, as the framing of js-libp2p has them', async () => {
    const [left, right] = await streamPair()
    const reader = messageReader(right)
    sendMessage(left, { type: 'CONNECT', addresses: [Uint8Array.of(1)] })
    await lpStream(left).write(encodeMessage({ type: 'SYNC', addresses: [] }))
    assert.deepEqual(plain(await reader.next('CONNECT', { signal })), { type: 'CONNECT', addresses: [[1]] })
    assert.equal((await reader.next('SYNC', { signal })).type, 'SYNC')
  })

  it('refuses a message that is not the one whose turn it is', async () => {
    const [left, right] = await streamPair()
    const reader = messageReader(right)
    sendMessage(left, { type: 'CONNECT', addresses: [] })
    sendMessage(left, { type: 'CONNECT', addresses: [] })
    await reader.next('CONNECT', { signal })
    await assert.rejects(reader.next('SYNC', { signal }), DcutrProtocolError)
  })

  it('refuses a long message by its length alone, and a length that never ends', async () => {
    for (const bytes of [Uint8Array.of(0x81, 0x20), new Uint8Array(64).fill(0x80)]) {
      const [left, right] = await streamPair()
      const reader = messageReader(right)
      left.send(bytes)
      await assert.rejects(reader.next('CONNECT', { signal }), DcutrProtocolError)
    }
  })

  it('keeps no more than an honest peer sends', async () => {
    const [left, right] = await streamPair()
    const reader = messageReader(right)
    sendMessage(left, { type: 'CONNECT', addresses: [] })
    await reader.next('CONNECT', { signal })
    for (let sent = 0; sent < 64; sent++) left.send(new Uint8Array(4096))
    await assert.rejects(reader.next('SYNC', { signal }), DcutrProtocolError)
  })

  it('tells of a peer that ends early or resets', async () => {
    for (const end of ['close', 'abort'] as const) {
      const [left, right] = await streamPair()
      const reader = messageReader(right)
      const reading = reader.next('CONNECT', { signal })
      if (end === 'close') await left.close()
      else left.abort(new Error('gone'))
      await assert.rejects(reading, PeerGoneError)
      assert.equal((await reader.ended) === undefined, end === 'close')
    }
  })

  it('ends a wait with the reason of its signal', async () => {
    const [, right] = await streamPair()
    const end = new AbortController()
    const reading = messageReader(right).next('CONNECT', { signal: end.signal })
    const reason = new Error('enough')
    end.abort(reason)
    await assert.rejects(reading, reason)
  })
})
