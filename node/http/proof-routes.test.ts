import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { cidOf } from '../blobs/cid.ts'
import { eventually } from '../net/testing.ts'
import { hourChallenge, newChallenge, type ProofStatement } from '../proofs/statement.ts'
import { verifyLeaves, verifyWhole } from '../proofs/verify.ts'
import { startNode, type TestNode } from '../testing.ts'
import { PROOF_BODY_MAX_BYTES } from './proof-routes.ts'

const MIB = 1024 * 1024

describe('proofs over http', () => {
  let peer: TestNode
  let cid: string
  const bytes = randomBytes(MIB + 1)
  const api = (path: string, init?: RequestInit) => fetch(`${peer.url}${path}`, init)
  const generate = (body: unknown) =>
    api('/proofs/generate', { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) })
  const expected = (challenge: string) => ({
    cid,
    challenge,
    peerId: peer.node.peerId,
    nodeId: peer.node.nodeId,
    nowMs: Date.now()
  })

  before(async () => {
    peer = await startNode()
    const stored = await api('/store', { method: 'POST', body: bytes })
    cid = ((await stored.json()) as { cid: string }).cid
  })
  after(() => peer[Symbol.asyncDispose]())

  it('are generated in the documented shape and hold', async () => {
    const challenge = newChallenge()
    const answer = await generate({ cid, challenge })
    assert.equal(answer.status, 200)
    const statement = (await answer.json()) as ProofStatement
    assert.equal(statement.nodeId, peer.node.nodeId)
    assert.match(statement.publicKey, /^0x[0-9a-f]{64}$/)
    assert.match(statement.proof, /^[0-9a-f]{128}$/)
    await verifyWhole(statement, { ...expected(challenge), mode: 'whole', leaves: 0 }, () => [bytes])
    const hour = (await (await generate({ cid, mode: 'hour' })).json()) as ProofStatement
    assert.equal(hour.challenge, hourChallenge(cid, hour.timestamp))
  })

  it('by leaves bring their blocks in base64', async () => {
    const challenge = newChallenge()
    const answer = await generate({ cid, challenge, mode: 'leaves', leaves: 3 })
    assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
    const { blocks, ...statement } = (await answer.json()) as ProofStatement & { blocks: string }
    const asked = { ...expected(challenge), mode: 'leaves' as const, leaves: 3 }
    await verifyLeaves(statement, asked, [Buffer.from(blocks, 'base64')])
  })

  it('whose answer broke off are given to the same challenge again', async () => {
    const stored = await api('/store', { method: 'POST', body: randomBytes(16 * MIB) })
    const large = ((await stored.json()) as { cid: string }).cid
    const request = { cid: large, challenge: newChallenge(), mode: 'leaves', leaves: 16 }
    const body = JSON.stringify(request)
    const socket = connect(Number(new URL(peer.url).port), '127.0.0.1')
    socket.write(`POST /proofs/generate HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
    await once(socket, 'data')
    // What is not read fills the buffers, so that the answer cannot end.
    socket.destroy()
    await eventually(async () => (await generate(request)).status === 200, 'it is answered again')
  })

  it('are refused with the codes of their causes', async () => {
    const challenge = newChallenge()
    await (await generate({ cid, challenge })).body?.cancel()
    const absent = await cidOf([Buffer.from('nobody has this')])
    const table: Array<[unknown, number, string]> = [
      [{ cid, challenge }, 409, 'CHALLENGE_REPLAYED'],
      [{ cid }, 400, 'CHALLENGE_INVALID'],
      [{ cid, challenge: 'abc' }, 400, 'CHALLENGE_INVALID'],
      [{ cid, challenge: 7 }, 400, 'CHALLENGE_INVALID'],
      [{ cid, challenge: newChallenge(), mode: 'hour' }, 400, 'CHALLENGE_INVALID'],
      [{ cid: 'x', challenge: newChallenge() }, 400, 'CID_INVALID'],
      [{ challenge: newChallenge() }, 400, 'INVALID_REQUEST'],
      [{ cid, challenge: newChallenge(), mode: 'half' }, 400, 'INVALID_REQUEST'],
      [{ cid, challenge: newChallenge(), mode: 'leaves', leaves: 17 }, 400, 'INVALID_REQUEST'],
      [{ cid: absent, challenge: newChallenge() }, 404, 'BLOB_NOT_FOUND'],
      ['', 400, 'INVALID_REQUEST'],
      ['null', 400, 'INVALID_REQUEST'],
      ['[]', 400, 'INVALID_REQUEST'],
      ['x'.repeat(PROOF_BODY_MAX_BYTES + 1), 400, 'INVALID_REQUEST']
    ]
    for (const [body, status, code] of table) {
      const answer = await generate(body)
      const { error } = (await answer.json()) as { error: string }
      assert.deepEqual([answer.status, error], [status, code], JSON.stringify(body).slice(0, 100))
    }
  })

  it('are kept, listed by blob and counted', async () => {
    const list = (await (await api(`/proofs/${cid}`)).json()) as {
      cid: string
      count: number
      proofs: ProofStatement[]
    }
    assert.equal(list.cid, cid)
    assert.ok(list.count > 0 && list.proofs.every(proof => proof.cid === cid))
    const absent = await cidOf([Buffer.from('nobody has this')])
    assert.deepEqual(await (await api(`/proofs/${absent}`)).json(), { cid: absent, count: 0, proofs: [] })
    assert.equal((await api('/proofs/x')).status, 400)
    const statistics = (await (await api('/proofs')).json()) as { generated: Record<string, number>; saved: number }
    assert.ok(statistics.generated.whole! > 0 && statistics.saved > 0)
  })
})
