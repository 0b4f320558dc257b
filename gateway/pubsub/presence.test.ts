import assert from 'node:assert/strict'
import { MEMBERS_MAX } from './limits.ts'
import { createPresence } from './presence.ts'

describe('presence', () => {
  const ann = { member_id: 'ann', joined_at: 1 }

  function watched() {
    const events: string[] = []
    const presence = createPresence(({ type, member_id }) =>
      events.push(`${type.slice('presence.'.length)} ${member_id}`)
    )
    return { presence, events }
  }

  it('believes of a gateway what is newest, in whichever order it comes and however often', () => {
    const { presence, events } = watched()
    presence.heard('g', ann, 10)
    presence.gone('g', 'ann', 20)
    presence.heard('g', ann, 10)
    assert.deepEqual(events, ['join ann', 'leave ann'])
    presence.heard('g', ann, 30)
    presence.gone('g', 'ann', 20)
    assert.deepEqual(events.slice(2), ['join ann'])
    presence.gone('g', 'bob', 50)
    presence.heard('g', { ...ann, member_id: 'bob' }, 40)
    presence.heard('other', { ...ann, member_id: 'bob' }, 40)
    assert.deepEqual(events.slice(3), ['join bob'])
  })

  it('is not kept alive by what was said before', () => {
    const { presence, events } = watched()
    presence.heard('g', ann, 10)
    presence.expire(performance.now() + 1)
    presence.heard('g', ann, 10)
    assert.deepEqual(events, ['join ann', 'leave ann'])
    presence.heard('g', ann, 11)
    assert.deepEqual(presence.all(), [ann])
  })

  it('remembers only so many that have left', () => {
    const { presence, events } = watched()
    for (let index = 0; index <= MEMBERS_MAX; index += 1) presence.gone('g', `m${index}`, 20)
    presence.heard('g', { ...ann, member_id: 'm1' }, 10)
    presence.heard('g', { ...ann, member_id: 'm0' }, 10)
    assert.deepEqual(events, ['join m0'])
  })
})
