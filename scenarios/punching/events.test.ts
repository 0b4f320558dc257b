import { deepEqual, equal, ok, throws } from 'node:assert/strict'
import { chosen, concerns, EVENT_LABS, NETWORK_EVENTS } from './events.ts'

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

  it('are all played in full, and every one of them somewhere in short', () => {
    const short = chosen({}, 'short')
    equal(chosen({}, 'full').length, 37)
    equal(short.length, 14)
    deepEqual(new Set(short.map(({ event }) => event)), new Set(NETWORK_EVENTS))
    deepEqual(new Set(short.map(({ lab }) => lab)), new Set(EVENT_LABS))
  })

  it('can be chosen of all, in short too', () => {
    const names = (env: Record<string, string>) =>
      chosen(env, 'short').map(({ event, lab, side }) => `${event.name} ${lab.name} ${side}`)
    deepEqual(names({ EVENTS: 'rebind', LABS: 'six' }), ['rebind six a', 'rebind six b'])
    deepEqual(names({ EVENTS: 'uplink switch', LABS: 'tcp,dual', SIDES: 'b' }), [
      'uplink switch tcp b',
      'uplink switch dual b'
    ])
  })

  it('are refused by names that are none', () =>
    throws(() => chosen({ EVENTS: 'rebound', SIDES: 'c' }, 'full'), /EVENTS has "rebound".*SIDES has "c"/))
})
