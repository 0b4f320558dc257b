import assert from 'node:assert/strict'
import { createHash, createPublicKey, verify } from 'node:crypto'
import { ChallengeInvalidError, ProofInvalidError } from '../errors.ts'
import { ephemeralIdentity } from '../identity.ts'
import {
  challengedHash,
  checkStatement,
  type Expected,
  hourChallenge,
  newChallenge,
  type ProofStatement,
  parseChallenge,
  signStatement
} from './statement.ts'

const NOW_MS = 1_800_000_000_000
const cid = 'bafybeihykld7uyxzogax6vgyvag42y7464eywpf55gxi5qpoisibh3c5wa'

async function signed(facts: Partial<ProofStatement> = {}) {
  const identity = await ephemeralIdentity()
  const challenge = newChallenge()
  const { bytesHash, sizeBytes } = await challengedHash(challenge, [Buffer.from('hello world')])
  const statement = signStatement(identity, {
    mode: 'whole',
    cid,
    challenge,
    nodeId: 'node-a',
    timestamp: NOW_MS,
    sizeBytes,
    leaves: 0,
    bytesHash,
    ...facts
  })
  const expected: Expected = {
    mode: 'whole',
    cid,
    challenge: statement.challenge,
    peerId: identity.peerId,
    nodeId: 'node-a',
    leaves: 0,
    nowMs: NOW_MS
  }
  return { identity, statement, expected }
}

const reasonOf = (given: unknown, expected: Expected): string => {
  try {
    checkStatement(given, expected)
  } catch (error) {
    assert.ok(error instanceof ProofInvalidError)
    assert.deepEqual([error.code, error.status, error.details?.reason], ['PROOF_INVALID', 422, error.reason])
    return error.reason
  }
  return 'holds'
}

describe('statements of a proof', () => {
  it('hold as they were signed, and are checked with Ed25519 alone', async () => {
    const { statement, expected } = await signed()
    assert.equal(reasonOf(statement, expected), 'holds')
    const { mode, challenge, nodeId, publicKey, timestamp, sizeBytes, leaves, bytesHash } = statement
    const hash = createHash('sha256').update(Buffer.from(challenge, 'hex')).update('hello world').digest('hex')
    assert.equal(bytesHash, hash)
    const fields = [mode, cid, challenge, nodeId, publicKey, timestamp, sizeBytes, leaves, bytesHash]
    const message = Buffer.from(JSON.stringify(['warren storage proof v1', ...fields]))
    const spki = Buffer.from(`302a300506032b6570032100${publicKey.slice(2)}`, 'hex')
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    assert.ok(verify(null, message, key, Buffer.from(statement.proof, 'hex')))
  })

  it('are refused for another blob, challenge, node or kind, too old or from the future', async () => {
    const { statement, expected } = await signed()
    const other = await ephemeralIdentity()
    const table: Array<[Partial<Expected>, string]> = [
      [{ cid: `${cid.slice(0, -1)}b` }, 'WRONG_CID'],
      [{ challenge: newChallenge() }, 'WRONG_CHALLENGE'],
      [{ peerId: other.peerId }, 'WRONG_NODE'],
      [{ nodeId: 'node-b' }, 'WRONG_NODE'],
      [{ nodeId: undefined }, 'holds'],
      [{ mode: 'leaves' }, 'WRONG_MODE'],
      [{ leaves: 8 }, 'WRONG_MODE'],
      [{ nowMs: NOW_MS + 3600_000 }, 'holds'],
      [{ nowMs: NOW_MS + 3600_001 }, 'TOO_OLD'],
      [{ nowMs: NOW_MS - 300_000 }, 'holds'],
      [{ nowMs: NOW_MS - 300_001 }, 'FROM_THE_FUTURE']
    ]
    for (const [change, reason] of table) {
      assert.equal(reasonOf(statement, { ...expected, ...change }), reason, JSON.stringify(change))
    }
  })

  it('are refused when any field is not the one that was signed', async () => {
    const { statement, expected } = await signed()
    const other = await ephemeralIdentity()
    const changes: Array<[Partial<Record<keyof ProofStatement, unknown>>, Partial<Expected>]> = [
      [{ mode: 'hour', challenge: hourChallenge(cid, NOW_MS) }, { mode: 'hour' }],
      [{ cid: 'bafyx' }, { cid: 'bafyx' }],
      [{ challenge: '0'.repeat(64) }, { challenge: '0'.repeat(64) }],
      [{ nodeId: 'node-b' }, { nodeId: 'node-b' }],
      [{ publicKey: other.publicKey }, { peerId: other.peerId }],
      [{ timestamp: NOW_MS + 1 }, {}],
      [{ sizeBytes: 12 }, {}],
      [{ leaves: 1 }, { leaves: 1 }],
      [{ bytesHash: '0'.repeat(64) }, {}],
      [{ proof: '0'.repeat(128) }, {}]
    ]
    for (const [change, expectedToo] of changes) {
      const reason = reasonOf({ ...statement, ...change }, { ...expected, ...expectedToo })
      assert.equal(reason, 'SIGNATURE_WRONG', JSON.stringify(change))
    }
  })

  it('that are no statements are refused', async () => {
    const { statement, expected } = await signed()
    const wrong = [
      null,
      [],
      'x',
      {},
      { ...statement, proof: statement.proof.toUpperCase() },
      { ...statement, publicKey: statement.publicKey.slice(2) },
      { ...statement, sizeBytes: 0 },
      { ...statement, sizeBytes: 2 ** 60 },
      { ...statement, leaves: 17 },
      { ...statement, timestamp: -1 }
    ]
    for (const given of wrong) assert.equal(reasonOf(given, expected), 'MALFORMED', JSON.stringify(given))
  })

  it('of an hour take the challenge that this hour has', async () => {
    const hourMs = Math.floor(NOW_MS / 3600_000) * 3600_000
    const expectedHash = createHash('sha256')
      .update(`${cid}${hourMs / 1000}`)
      .digest('hex')
    assert.equal(hourChallenge(cid, hourMs), expectedHash)
    assert.equal(hourChallenge(cid, hourMs + 3599_999), expectedHash)
    assert.notEqual(hourChallenge(cid, hourMs + 3600_000), expectedHash)
    const { statement, expected } = await signed({ mode: 'hour', challenge: hourChallenge(cid, NOW_MS) })
    assert.equal(reasonOf(statement, { ...expected, mode: 'hour' }), 'holds')
    const late = await signed({ mode: 'hour', challenge: hourChallenge(cid, NOW_MS - 3600_000) })
    assert.equal(reasonOf(late.statement, { ...late.expected, mode: 'hour' }), 'WRONG_CHALLENGE')
  })

  it('need a challenge of 32 bytes in lower-case hex', () => {
    const drawn = newChallenge()
    assert.equal(parseChallenge(drawn), drawn)
    for (const wrong of [
      undefined,
      null,
      '',
      1,
      drawn.toUpperCase().replace(/\d/g, 'A'),
      drawn.slice(1),
      `${drawn}0`
    ]) {
      assert.throws(() => parseChallenge(wrong), ChallengeInvalidError)
    }
  })
})
