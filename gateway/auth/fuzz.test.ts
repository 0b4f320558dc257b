import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type AuthGateway, ethereumWallet, startAuthGateway } from '../testing/wallets.ts'
import { createRateLimit } from './rate.ts'
import { parseSiwe, writeSiwe } from './siwe.ts'

/** Runs of each property; more by `AUTH_FUZZ_RUNS=100000`. */
const RUNS = Number(process.env.AUTH_FUZZ_RUNS ?? 300)

describe('whatever is sent to the paths of logins', () => {
  let running: AuthGateway
  before(async () => {
    running = await startAuthGateway()
  })
  after(() => running[Symbol.asyncDispose]())

  const names = ['wallet', 'nonce', 'signature', 'namespace', 'message', 'chain_type', 'purpose', 'name', 'plan']
  const others = ['refresh_token', 'all', 'rotate', '__proto__', 'constructor']
  const wallet = ethereumWallet()
  const value = fc.oneof(
    fc.constantFrom<unknown>(wallet.address, 'ETH', 'SOL', 'alice', `0x${'11'.repeat(65)}`, true, null, 0, '', []),
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.jsonValue()
  )
  const body = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.dictionary(fc.constantFrom(...names, ...others), value).map(object => JSON.stringify(object))
    },
    { weight: 1, arbitrary: fc.json() },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 300 }) }
  )
  const credential = fc.option(
    fc.oneof(
      fc.stringMatching(/^[!-~]{1,80}$/),
      fc.stringMatching(/^[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}$/)
    ),
    { nil: undefined }
  )

  it('is answered with a reason and never with 500, nor let in', async function () {
    this.timeout(60_000 + RUNS * 20)
    const paths = ['challenge', 'verify', 'register', 'api-key', 'refresh', 'logout', 'token']
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), body, credential, async (path, text, presented) => {
        const answer = await fetch(`${running.url}/v1/auth/${path}`, {
          method: 'POST',
          body: text,
          ...(presented === undefined ? {} : { headers: { Authorization: `Bearer ${presented}` } })
        })
        const found = (await answer.json()) as Record<string, unknown>
        const fine = answer.status === 200 && (path === 'challenge' || found.revoked === 0)
        assert.ok(fine || (answer.status >= 400 && answer.status < 500), `${answer.status} ${JSON.stringify(found)}`)
        if (!fine) assert.equal(typeof found.code, 'string')
      }),
      { numRuns: RUNS }
    )
  })

  it('as an EIP-4361 message has one reading, or none', () => {
    const plain = writeSiwe({
      scheme: null,
      domain: 'a.example',
      address: wallet.address,
      statement: 'Log in.',
      uri: 'https://a.example/',
      chainId: 1,
      nonce: 'abcdefgh',
      issuedAt: '2026-01-01T00:00:00Z',
      expirationTime: null,
      notBefore: null,
      requestId: 'r',
      resources: ['https://a.example/x']
    })
    const character = fc.oneof(
      fc.constantFrom('\n', '\r', ' ', ':', '-', '0', '\u2028'),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 1 })
    )
    const edit = fc.tuple(fc.nat(plain.length), fc.nat(3), character)
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), edits => {
        let text = plain
        for (const [at, drop, put] of edits) text = text.slice(0, at) + put + text.slice(at + drop)
        let read: string | null = null
        try {
          read = writeSiwe(parseSiwe(text))
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'SIWE_INVALID')
        }
        assert.ok(read === null || read === text)
      }),
      { numRuns: RUNS * 10 }
    )
  })

  it('gets no more through than its rate, in whatever order and time', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.nat(2_000)), { maxLength: 200 }),
        fc.integer({ min: 1, max: 20 }),
        (asks, limit) => {
          const rate = createRateLimit({ limit, periodMs: 10_000, callersMax: 10 })
          let nowMs = 0
          const through = { a: 0, b: 0 }
          for (const [caller, laterMs] of asks) {
            nowMs += laterMs
            if (rate.take(caller, nowMs) === 0) through[caller as 'a' | 'b'] += 1
          }
          const most = limit + Math.ceil((nowMs * limit) / 10_000)
          assert.ok(through.a <= most && through.b <= most)
        }
      ),
      { numRuns: RUNS }
    )
  })
})
