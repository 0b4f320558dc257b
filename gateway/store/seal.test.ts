import assert from 'node:assert/strict'
import { createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { createSealer, SEAL_BYTES, type SealedFor } from './seal.ts'

const MASTER = randomBytes(32)
const PURPOSE: SealedFor = { kind: 'value', namespace: 'alice', name: 'ns::alice::a' }

describe('what is sealed', () => {
  it('opens for the same purpose, in another run too, and is not what was given', () => {
    const sealer = createSealer(MASTER)
    for (const whole of [Buffer.alloc(0), Buffer.from('a value nobody else may read'), randomBytes(65_536)]) {
      const sealed = sealer.seal(whole, PURPOSE)
      assert.equal(sealed.byteLength, whole.byteLength + SEAL_BYTES)
      if (whole.byteLength > 0) assert.equal(sealed.includes(whole), false)
      assert.deepEqual(sealer.open(sealed, PURPOSE), whole)
      assert.deepEqual(createSealer(MASTER).open(sealed, PURPOSE), whole)
    }
  })

  it('opens for no other kind, namespace, name or master key', () => {
    const sealed = createSealer(MASTER).seal(Buffer.from('v'), PURPOSE)
    const others: SealedFor[] = [
      { ...PURPOSE, kind: 'cid' },
      { ...PURPOSE, namespace: 'bob' },
      { ...PURPOSE, name: 'ns::alice::b' },
      { ...PURPOSE, name: 'ns::alice::a\0' },
      { ...PURPOSE, name: '' }
    ]
    for (const other of others) assert.equal(createSealer(MASTER).open(sealed, other), null, JSON.stringify(other))
    assert.equal(createSealer(randomBytes(32)).open(sealed, PURPOSE), null)
  })

  it('is refused with any bit changed and at any other length', () => {
    const sealer = createSealer(MASTER)
    const sealed = sealer.seal(Buffer.from('value'), PURPOSE)
    for (let bit = 0; bit < sealed.byteLength * 8; bit += 1) {
      const changed = Buffer.from(sealed)
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
      assert.equal(sealer.open(changed, PURPOSE), null, `bit ${bit}`)
    }
    for (let length = 0; length < sealed.byteLength; length += 1) {
      assert.equal(sealer.open(sealed.subarray(0, length), PURPOSE), null, `${length} bytes`)
    }
    assert.equal(sealer.open(Buffer.concat([sealed, Buffer.alloc(1)]), PURPOSE), null)
  })

  it('never has the nonce of another under the same key', () => {
    // Salt and counter: 16 and 6 bytes behind the version.
    const nonces = new Set<string>()
    for (const sealer of [createSealer(MASTER), createSealer(MASTER)]) {
      for (let index = 0; index < 1000; index += 1) {
        const namespace = index % 2 === 0 ? 'alice' : 'bob'
        const sealed = sealer.seal(Buffer.from('same'), { ...PURPOSE, namespace })
        nonces.add(sealed.toString('hex', 1, 23))
      }
    }
    assert.equal(nonces.size, 2000)
  })

  it('opens after more namespaces than keys are kept', () => {
    const sealer = createSealer(MASTER)
    const sealed = sealer.seal(Buffer.from('first'), PURPOSE)
    for (let index = 0; index < 1100; index += 1) sealer.seal(Buffer.alloc(1), { ...PURPOSE, namespace: `n${index}` })
    assert.equal(sealer.open(sealed, PURPOSE)?.toString(), 'first')
    assert.equal(sealer.open(sealer.seal(Buffer.from('again'), PURPOSE), PURPOSE)?.toString(), 'again')
  })
})

describe('the form of what is sealed', () => {
  it('is AES-256-GCM under a key of its own for each namespace and run, bound to what it is for', () => {
    const masterKey = randomBytes(32)
    const purpose = { kind: 'value', namespace: 'alice', name: 'ns::alice::k' } as const
    const sealed = createSealer(masterKey).seal(Buffer.from('the value'), purpose)
    // version (1) · salt of the run (16) · counter (6) · ciphertext · tag (16)
    const [salt, counter] = [sealed.subarray(1, 17), sealed.subarray(17, 23)]
    const openAs = (namespace: string) => {
      const key = new Uint8Array(hkdfSync('sha256', masterKey, salt, `warren values 1\0${namespace}`, 32))
      const decipher = createDecipheriv('aes-256-gcm', key, Buffer.concat([Buffer.alloc(6), counter]))
        .setAAD(Buffer.from('value\0alice\0ns::alice::k'))
        .setAuthTag(sealed.subarray(-16))
      return Buffer.concat([decipher.update(sealed.subarray(23, -16)), decipher.final()]).toString()
    }
    assert.equal(openAs('alice'), 'the value')
    assert.throws(() => openAs('bob'))
    assert.throws(() => openAs(''))
  })
})
