import { deepEqual, equal, ok, throws } from 'node:assert/strict'
import { expected } from './expected.ts'
import { MATRIX_KINDS, readSettings, SHORT_PAIRS } from './settings.ts'

describe('settings of the punching scenarios', () => {
  it('are twelve pairs when short, and every ordered pair of at least eight kinds when full', () => {
    equal(readSettings({}, { depth: 'short' }).pairs.length, 12)
    const { pairs, runs, transports, linkMs } = readSettings({}, { depth: 'full' })
    ok(MATRIX_KINDS.length >= 8)
    equal(pairs.length, MATRIX_KINDS.length ** 2 + MATRIX_KINDS.length)
    deepEqual([runs, transports, linkMs], [3, ['tcp', 'quic'], 15])
  })

  it('take every method and every reason to stay relayed when short', () => {
    const methods = SHORT_PAIRS.map(({ a, b }) => expected(a, b, 'quic').method)
    for (const method of ['ordinary', 'unilateral', 'sandwich', 'birthday', null] as const) ok(methods.includes(method))
  })

  it('are what the environment says', () => {
    const env = { RUNS: '50', PAIRS: 'full-cone:symmetric,public:firewall', TRANSPORTS: 'quic', LINK: '50', LOSS: '5' }
    const settings = readSettings(env, { depth: 'short' })
    deepEqual(settings.pairs, [
      { a: 'full-cone', b: 'symmetric' },
      { a: 'public', b: 'firewall' }
    ])
    deepEqual([settings.runs, settings.transports, settings.linkMs, settings.lossPct], [50, ['quic'], 50, 5])
  })

  it('name every problem at once, and are not fooled by an empty word', () => {
    throws(
      () =>
        readSettings({ RUNS: 'many', PAIRS: 'a:b,full-cone:public', LINK: '7', TRANSPORTS: 'udp' }, { depth: 'full' }),
      /PAIRS has "a:b".*PAIRS has "full-cone:public".*TRANSPORTS has "udp".*LINK is "7".*RUNS is "many"/
    )
    equal(readSettings({ RUNS: '', PAIRS: '' }, { depth: 'full' }).runs, 3)
  })
})
