import assert from 'node:assert/strict'
import { plan, topologyNamed } from '../../netem/index.ts'
import { layOutLab } from './netns-lab.ts'

describe('a lab on a machine that cannot shape', () => {
  it('is refused before anything is touched when a link is impaired', async () => {
    const impaired = plan(topologyNamed('testnet'), 'a seed')
    await assert.rejects(
      layOutLab(impaired, null, [], () => undefined),
      { code: 'SHAPING_MISSING' }
    )
  })
})
