import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStore } from '../blobs/store.ts'
import type { BlobStore } from '../blobs/store.types.ts'
import { BlobCorruptError, BlobNotFoundError, BusyError, ChallengeReplayedError } from '../errors.ts'
import { ephemeralIdentity, type Identity } from '../identity.ts'
import { silentLog } from '../log.ts'
import { PROTOCOLS } from '../net/protocols.ts'
import { eventually, memoryHandlers, startPeer, startRelay, type TestPeer } from '../net/testing.ts'
import { startNodes, type TestNode } from '../testing.ts'
import { AUDIT_ATTEMPTS, type AuditOptions, createAuditor, type Verdict } from './auditor.ts'
import { createProver, type ProofAnswer, type Prover } from './prover.ts'
import { createSavedProofs } from './saved.ts'
import { hourChallenge, newChallenge, type ProofRequest, signStatement } from './statement.ts'

const MIB = 1024 * 1024
/** All leaves of the blobs here. */
const ALL = 16

describe('the auditor', function () {
  this.timeout(60_000)
  let dataDir: string
  let store: BlobStore
  let identity: Identity
  let honest: Prover
  let holder: TestPeer
  let asker: TestPeer
  let cid: string
  let otherCid: string
  /** What the holder answers with; each test may replace it. */
  let prove: Prover['prove']
  const bytes = randomBytes(2 * MIB + 7)

  const proverOf = (init: { store?: Pick<BlobStore, 'open'>; identity?: Identity; now?: () => number } = {}) => {
    const saved = createSavedProofs({ dataDir, log: silentLog() })
    return createProver({ store, identity, nodeId: 'node-a', saved, ...init })
  }
  async function put(content: Uint8Array): Promise<string> {
    async function* source() {
      yield content
    }
    const staged = await store.stage(source(), { maxBytes: 64 * MIB })
    await staged.commit()
    return staged.cid
  }
  const holderWith = (options: Parameters<typeof startPeer>[0] = {}) =>
    startPeer({
      identity,
      ...options,
      handlers: blobs => ({ ...memoryHandlers(blobs), prove: (request, given) => prove(request, given) })
    })

  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-audit-'))
    const secret = Buffer.alloc(32, 1)
    store = await openStore({ dataDir, capacityBytes: 64 * MIB, secret, log: silentLog() })
    cid = await put(bytes)
    otherCid = await put(randomBytes(MIB))
    identity = await ephemeralIdentity()
    honest = proverOf()
    holder = await holderWith()
    asker = await startPeer()
    await asker.node.libp2p.dial(holder.node.libp2p.getMultiaddrs())
  })
  after(async () => {
    await Promise.all([holder, asker].map(peer => peer[Symbol.asyncDispose]()))
    await rm(dataDir, { recursive: true, force: true })
  })
  beforeEach(() => {
    prove = honest.prove
  })

  const replica = async (name: string) =>
    name === cid
      ? (async function* () {
          yield bytes
        })()
      : null
  const audit = (options: AuditOptions = {}) =>
    createAuditor({ ask: asker.network.proof, replica }).audit(identity.peerId, cid, { leaves: ALL, ...options })
  const told = (verdict: Verdict) => (verdict.verdict === 'pass' ? 'pass' : `${verdict.verdict} ${verdict.reason}`)
  const both = async () => [told(await audit()), told(await audit({ mode: 'whole' }))]

  it('passes a node that has the blob, by leaves and whole', async () => {
    assert.deepEqual(await both(), ['pass', 'pass'])
    assert.equal(told(await audit({ nodeId: 'node-a', leaves: 1 })), 'pass')
    assert.equal(told(await audit({ nodeId: 'node-b' })), 'fail WRONG_NODE')
  })

  it('passes it through a relay', async () => {
    await using relay = await startRelay()
    const own = await ephemeralIdentity()
    prove = proverOf({ identity: own }).prove
    await using hidden = await holderWith({ identity: own, relays: [relay.address], listen: [] })
    await using far = await startPeer({ relays: [relay.address], listen: [] })
    await eventually(() => hidden.network.anchors().every(({ reserved }) => reserved), 'a place at the relay')
    const { audit: ask } = createAuditor({ ask: far.network.proof, replica })
    for (const mode of ['leaves', 'whole'] as const) {
      assert.equal(told(await ask(hidden.network.self, cid, { mode, leaves: ALL })), 'pass')
    }
    const path = far.network.connections().find(({ peerId }) => peerId === hidden.network.self)
    assert.equal(path?.path, 'relayed')
  })

  it('fails a node that says that it has the blob no more, or only a damaged copy', async () => {
    prove = async () => {
      throw new BlobNotFoundError(cid)
    }
    assert.deepEqual(await both(), ['fail NOT_HELD', 'fail NOT_HELD'])
    prove = async () => {
      throw new BlobCorruptError(cid, 'chunk 3 does not have its tag')
    }
    assert.deepEqual(await both(), ['fail DAMAGED', 'fail DAMAGED'])
  })

  it('fails a node whose bytes were altered, cut or thrown away, whatever it signs', async () => {
    const cheat = (kept: Uint8Array) =>
      proverOf({
        store: {
          async open(name) {
            const blob = (await store.open(name))!
            // The tree is kept, and true; what it stands for is not there.
            async function* read({ offset = 0, length = kept.length } = {}) {
              yield kept.subarray(offset, offset + length)
            }
            return { ...blob, read }
          }
        }
      }).prove
    const altered = Buffer.from(bytes)
    altered[MIB]! ^= 1
    const cut = Buffer.concat([bytes.subarray(0, MIB), Buffer.alloc(bytes.length - MIB)])
    for (const kept of [altered, cut, Buffer.alloc(bytes.length)]) {
      prove = cheat(kept)
      assert.deepEqual(await both(), ['fail BLOCK_WRONG', 'fail BYTES_WRONG'])
    }
  })

  it('fails a node that names another size', async () => {
    prove = async (request, given) => {
      const answer = await honest.prove(request, given)
      const { proof, publicKey, ...facts } = answer.statement
      return { ...answer, statement: signStatement(identity, { ...facts, sizeBytes: 1000 }) }
    }
    assert.deepEqual(await both(), ['fail BLOCK_WRONG', 'fail SIZE_WRONG'])
  })

  it('fails an answer made before it asked: replayed, relabelled, signed anew or of this hour', async () => {
    const answerTo = async (request: ProofRequest, relabel: 'no' | 'label' | 'sign'): Promise<ProofAnswer> => {
      const answer = await honest.prove({ ...request, challenge: newChallenge() })
      const { challenge = '' } = request
      if (relabel === 'no') return answer
      const { proof, publicKey, ...facts } = answer.statement
      if (relabel === 'label') return { ...answer, statement: { ...answer.statement, challenge } }
      return { ...answer, statement: signStatement(identity, { ...facts, challenge }) }
    }
    prove = request => answerTo(request, 'no')
    assert.deepEqual(await both(), ['fail WRONG_CHALLENGE', 'fail WRONG_CHALLENGE'])
    prove = request => answerTo(request, 'label')
    assert.deepEqual(await both(), ['fail SIGNATURE_WRONG', 'fail SIGNATURE_WRONG'])
    prove = request => answerTo(request, 'sign')
    assert.deepEqual(await both(), ['fail BYTES_WRONG', 'fail BYTES_WRONG'])
    // With fewer leaves than there are, an answer to another challenge has the wrong ones.
    assert.match(told(await audit({ leaves: 2 })), /^fail (BLOCK|BYTES)_WRONG$/)
    prove = request => honest.prove({ cid: request.cid, mode: 'hour' })
    assert.deepEqual(await both(), ['fail WRONG_MODE', 'fail WRONG_MODE'])
    prove = async request => {
      const answer = await honest.prove({ cid: request.cid, mode: 'hour' })
      const { proof, publicKey, ...facts } = answer.statement
      const challenge = hourChallenge(cid, Date.now())
      return { ...answer, statement: signStatement(identity, { ...facts, challenge, mode: 'whole' }) }
    }
    assert.equal(told(await audit({ mode: 'whole' })), 'fail WRONG_CHALLENGE')
  })

  it('fails a node that has another one answer for it', async () => {
    const other = proverOf({ identity: await ephemeralIdentity() })
    prove = other.prove
    assert.deepEqual(await both(), ['fail WRONG_NODE', 'fail WRONG_NODE'])
    prove = async (request, given) => {
      const answer = await other.prove(request, given)
      return { ...answer, statement: { ...answer.statement, publicKey: identity.publicKey } }
    }
    assert.deepEqual(await both(), ['fail SIGNATURE_WRONG', 'fail SIGNATURE_WRONG'])
  })

  it('fails a time too far back or ahead, and another blob', async () => {
    prove = proverOf({ now: () => Date.now() - 3_700_000 }).prove
    assert.deepEqual(await both(), ['fail TOO_OLD', 'fail TOO_OLD'])
    prove = proverOf({ now: () => Date.now() + 400_000 }).prove
    assert.deepEqual(await both(), ['fail FROM_THE_FUTURE', 'fail FROM_THE_FUTURE'])
    prove = (request, given) => honest.prove({ ...request, cid: otherCid }, given)
    assert.deepEqual(await both(), ['fail WRONG_CID', 'fail WRONG_CID'])
  })

  it('fails a node that refuses a fresh challenge, and does not blame one that is busy', async () => {
    prove = async () => {
      throw new ChallengeReplayedError()
    }
    assert.deepEqual(await both(), ['fail REFUSED', 'fail REFUSED'])
    prove = async () => {
      throw new Error('disk on fire')
    }
    assert.equal(told(await audit()), 'fail REFUSED')
    prove = async () => {
      throw new BusyError('proofs')
    }
    assert.equal(told(await audit()), 'unknown BUSY')
  })

  it('asks again with the same challenge when an answer broke off, so that nobody draws other leaves', async () => {
    const challenges: unknown[] = []
    let cuts = AUDIT_ATTEMPTS - 1
    prove = async (request, given) => {
      challenges.push(request.challenge)
      const answer = await honest.prove(request, given)
      if (cuts === 0) return answer
      cuts -= 1
      async function* broken() {
        yield randomBytes(10)
        throw new Error('cut')
      }
      return { ...answer, blocks: broken }
    }
    assert.equal(told(await audit()), 'pass')
    assert.equal(challenges.length, AUDIT_ATTEMPTS)
    assert.equal(new Set(challenges).size, 1)
    cuts = Number.POSITIVE_INFINITY
    assert.equal(told(await audit()), 'unknown BROKE_OFF')
    assert.equal(challenges.length, 2 * AUDIT_ATTEMPTS)
  })

  it('does not know of a node that is away, silent, or does not speak the protocol', async () => {
    const { audit: ask } = createAuditor({ ask: asker.network.proof, replica })
    const away = await ephemeralIdentity()
    assert.equal(told(await ask(away.peerId, cid)), 'unknown UNREACHABLE')
    await using plain = await startPeer()
    await asker.node.libp2p.dial(plain.node.libp2p.getMultiaddrs())
    assert.equal(told(await ask(plain.network.self, cid)), 'unknown BROKE_OFF')
    let left = false
    prove = (_request, { signal } = {}) =>
      new Promise((_resolve, reject) => {
        signal?.addEventListener('abort', () => {
          left = true
          reject(new Error('nobody waits'))
        })
      })
    assert.equal(told(await audit({ timeoutMs: 300 })), 'unknown TOO_LATE')
    await eventually(() => left, 'the holder stopped')
    const gone = new AbortController()
    const asked = audit({ signal: gone.signal })
    gone.abort(new Error('changed my mind'))
    await assert.rejects(asked, /changed my mind/)
  })

  it('needs a replica for a proof of the whole blob', async () => {
    const { audit: ask } = createAuditor({ ask: asker.network.proof })
    assert.equal(told(await ask(identity.peerId, cid, { mode: 'whole' })), 'unknown NO_REPLICA')
  })

  it('fails an answer that is no answer', async () => {
    const answer = async (statement: unknown, payloadBytes: number) => {
      prove = async () => ({
        statement: statement as ProofAnswer['statement'],
        payloadBytes,
        blocks: async function* () {},
        undelivered() {}
      })
      return told(await audit())
    }
    assert.equal(await answer({}, 0), 'fail MALFORMED')
    assert.equal(await answer('x', 0), 'fail MALFORMED')
    assert.equal(await answer({}, 2 ** 40), 'fail MALFORMED')
  })

  it('is held to the limits of the protocol by the holder', async () => {
    const peer = holder.node.libp2p.peerId
    const wrong = [{}, { cid }, { cid, mode: 'whole', challenge: 'x'.repeat(300) }, { cid, mode: 'leaves', leaves: 17 }]
    for (const request of wrong) {
      const asked = asker.network.proof(peer.toString(), request as ProofRequest, { signal: AbortSignal.timeout(5000) })
      await assert.rejects(asked, { code: 'PROTOCOL_VIOLATION' }, JSON.stringify(request))
    }
    assert.equal(PROTOCOLS.proof, '/bytecave/proof/1.0.0')
  })

  it('meets a challenge that was used already with a code of its own', async () => {
    const request: ProofRequest = { cid, mode: 'whole', challenge: newChallenge() }
    const ask = () => asker.network.proof(identity.peerId, request, { signal: AbortSignal.timeout(5000) })
    await (await ask()).close()
    await assert.rejects(ask(), { code: 'CHALLENGE_REPLAYED', status: 409 })
  })
})

describe('an audit of a whole node', function () {
  this.timeout(60_000)

  it('passes while the blob is on its disk and fails once it was tampered with there', async () => {
    await using peers = await startNodes(2, { REPLICATION_FACTOR: '1', REPLICATION_QUORUM: '1' })
    const [holder, other] = peers as unknown as [TestNode, TestNode]
    await eventually(() => other.node.network.connections().length > 0, 'connected')
    const content = randomBytes(5 * MIB)
    async function* source() {
      yield content
    }
    const { cid } = await holder.node.blobs.put(source(), {})
    const { audit } = createAuditor({ ask: other.node.network.proof })
    const peerId = holder.node.peerId
    assert.deepEqual(await audit(peerId, cid, { nodeId: holder.node.nodeId }), { verdict: 'pass' })
    await truncate(join(holder.dataDir, 'blobs', cid, 'data'), MIB)
    const damaged = await audit(peerId, cid)
    assert.deepEqual([damaged.verdict, 'reason' in damaged && damaged.reason], ['fail', 'DAMAGED'])
    const gone = await audit(peerId, cid)
    assert.deepEqual([gone.verdict, 'reason' in gone && gone.reason], ['fail', 'NOT_HELD'])
    assert.equal((await holder.node.prover.statistics()).generated.leaves, 1)
  })
})
