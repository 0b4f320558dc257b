import assert from 'node:assert/strict'
import { judgeDocker } from './docker-probe.ts'
import { diagnosisText } from './doctor.ts'

const COMPOSE = { said: '2.26.1-4' }

describe('what is said of a Docker engine', () => {
  const whats = (engine: string, compose = COMPOSE.said): string[] =>
    judgeDocker({ said: engine }, { said: compose }).missing.map(({ what }) => what)

  it('is that it lacks nothing, of each that is promised', () => {
    for (const engine of ['20.10.24+dfsg1', '26.1.5+dfsg1', '28.2.0', '28.5.2+dfsg4'])
      assert.deepEqual(whats(engine), [], engine)
  })

  it('is what 28.0 and 28.1 lack, and which version mends it', () => {
    for (const engine of ['28.0.4', '28.1.1']) {
      const [missing] = judgeDocker({ said: engine }, COMPOSE).missing
      assert.ok(missing!.why.includes(engine))
      assert.match(missing!.fix, /28\.2 or later/)
    }
  })

  it('is the way in for a user who may not speak to it', () => {
    const [missing] = judgeDocker(
      { failed: 'permission denied while trying to connect to the socket' },
      COMPOSE
    ).missing
    assert.match(missing!.fix, /usermod -aG docker/)
  })

  it('is that Compose 1 will not do, nor none', () => {
    assert.deepEqual(whats('26.1.5', '1.29.2'), ['Docker Compose v2'])
    const none = judgeDocker({ said: '26.1.5' }, { failed: "docker: 'compose' is not a docker command." })
    assert.deepEqual(
      none.missing.map(({ fix }) => fix),
      ['make docker-engine']
    )
  })

  it('stands in the diagnosis with its version, whether it will do or not', () => {
    const text = (engine: string): string => {
      const { versions, missing } = judgeDocker({ said: engine }, COMPOSE)
      const docker = { can: missing.length === 0 ? (['nat'] as const).slice() : [], versions, missing }
      const runtimes = { docker, netns: { can: [], missing: [] } }
      return diagnosisText({ node: '24', cores: 2, memoryGiB: 4, runtimes, tools: [] })
    }
    assert.match(text('28.5.2'), /RUNTIME=docker .* yes, engine 28\.5\.2, Compose 2\.26\.1-4: nat/)
    assert.match(text('28.1.1'), /RUNTIME=docker .* no networks that trust each other: engine 28\.1\.1 drops/)
  })
})
