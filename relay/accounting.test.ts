import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../node/index.ts'
import { billable, createAccounting, FREE_COORDINATION_BYTES } from './accounting.ts'
import { eventually, sendOver, startRelayPeer, startTestRelay } from './testing.ts'

const MIB = 1024 * 1024

describe('the relay’s accounting', () => {
  let folder: string
  let file: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-accounting-'))
    file = join(folder, 'accounting.json')
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))
  const open = (maxPeers = 100) => createAccounting({ file, maxPeers, log: silentLog() })

  it('counts each way, for each peer and each circuit', () => {
    const accounting = open()
    const session = accounting.open('alice', 'bob')
    session.add(0, 700)
    session.add(1, 30)
    session.close('closed')
    accounting.open('bob', 'carol').add(0, 5)
    assert.deepEqual(accounting.of('alice'), { upBytes: 700, downBytes: 30, circuits: 1 })
    assert.deepEqual(accounting.of('bob'), { upBytes: 35, downBytes: 700, circuits: 2 })
    assert.deepEqual(accounting.of('carol'), { upBytes: 0, downBytes: 5, circuits: 1 })
    assert.deepEqual(accounting.totals(), { bytes: 735, circuits: 2 })
    assert.deepEqual(
      accounting.sessions().map(({ from, to, upBytes, downBytes, end }) => [from, to, upBytes, downBytes, end]),
      [
        ['alice', 'bob', 700, 30, 'closed'],
        ['bob', 'carol', 5, 0, null]
      ]
    )
  })

  it('tells what of a session is free coordination and what is relayed', () => {
    const session = open().open('alice', 'bob')
    session.add(0, 10_000)
    session.add(1, 240)
    assert.deepEqual(billable(session), { coordinationBytes: FREE_COORDINATION_BYTES, relayBytes: 0 })
    session.add(1, 1)
    assert.deepEqual(billable(session), { coordinationBytes: FREE_COORDINATION_BYTES, relayBytes: 1 })
  })

  it('is bounded, and loses no byte of the sum', () => {
    const accounting = open(10)
    for (let i = 0; i < 1500; i++) {
      const session = accounting.open(`peer ${i}`, 'busy')
      session.add(0, 1)
      session.close('closed')
    }
    const peers = [...accounting.peers()]
    assert.equal(peers.length, 10)
    const up = peers.reduce((sum, [, { upBytes }]) => sum + upBytes, accounting.others().upBytes)
    assert.equal(up, 1500)
    assert.equal(accounting.of('busy')?.downBytes, 1500)
    assert.equal(accounting.sessions().length, 1000)
  })

  it('goes on after a restart from what it had, and begins anew beside a file that it cannot read', async () => {
    const first = open()
    await first.start()
    first.open('alice', 'bob').add(0, 700)
    await first.stop()
    const second = open()
    await second.start()
    second.open('alice', 'bob').add(0, 1)
    await second.stop()
    assert.deepEqual(second.of('alice'), { upBytes: 701, downBytes: 0, circuits: 2 })
    assert.deepEqual(second.totals(), { bytes: 701, circuits: 2 })
    await writeFile(file, '{"version":1,"totals"')
    const third = open()
    await third.start()
    assert.deepEqual(third.totals(), { bytes: 0, circuits: 0 })
    await third.stop()
    assert.match(await readFile(`${file}.unreadable`, 'utf8'), /totals/)
  })
})

describe('a relay', function () {
  this.timeout(60_000)

  it('tells what went through it over HTTP and in its metrics, also after a restart', async () => {
    let dataDir: string
    const sent = MIB
    let target = ''
    {
      await using relay = await startTestRelay({ DATA_DIR: await mkdtemp(join(tmpdir(), 'warren-relay-')) })
      dataDir = relay.dataDir
      await using far = await startRelayPeer(relay.address)
      await using source = await startRelayPeer(relay.address, { role: 'client' })
      await eventually(far.reserved, 'it reserved')
      await sendOver(await source.circuitTo(far.peerId), sent)
      target = far.peerId
      const got = relay.relay.accounting.of(far.peerId)!
      assert.ok(got.downBytes >= sent && got.downBytes < sent * 1.1, `${got.downBytes} bytes for ${sent}`)
      assert.equal(relay.relay.accounting.of(source.peerId)?.upBytes, got.downBytes)
      assert.ok((await relay.metric('warren_relay_bytes_total')) >= sent)
      const { peers } = (await (await relay.get('/peers')).json()) as {
        peers: Array<{ peerId: string; relayed: { downBytes: number } | null }>
      }
      assert.ok(peers.find(({ peerId }) => peerId === far.peerId)!.relayed!.downBytes >= sent)
    }
    await using again = await startTestRelay({ DATA_DIR: dataDir })
    const body = (await (await again.get('/accounting')).json()) as {
      totals: { bytes: number }
      peers: Array<{ peerId: string; downBytes: number }>
    }
    assert.ok(body.totals.bytes >= sent)
    assert.ok(body.peers.find(({ peerId }) => peerId === target)!.downBytes >= sent)
    assert.doesNotMatch(JSON.stringify(body), /"from"|"to"/)
    await rm(dataDir, { recursive: true, force: true })
  })
})
