import assert from 'node:assert/strict'
import { eventually } from '../testing/fixtures.ts'
import { createFanOut } from './fan-out.ts'
import { PART_SOCKETS, TURN_MAX_BYTES } from './limits.ts'
import { createMessage } from './message.ts'
import type { Form, Subscriber } from './subscriber.ts'

/** A subscriber whose connection takes everything; it has the text of all frames, and in how many writes they came. */
function reader(form: Form = 'raw') {
  const got: string[] = []
  const writes: number[] = []
  const subscriber: Subscriber = {
    form,
    deliver(chunk, items) {
      writes.push(chunk.byteLength)
      for (const item of items) if ('message' in item) got.push(item.message.data.toString())
      return true
    },
    tell: () => {},
    replay: () => {},
    stalledSince: () => null
  }
  return { subscriber, got, writes }
}

const message = (text: string) =>
  createMessage({ topic: 't', publisher: 'p', seq: 1, timestamp: 0, data: Buffer.from(text) })

describe('what a crowd of sockets is told', () => {
  it('comes to each in order and in one write a turn, in parts where they are many', async () => {
    let delivered = 0
    let turn: (() => void) | null = null
    const fanOut = createFanOut({
      // The first turn is begun by hand.
      thisTurn: work => {
        if (turn === null) turn = work
        else setImmediate(work)
      },
      delivered: count => {
        delivered += count
      }
    })
    const crowd = Array.from({ length: 2 * PART_SOCKETS + 1 }, () => reader())
    for (const { subscriber } of crowd) fanOut.add(subscriber)
    for (const text of ['a', 'b', 'c']) fanOut.tell({ message: message(text) }, 1)
    assert.equal(crowd[0]?.got.length, 0)
    ;(turn as unknown as () => void)()
    assert.deepEqual([crowd[0]?.got.length, crowd.at(-1)?.got.length], [3, 0])
    // The others have not had their turn yet: these are told more, and one comes and one goes, in the middle.
    const late = reader('envelope')
    fanOut.tell({ message: message('d') }, 1)
    fanOut.add(late.subscriber)
    fanOut.tell({ message: message('e') }, 1)
    const last = crowd.pop()
    fanOut.delete(last?.subscriber as Subscriber)
    await eventually(async () => crowd.every(({ got }) => got.length === 5) && late.got.length === 1)
    for (const { got, writes } of crowd) assert.deepEqual([got.join(''), writes.length], ['abcde', 2])
    assert.deepEqual([late.got, last?.got], [['e'], []])
    assert.equal(delivered, crowd.length * 5 + 1)
  })

  it('is written at once when it is much, before more is taken', () => {
    const fanOut = createFanOut({ thisTurn: () => {}, delivered: () => {} })
    const crowd = Array.from({ length: PART_SOCKETS + 1 }, () => reader())
    for (const { subscriber } of crowd) fanOut.add(subscriber)
    for (const text of ['a', 'b', 'c', 'd']) fanOut.tell({ message: message(text) }, TURN_MAX_BYTES / 2)
    assert.deepEqual(
      crowd.slice(0, PART_SOCKETS).map(({ got }) => got.join('')),
      Array.from({ length: PART_SOCKETS }, () => 'abcd')
    )
    assert.equal(crowd.at(-1)?.got.join(''), 'ab')
  })

  it('is nothing where nobody is', () => {
    const fanOut = createFanOut({ thisTurn: () => assert.fail('there is nothing to do'), delivered: () => {} })
    fanOut.tell({ message: message('a') }, TURN_MAX_BYTES)
    assert.equal(fanOut.size(), 0)
  })
})
