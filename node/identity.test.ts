import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { IdentityCorruptError, IdentityMismatchError } from './errors.ts'
import { ephemeralIdentity, loadIdentity, loadKeyFile, peerIdOfPublicKey, verifyPeerSignature } from './identity.ts'

describe('identity', () => {
  let dataDir: string
  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-identity-'))
  })
  afterEach(() => rm(dataDir, { recursive: true, force: true }))

  it('is made once, in three files that agree, and survives a restart', async () => {
    const first = await loadIdentity({ dataDir })
    const again = await loadIdentity({ dataDir })
    assert.equal(again.peerId, first.peerId)
    assert.match(first.peerId, /^12D3KooW/)
    assert.match(first.publicKey, /^0x[0-9a-f]{64}$/)

    const json = JSON.parse(await readFile(join(dataDir, 'p2p/peer-id.json'), 'utf8')) as Record<string, string>
    assert.deepEqual(Object.keys(json), ['id', 'privKey', 'pubKey'])
    assert.equal(json.id, first.peerId)
    const pem = createPrivateKey(await readFile(join(dataDir, 'keys/private.key'), 'utf8'))
    const spki = createPublicKey(await readFile(join(dataDir, 'keys/public.key'), 'utf8'))
    const raw = spki.export({ type: 'spki', format: 'der' }).subarray(-32)
    assert.equal(`0x${raw.toString('hex')}`, first.publicKey)
    assert.ok(createPublicKey(pem).equals(spki))
  })

  it('keeps its secrets readable by its owner only', async () => {
    await loadIdentity({ dataDir })
    for (const file of ['p2p/peer-id.json', 'keys/private.key']) {
      assert.equal((await stat(join(dataDir, file))).mode & 0o777, 0o600, file)
    }
  })

  it('imports a base64 libp2p key at the first start and refuses another one later', async () => {
    const keyFile = join(dataDir, 'given.key')
    const given = await loadKeyFile(keyFile)
    const home = join(dataDir, 'home')
    assert.equal((await loadIdentity({ dataDir: home, importFile: keyFile })).peerId, given.peerId)
    assert.equal((await loadIdentity({ dataDir: home })).peerId, given.peerId)
    assert.equal((await loadKeyFile(keyFile)).peerId, given.peerId)

    const other = join(dataDir, 'other.key')
    await loadKeyFile(other)
    await assert.rejects(loadIdentity({ dataDir: home, importFile: other }), IdentityMismatchError)
  })

  it('writes a missing file again from the others', async () => {
    const { peerId } = await loadIdentity({ dataDir })
    for (const file of ['p2p/peer-id.json', 'keys/private.key', 'keys/public.key']) {
      const before = await readFile(join(dataDir, file), 'utf8')
      await rm(join(dataDir, file))
      assert.equal((await loadIdentity({ dataDir })).peerId, peerId)
      assert.equal(await readFile(join(dataDir, file), 'utf8'), before)
    }
  })

  it('refuses files that hold different keys', async () => {
    await loadIdentity({ dataDir })
    const other = join(dataDir, 'other')
    await loadIdentity({ dataDir: other })
    for (const file of ['keys/private.key', 'keys/public.key']) {
      const before = await readFile(join(dataDir, file))
      await writeFile(join(dataDir, file), await readFile(join(other, file)))
      await assert.rejects(loadIdentity({ dataDir }), IdentityMismatchError)
      await writeFile(join(dataDir, file), before)
    }
    const path = join(dataDir, 'p2p/peer-id.json')
    const json = JSON.parse(await readFile(path, 'utf8')) as Record<string, string>
    await writeFile(path, JSON.stringify({ ...json, id: (await ephemeralIdentity()).peerId }))
    await assert.rejects(loadIdentity({ dataDir }), IdentityMismatchError)
  })

  it('refuses files that hold no key', async () => {
    await loadIdentity({ dataDir })
    const path = join(dataDir, 'p2p/peer-id.json')
    for (const text of ['', '{}', 'null', '{"id":"x","privKey":"AAAA"}', '{']) {
      await writeFile(path, text)
      await assert.rejects(loadIdentity({ dataDir }), IdentityCorruptError, JSON.stringify(text))
    }
  })

  it('signs what its peer id verifies, and nothing else', async () => {
    const [ours, theirs] = [await ephemeralIdentity(), await ephemeralIdentity()]
    const message = new TextEncoder().encode('hello')
    const signature = ours.sign(message)
    assert.ok(verifyPeerSignature(ours.peerId, message, signature))
    assert.ok(!verifyPeerSignature(theirs.peerId, message, signature))
    assert.ok(!verifyPeerSignature(ours.peerId, message.subarray(1), signature))
    assert.ok(!verifyPeerSignature('nonsense', message, signature))
    assert.equal(peerIdOfPublicKey(ours.publicKey), ours.peerId)
    assert.equal(peerIdOfPublicKey('0x00'), null)
  })

  it('derives secrets that differ by label and by key, and stay', async () => {
    const { deriveSecret } = await loadIdentity({ dataDir })
    assert.equal(deriveSecret('a').byteLength, 32)
    assert.deepEqual(deriveSecret('a'), (await loadIdentity({ dataDir })).deriveSecret('a'))
    assert.notDeepEqual(deriveSecret('a'), deriveSecret('b'))
    assert.notDeepEqual(deriveSecret('a'), (await ephemeralIdentity()).deriveSecret('a'))
  })
})
