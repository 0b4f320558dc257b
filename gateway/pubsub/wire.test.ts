import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { frameOf, OPCODE } from './frames.ts'
import { loadPubsubSecret } from './secret.ts'
import { createWire, KIND, newPublisher, type Told } from './wire.ts'

describe('what gateways say to each other', () => {
  const secret = randomBytes(32)
  const wire = createWire(secret)
  const topic = { namespace: 'alice', inner: 'ns::alice::room' }
  const told: Told = {
    kind: KIND.message,
    publisher: newPublisher(),
    seq: 2 ** 40 + 7,
    timestamp: Date.now(),
    beganAt: Date.now() - 1000,
    body: Buffer.from('a secret word')
  }

  it('comes back as it was said, and is different each time it is sealed', () => {
    const sealed = wire.seal(topic, told)
    assert.deepEqual(wire.open(topic, sealed), told)
    assert.ok(!sealed.includes('secret'))
    assert.notDeepEqual(wire.seal(topic, told), sealed)
    const empty = { ...told, body: Buffer.alloc(0) }
    assert.deepEqual(wire.open(topic, wire.seal(topic, empty)), empty)
  })

  it('is nothing on another topic, in another namespace, or with another key', () => {
    const sealed = wire.seal(topic, told)
    assert.equal(wire.open({ namespace: 'alice', inner: 'ns::alice::other' }, sealed), null)
    assert.equal(wire.open({ namespace: 'bob', inner: 'ns::bob::room' }, sealed), null)
    assert.equal(wire.open({ namespace: 'bob', inner: topic.inner }, sealed), null)
    assert.equal(createWire(randomBytes(32)).open(topic, sealed), null)
  })

  it('is nothing with any bit changed, cut, or made up', () => {
    const sealed = wire.seal(topic, told)
    for (let bit = 0; bit < sealed.byteLength * 8; bit += 1) {
      const changed = Buffer.from(sealed)
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
      assert.equal(wire.open(topic, changed), null, `bit ${bit}`)
    }
    for (let length = 0; length < sealed.byteLength; length += 1) {
      assert.equal(wire.open(topic, sealed.subarray(0, length)), null, `${length} bytes`)
    }
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(200, 1), randomBytes(300)]) {
      assert.equal(wire.open(topic, bytes), null)
    }
  })
})

describe('the key of pub/sub', () => {
  async function folder(work: (dataDir: string) => Promise<void>): Promise<void> {
    const dataDir = await mkdtemp(join(tmpdir(), 'warren-pubsub-'))
    try {
      await work(dataDir)
    } finally {
      await rm(dataDir, { recursive: true, force: true })
    }
  }

  it('is made once though many gateways of a directory start together, and kept', () =>
    folder(async dataDir => {
      const load = () => loadPubsubSecret({ dataDir, keyFile: undefined })
      const secrets = await Promise.all(Array.from({ length: 8 }, load))
      assert.equal(new Set([...secrets, await load()].map(secret => secret.toString('hex'))).size, 1)
      assert.equal(secrets[0]?.byteLength, 32)
      const path = join(dataDir, 'pubsub.key')
      assert.equal((await stat(path)).mode & 0o777, 0o600)
      assert.equal((await readFile(path, 'utf8')).trim(), secrets[0]?.toString('base64'))
    }))

  it('is refused when its file is not there or is no key', () =>
    folder(async dataDir => {
      const keyFile = join(dataDir, 'given.key')
      const code = { code: 'PUBSUB_KEY_INVALID' }
      await assert.rejects(loadPubsubSecret({ dataDir, keyFile }), code)
      for (const text of ['', 'short', Buffer.alloc(31).toString('base64')]) {
        await writeFile(keyFile, text)
        await assert.rejects(loadPubsubSecret({ dataDir, keyFile }), code)
      }
      await writeFile(keyFile, `${Buffer.alloc(32, 7).toString('base64')}\n`)
      assert.deepEqual(await loadPubsubSecret({ dataDir, keyFile }), Buffer.alloc(32, 7))
    }))
})

describe('frames', () => {
  it('have the three forms of a length', () => {
    const heads = [0, 125, 126, 65_535, 65_536].map(size => frameOf(OPCODE.binary, Buffer.alloc(size)))
    assert.deepEqual(
      heads.map(frame => frame.subarray(0, frame[1] === 127 ? 10 : frame[1] === 126 ? 4 : 2).toString('hex')),
      ['8200', '827d', '827e007e', '827effff', '827f0000000000010000']
    )
    assert.deepEqual(
      heads.map(frame => frame.byteLength),
      [2, 127, 130, 65_539, 65_546]
    )
  })
})
