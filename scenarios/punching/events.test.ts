import { equal, ok } from 'node:assert/strict'
import { concerns, EVENT_LABS, NETWORK_EVENTS } from './events.ts'

const lab = (name: string) => EVENT_LABS.find(each => each.name === name)!
const event = (name: string) => NETWORK_EVENTS.find(each => each.name === name)!

describe('network events', () => {
  it('are played where a transport is left that can be punched', () => {
    equal(concerns(event('rebind'), lab('quic')), true)
    equal(concerns(event('UDP blocked'), lab('quic')), false)
    equal(concerns(event('UDP blocked'), lab('dual')), true)
    equal(concerns(event('UDP blocked'), lab('tcp')), true)
  })

  it('have no public address to change where nothing is translated', () =>
    equal(concerns(event('public address change'), lab('six')), false))

  it('are played on either side, but for the death of a relay', () => {
    for (const { name, sides } of NETWORK_EVENTS) ok(sides.length === 2 || name === 'relay loss', name)
  })
})
