import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { keccak256 } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { startNode, type TestNode } from '../testing.ts'
import {
  AUTHORIZATION_TOLERANCE_MS,
  createStoreAuthorizations,
  NONCE_LIFE_MS,
  type StoreAuthorization
} from './store-authorization.ts'

const account = privateKeyToAccount(generatePrivateKey())
const group = `0x${'Ab'.repeat(20)}`
const bytes = Buffer.from('the bytes')

/** Signed as the document says, by hand: the product's own text is not asked. */
async function sign(of: Uint8Array, changes: Partial<Record<string, unknown>> = {}): Promise<StoreAuthorization> {
  const given = {
    type: 'group_post',
    sender: account.address,
    timestamp: Date.now(),
    nonce: randomUUID(),
    contentHash: keccak256(of),
    groupPostsAddress: group,
    ...changes
  }
  const context = changes.threadId ?? changes.tokenAddress ?? given.groupPostsAddress
  const message = `HASHD Vault Storage Request
Type: ${given.type}
Content Hash: ${given.contentHash}
Context: ${context}
Timestamp: ${given.timestamp}
Nonce: ${given.nonce}`
  return { ...given, signature: await account.signMessage({ message }) } as StoreAuthorization
}

describe('the authorization of a store', () => {
  let clockMs: number
  beforeEach(() => {
    clockMs = Date.now()
  })
  let reads = 0
  /** @returns gives it back */
  async function pass(
    authorizations: ReturnType<typeof createStoreAuthorizations>,
    authorization: unknown
  ): Promise<() => void> {
    return await authorizations.take(authorization, async function* () {
      reads += 1
      yield bytes.subarray(0, 3)
      yield bytes.subarray(3)
    })
  }
  const refused = { code: 'INVALID_AUTHORIZATION', status: 400 }

  it('is taken in every form that is signed, and may be left out', async () => {
    const authorizations = createStoreAuthorizations()
    await pass(authorizations, undefined)
    await pass(authorizations, null)
    assert.equal(authorizations.size, 0)
    const forms = [
      {},
      { type: 'group_comment' },
      { type: 'message', threadId: keccak256(randomBytes(4)), participants: [account.address, group] },
      { type: 'token_distribution', tokenAddress: group },
      { contentHash: `0x${keccak256(bytes).slice(2).toUpperCase()}` },
      { sender: account.address.toLowerCase() }
    ]
    for (const changes of forms) await pass(authorizations, await sign(bytes, changes))
    assert.equal(authorizations.size, forms.length)
  })

  it('is refused when anything that was signed is another, or is no authorization', async () => {
    const authorizations = createStoreAuthorizations()
    const good = await sign(bytes)
    const other = privateKeyToAccount(generatePrivateKey())
    const table: Array<[unknown, RegExp]> = [
      [{ ...good, type: 'group_comment' }, /Sign it with that account/],
      [{ ...good, groupPostsAddress: other.address }, /Sign it with that account/],
      [{ ...good, timestamp: good.timestamp + 1 }, /Sign it with that account/],
      [{ ...good, nonce: `${good.nonce}x` }, /Sign it with that account/],
      [{ ...good, sender: other.address }, /Sign it with that account/],
      [{ ...good, signature: `0x${'f'.repeat(130)}` }, /Sign it with that account/],
      [await sign(randomBytes(9)), /keccak256 is 0x[0-9a-f]{64}\. Sign what is sent/],
      [{ ...good, nonce: 'a\nNonce: b' }, /"authorization\.nonce"/],
      [{ ...good, groupPostsAddress: undefined }, /"authorization\.groupPostsAddress"/],
      [{ ...good, type: 'app' }, /whose type is group_post/],
      [{ ...good, signature: '0x' }, /"authorization\.signature"/],
      ['yes', /"authorization" is wrong/],
      [false, /"authorization" is wrong/],
      [[], /"authorization/]
    ]
    for (const [given, message] of table) {
      await assert.rejects(pass(authorizations, given), { ...refused, message }, JSON.stringify(given))
    }
    assert.equal(authorizations.size, 0)
    await pass(authorizations, good)
  })

  it('costs no hash of the bytes where there is none, or one that is not its sender’s or not of now', async () => {
    const authorizations = createStoreAuthorizations()
    const good = await sign(bytes)
    reads = 0
    await pass(authorizations, undefined)
    await pass(authorizations, null)
    for (const given of ['yes', { ...good, nonce: 'other' }, await sign(bytes, { timestamp: 0 })]) {
      await assert.rejects(pass(authorizations, given), refused)
    }
    assert.equal(reads, 0)
    await pass(authorizations, good)
    assert.equal(reads, 1)
  })

  it('is of now, five minutes either way', async () => {
    const authorizations = createStoreAuthorizations(() => clockMs)
    for (const offMs of [-AUTHORIZATION_TOLERANCE_MS, AUTHORIZATION_TOLERANCE_MS]) {
      await pass(authorizations, await sign(bytes, { timestamp: clockMs + offMs }))
      const far = await sign(bytes, { timestamp: clockMs + offMs + Math.sign(offMs) })
      await assert.rejects(pass(authorizations, far), { ...refused, message: /Set the clock and sign again/ })
    }
  })

  it('is taken once, also of two that come together, as long as its time may be taken', async () => {
    const authorizations = createStoreAuthorizations(() => clockMs)
    const late = await sign(bytes, { timestamp: clockMs + AUTHORIZATION_TOLERANCE_MS })
    const both = await Promise.allSettled([pass(authorizations, late), pass(authorizations, late)])
    assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
    clockMs += NONCE_LIFE_MS
    await assert.rejects(pass(authorizations, late), { ...refused, message: /taken before\. Sign again with another/ })
    // The address in other letters is the same sender, and is not signed.
    const inOtherLetters = { ...late, sender: late.sender.toLowerCase() }
    await assert.rejects(pass(authorizations, inOtherLetters), { ...refused, message: /taken before/ })
    clockMs += 1
    await assert.rejects(pass(authorizations, late), { ...refused, message: /behind this node/ })
    await pass(authorizations, await sign(bytes, { timestamp: clockMs }))
    assert.equal(authorizations.size, 1)
  })

  it('can come again when its blob was not kept', async () => {
    const authorizations = createStoreAuthorizations()
    const given = await sign(bytes)
    ;(await pass(authorizations, given))()
    await pass(authorizations, given)
  })

  it('keeps a bounded number of nonces, and forgets none for another', async () => {
    const authorizations = createStoreAuthorizations(() => clockMs, 2)
    const first = await sign(bytes, { timestamp: clockMs })
    await pass(authorizations, first)
    await pass(authorizations, await sign(bytes, { timestamp: clockMs }))
    await assert.rejects(pass(authorizations, await sign(bytes, { timestamp: clockMs })), { code: 'BUSY' })
    await assert.rejects(pass(authorizations, first), refused)
    assert.equal(authorizations.size, 2)
  })
})

describe('POST /store with an authorization', function () {
  this.timeout(20_000)
  let peer: TestNode
  before(async () => {
    peer = await startNode({ REPLICATION_FACTOR: '1', REPLICATION_QUORUM: '1' })
  })
  after(() => peer[Symbol.asyncDispose]())
  const store = (body: unknown, url = peer.url, query = '') =>
    fetch(`${url}/store${query}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body)
    })
  const ciphertext = bytes.toString('base64')

  it('keeps the blob of a right one, wherever it is in the JSON, and nothing of a wrong one', async () => {
    const wrong = await sign(randomBytes(9))
    for (const body of [
      { ciphertext, authorization: wrong },
      { authorization: wrong, ciphertext }
    ]) {
      const answer = await store(body)
      const { error, message } = (await answer.json()) as { error: string; message: string }
      assert.deepEqual([answer.status, error], [400, 'INVALID_AUTHORIZATION'])
      assert.match(message, /Sign what is sent/)
    }
    const { storedBlobs, reservedBytes } = peer.node.store.stats()
    assert.deepEqual([storedBlobs, reservedBytes, await readdir(join(peer.dataDir, 'tmp'))], [0, 0, []])
    const right = await sign(bytes)
    assert.equal((await store({ ciphertext, authorization: right })).status, 201)
    assert.equal((await store({ ciphertext, authorization: right })).status, 400)
    assert.equal((await store({ authorization: await sign(bytes), ciphertext })).status, 200)
    assert.equal((await store({ ciphertext })).status, 200)
  })

  it('takes the same one again when its blob was not kept', async () => {
    await using elsewhere = await startNode({ NODE_SHARDS: '0-0' })
    const body = { ciphertext, authorization: await sign(bytes) }
    for (const _time of [1, 2]) {
      const answer = await store(body, elsewhere.url, '?local=1')
      assert.deepEqual([answer.status, ((await answer.json()) as { error: string }).error], [403, 'SHARD_MISMATCH'])
    }
  })
})
