import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { goFlags, type PeerTask, parseEvents } from './events.ts'

const TASK: PeerTask = {
  key: 'CAESQA==',
  listen: ['/ip4/0.0.0.0/tcp/1', '/ip4/0.0.0.0/udp/1/quic-v1'],
  connect: ['/ip4/11.0.0.1/tcp/1/p2p/x'],
  reserve: [],
  dial: '/ip4/11.0.0.2/tcp/1/p2p/y',
  punch: 'quic',
  pings: 2,
  until: 'direct',
  withinMs: 1500,
  lingersMs: 10
}

describe('the words between the interop scenario and its peers', () => {
  it('are read line by line, and what is no event is left out', () => {
    const events = parseEvents(
      '{"event":"ping","atMs":3,"ok":true}\nnoise\n{"event":\n\n{"event":"end","atMs":4,"reached":true}'
    )
    assert.deepEqual(events, [
      { event: 'ping', atMs: 3, ok: true },
      { event: 'end', atMs: 4, reached: true }
    ])
  })

  it('name only flags that the Go peer has', () => {
    const source = readFileSync(join(import.meta.dirname, 'go', 'main.go'), 'utf8')
    const known = [...source.matchAll(/flag\.\w*Var\(&o\.\w+, "(\w+)"/g)].map(([, name]) => name)
    const given = goFlags(TASK).filter(word => word.startsWith('-'))
    assert.deepEqual(
      [...new Set(given.map(word => word.slice(1)))].filter(name => !known.includes(name)),
      []
    )
    assert.deepEqual(given.filter(word => word === '-listen').length, 2)
    assert.equal(goFlags(TASK)[goFlags(TASK).indexOf('-within') + 1], '1500ms')
  })

  it('come from source that gofmt leaves as it is', function () {
    const { error, stdout } = spawnSync('gofmt', ['-l', join(import.meta.dirname, 'go')], { encoding: 'utf8' })
    if (error !== undefined) this.skip()
    assert.equal(stdout, '')
  })
})
