import assert from 'node:assert/strict'
import { plan, testnet } from '../../netem/index.ts'
import { endpointsOf, shellVariables } from './endpoints.ts'

describe('endpoints', () => {
  const planned = plan(testnet, 'warren', 1)
  const endpoints = endpointsOf(planned, 'run-1', 'netns')

  it('have the promised shape', () => {
    assert.deepEqual(Object.keys(endpoints), [
      'run',
      'seed',
      'slot',
      'runtime',
      'hosts',
      'gateways',
      'apiKey',
      'chain',
      'registry'
    ])
    assert.deepEqual(endpoints.hosts.alice, {
      role: 'node',
      nat: 'home-1',
      natKind: 'port-preserving',
      control: `http://127.0.0.1:${planned.hosts.find(({ name }) => name === 'alice')!.controlPort}`
    })
    assert.equal(endpoints.hosts['node-1']?.nat, null)
    assert.equal(endpoints.gateways.length, 2)
    assert.equal(endpoints.registry, planned.chain?.registry)
  })

  it('are shell variables too, quoted', () => {
    const text = shellVariables({ ...endpoints, apiKey: "it's" })
    assert.match(text, /^API_KEY='it'\\''s'$/m)
    assert.match(text, /^GATEWAY='http:\/\/127\.0\.0\.1:\d+'$/m)
    assert.match(text, /^NODE=/m)
    for (const name of ['GATEWAY', 'API_KEY', 'NODE']) assert.match(text, new RegExp(`^export WARREN_${name}=`, 'm'))
  })
})
