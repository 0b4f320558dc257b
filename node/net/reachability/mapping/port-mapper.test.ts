import assert from 'node:assert/strict'
import { silentLog } from '../../../log.ts'
import { eventually } from '../../testing.ts'
import { defaultRoute } from './gateway.ts'
import { natPmp } from './nat-pmp.ts'
import { pcp } from './pcp.ts'
import { createPortMapper, type MappedPort, type PortMapper } from './port-mapper.ts'
import { startRouter, type TestRouter } from './testing.ts'

const INNER = 5011

interface Running extends AsyncDisposable {
  mapper: PortMapper
  /** What is told to others now. */
  told: Map<number, MappedPort>
  seen: string[]
}

function start(router: TestRouter, seen: string[]): Running {
  const told = new Map<number, MappedPort>()
  const mapper = createPortMapper({
    listening: () => [{ transport: 'tcp', port: INNER }],
    seenHosts: () => seen,
    sink: { add: mapped => void told.set(mapped.port, { ...mapped }), remove: mapped => void told.delete(mapped.port) },
    gateway: () => ({ router: router.host, own: '127.0.0.1' }),
    clients: [pcp, natPmp],
    log: silentLog()
  })
  mapper.start()
  return { mapper, told, seen, [Symbol.asyncDispose]: () => mapper.stop() }
}

describe('a port that the router maps', function () {
  this.timeout(20_000)

  for (const speaksPcp of [true, false]) {
    const protocol = speaksPcp ? 'pcp' : 'nat-pmp'
    it(`is told to others once a peer sees us there, by ${protocol}, and given back at the end`, async () => {
      await using router = await startRouter({ pcp: speaksPcp })
      const running = start(router, [])
      await eventually(() => router.mapped.has(INNER), 'mapped')
      await eventually(() => running.mapper.mapped().length === 1, 'known')
      assert.equal(running.told.size, 0)
      assert.match(running.mapper.problem() ?? '', /no peer sees us at 11\.0\.7\.1/)
      running.seen.push('11.0.7.1')
      running.mapper.check()
      const { outerHost, outerPort, protocol: by } = running.told.get(INNER)!
      assert.deepEqual([outerHost, outerPort, by], ['11.0.7.1', 20_011, protocol])
      assert.equal(running.mapper.problem(), null)
      await running.mapper.stop()
      assert.equal(router.mapped.size, 0)
      assert.equal(running.told.size, 0)
    })
  }

  it('is not told where the router lies about its address', async () => {
    await using router = await startRouter({ outerHost: '11.9.9.9' })
    await using running = start(router, ['11.0.7.1'])
    await eventually(() => running.mapper.mapped().length === 1, 'mapped')
    assert.equal(running.told.size, 0)
    assert.match(running.mapper.problem() ?? '', /no peer sees us at 11\.9\.9\.9/)
  })

  it('is given back at once where the router itself has a private address', async () => {
    for (const outerHost of ['192.168.0.7', '100.64.3.1', '10.0.0.1']) {
      await using router = await startRouter({ outerHost })
      await using running = start(router, [outerHost])
      await eventually(() => router.asked() > 1 && router.mapped.size === 0, 'given back')
      await eventually(() => running.mapper.problem()?.includes(outerHost), 'the reason is told')
      assert.equal(running.told.size, 0)
      assert.equal(running.mapper.mapped().length, 0)
    }
  })

  it('is renewed before its lease ends, and forgotten when the address outside changes to one nobody sees', async () => {
    await using router = await startRouter({ leaseS: 2 })
    await using running = start(router, ['11.0.7.1'])
    await eventually(() => running.told.size === 1, 'told')
    await eventually(() => router.asked() >= 3, 'renewed twice')
    assert.equal(running.told.size, 1)
    router.manners.outerHost = '11.0.7.2'
    await eventually(() => running.told.size === 0, 'the old address went')
    running.seen.push('11.0.7.2')
    await eventually(() => running.told.get(INNER)?.outerHost === '11.0.7.2', 'the new one came')
  })

  it('does not exist where the router refuses or is silent, and that is told', async () => {
    await using refusing = await startRouter({ result: 2 })
    await using one = start(refusing, ['11.0.7.1'])
    await eventually(() => one.mapper.problem()?.includes('refuses'), 'refused')
    await using silent = await startRouter({ silent: true })
    await using other = start(silent, ['11.0.7.1'])
    await eventually(() => other.mapper.problem()?.includes('does not answer'), 'silent')
    assert.deepEqual([one.told.size, other.told.size], [0, 0])
  })

  it('is asked of the default gateway with the least metric', () => {
    const head = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n'
    const text = `${head}wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\neth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\neth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n`
    assert.deepEqual(defaultRoute(text), { name: 'eth0', router: '192.168.1.1' })
    assert.equal(defaultRoute(head), null)
    assert.equal(defaultRoute(`${head}eth0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n`), null)
  })
})
