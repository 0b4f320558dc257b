import assert from 'node:assert/strict'
import { base58btc } from 'multiformats/bases/base58'
import { type AuthGateway, ethereumWallet, solanaWallet, startAuthGateway } from '../testing/wallets.ts'

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n

describe('a login', () => {
  let running: AuthGateway
  before(async () => {
    running = await startAuthGateway()
  })
  after(() => running[Symbol.asyncDispose]())

  const paths = ['/v1/auth/verify', '/v1/auth/register', '/v1/auth/api-key']

  it('is refused for a signature in any other form than 65 bytes with a low s, and the nonce is left', async () => {
    const wallet = ethereumWallet()
    const proof = await running.proofOf(wallet, 'forms')
    const signature = proof.signature as string
    const [r, s, v] = [signature.slice(2, 66), signature.slice(66, 130), signature.slice(130)]
    const highS = (ORDER - BigInt(`0x${s}`)).toString(16).padStart(64, '0')
    const twin = v === '1b' ? '1c' : '1b'
    const compact = (BigInt(`0x${s}`) | (BigInt(Number.parseInt(v, 16) - 27) << 255n)).toString(16).padStart(64, '0')
    const formats: Record<string, unknown> = {
      'a high s': `0x${r}${highS}${twin}`,
      'a high s with the old v': `0x${r}${highS}${v}`,
      '64 bytes by EIP-2098': `0x${r}${compact}`,
      '64 bytes without v': `0x${r}${s}`,
      '66 bytes': `${signature}00`,
      'no byte': '0x',
      'v of 2': `0x${r}${s}02`,
      'v of 26': `0x${r}${s}1a`,
      'v of 29': `0x${r}${s}1d`,
      'v of 37, as EIP-155 has it': `0x${r}${s}25`,
      'v of 255': `0x${r}${s}ff`,
      'no hex': `0x${'zz'.repeat(65)}`,
      'white space behind': `${signature} `,
      '0x twice': `0x${signature}`,
      'a line break behind': `${signature}\n`,
      base64: Buffer.from(signature.slice(2), 'hex').toString('base64'),
      's beyond the order': `0x${r}${'ff'.repeat(32)}${v}`,
      'half the order and one': `0x${r}${((ORDER >> 1n) + 1n).toString(16).padStart(64, '0')}${v}`,
      'EIP-6492': `0x${'00'.repeat(32)}${signature.slice(2)}6492649264926492649264926492649264926492649264926492649264926492`
    }
    for (const path of paths) {
      for (const [name, wrong] of Object.entries(formats)) {
        const { status, body } = await running.post(path, { ...proof, signature: wrong })
        assert.deepEqual([status, body.error], [400, 'invalid signature format'], `${path} ${name}`)
      }
    }
    for (const [name, wrong] of Object.entries({
      'r of zero': `0x${'00'.repeat(32)}${s}${v}`,
      's of zero': `0x${r}${'00'.repeat(32)}${v}`,
      'r beyond the order': `0x${'ff'.repeat(32)}${s}${v}`,
      'all zero': `0x${'00'.repeat(65)}`
    })) {
      const { status, body } = await running.post('/v1/auth/verify', { ...proof, signature: wrong })
      assert.deepEqual([status, body.error], [401, 'signature recovery failed'], name)
    }
    assert.equal((await running.post('/v1/auth/verify', proof)).status, 200)
  })

  it('is refused for another’s signature, or one over another text', async () => {
    const [wallet, other] = [ethereumWallet(), ethereumWallet()]
    const nonce = await running.nonceOf(wallet, 'texts')
    for (const signature of [
      await other.sign(nonce),
      await wallet.sign(`${nonce} `),
      await wallet.sign(nonce.toLowerCase()),
      await wallet.sign(''),
      await wallet.sign(Buffer.from(nonce).toString('hex')),
      `${(await wallet.sign(nonce)).slice(0, -2)}${(await wallet.sign(nonce)).endsWith('1b') ? '1c' : '1b'}`
    ]) {
      const { status, body, headers } = await running.post('/v1/auth/verify', {
        wallet: wallet.address,
        nonce,
        signature,
        namespace: 'texts'
      })
      assert.equal(status, 401, JSON.stringify(body))
      assert.match(body.error as string, /^signature (does not match wallet|recovery failed)$/)
      assert.match(headers.get('www-authenticate') ?? '', /^Bearer /)
    }
  })

  it('of Solana is refused for a signature that is not the wallet’s 64 bytes in base64', async () => {
    const [wallet, other] = [solanaWallet(), solanaWallet()]
    const proof = await running.proofOf(wallet, 'sol-forms')
    const signature = proof.signature as string
    const bytes = Buffer.from(signature, 'base64')
    // s + L: the malleated twin, which a strict verifier does not take.
    const order = 2n ** 252n + 27742317777372353535851937790883648493n
    const s = BigInt(`0x${Buffer.from(bytes.subarray(32)).reverse().toString('hex')}`) + order
    const malleated = Buffer.concat([
      bytes.subarray(0, 32),
      Buffer.from(s.toString(16).padStart(64, '0'), 'hex').reverse()
    ]).toString('base64')
    for (const [name, change] of Object.entries({
      'no padding': { signature: signature.replace(/=+$/, '') },
      base64url: {
        signature:
          `${bytes.toString('base64url')}==` === signature ? `${signature} ` : `${bytes.toString('base64url')}==`
      },
      hex: { signature: bytes.toString('hex') },
      '63 bytes': { signature: bytes.subarray(1).toString('base64') },
      'another’s': { signature: await other.sign(proof.nonce as string) },
      'over another text': { signature: await wallet.sign(`${proof.nonce} `) },
      's plus the order': { signature: malleated },
      'all zero': { signature: Buffer.alloc(64).toString('base64') },
      'another wallet': { wallet: other.address },
      'no base58': { wallet: `${wallet.address.slice(0, -1)}0` },
      'as an Ethereum wallet': { chain_type: 'ETH' },
      'another chain': { chain_type: 'BTC' },
      'a wallet of 31 bytes': { wallet: wallet.address.slice(0, -2) },
      'the wallet in lower case': { wallet: wallet.address.toLowerCase() }
    })) {
      const { status, body } = await running.post('/v1/auth/verify', { ...proof, ...change })
      assert.ok(status === 400 || status === 401, `${name}: ${status} ${JSON.stringify(body)}`)
    }
    // A key of small order, for which the all-zero signature is good in lax libraries.
    const weak = '11111111111111111111111111111111'
    const { body } = await running.post('/v1/auth/challenge', { wallet: weak, chain_type: 'SOL', namespace: 'weak' })
    const forged = { wallet: weak, nonce: body.nonce, chain_type: 'SOL', namespace: 'weak' }
    for (const first of [0, 1]) {
      const zero = Buffer.alloc(64)
      zero[0] = first
      assert.equal(
        (await running.post('/v1/auth/verify', { ...forged, signature: zero.toString('base64') })).status,
        401
      )
    }
    assert.equal((await running.post('/v1/auth/verify', proof)).status, 200)
  })

  it('is refused for a Solana wallet that reads as an Ethereum one: two would be one', async () => {
    // Ones are zero bytes: ten or eleven of them and hex digits behind can be a key of 32 bytes in 40 characters.
    const twins = Array.from({ length: 6 }, (_, index) => 8 + index).flatMap(ones =>
      ['2', '9', 'a', 'f'].map(digit => '1'.repeat(ones) + digit.repeat(40 - ones))
    )
    const keys = twins.filter(text => base58btc.baseDecode(text).byteLength === 32)
    assert.ok(keys.length > 0)
    for (const wallet of keys) {
      const { status } = await running.post('/v1/auth/challenge', { wallet, chain_type: 'SOL', namespace: 'twin' })
      assert.equal(status, 400, wallet)
    }
  })

  it('is refused for a nonce that is unknown, another’s, used or of another namespace', async () => {
    const [wallet, other] = [ethereumWallet(), ethereumWallet()]
    const proof = await running.proofOf(wallet, 'nonces')
    const foreign = await running.proofOf(other, 'nonces')
    const refused = async (name: string, body: Record<string, unknown>) => {
      for (const path of paths) {
        const answer = await running.post(path, body)
        assert.deepEqual([answer.status, answer.body.error], [400, 'invalid or expired nonce'], `${path} ${name}`)
      }
    }
    const made = 'A'.repeat(43)
    await refused('unknown', { ...proof, nonce: made, signature: await wallet.sign(made) })
    await refused('another’s', {
      ...proof,
      nonce: foreign.nonce,
      signature: await wallet.sign(foreign.nonce as string)
    })
    await refused('of another namespace', { ...proof, namespace: 'nonces2' })
    await refused('without its namespace', { ...proof, namespace: undefined })
    await refused('in another case', { ...proof, nonce: (proof.nonce as string).toLowerCase() })
    await refused('with SQL', { ...proof, nonce: "' OR 1=1 --" })
    await refused('with a wildcard', { ...proof, nonce: '%' })
    assert.equal((await running.post('/v1/auth/verify', proof)).status, 200)
    await refused('used', proof)
  })

  it('with one nonce by a hundred at once is one login', async () => {
    const wallet = ethereumWallet()
    const proof = await running.proofOf(wallet, 'raced')
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, index) => running.post(paths[index % paths.length] as string, proof))
    )
    const good = answers.filter(({ status }) => status < 300)
    assert.equal(good.length, 1)
    for (const { status, body } of answers.filter(answer => !good.includes(answer))) {
      assert.deepEqual([status, body.code], [400, 'NONCE_INVALID'])
    }
  })

  it('takes its nonce whatever it was used for', async () => {
    for (const path of paths) {
      const proof = await running.proofOf(ethereumWallet(), `spent${path.replaceAll('/', '-')}`)
      assert.ok((await running.post(path, proof)).status < 300, path)
      for (const again of paths) {
        const { status, body } = await running.post(again, proof)
        assert.deepEqual([status, body.code], [400, 'NONCE_INVALID'], `${path}, then ${again}`)
      }
    }
  })

  it('takes its nonce behind the look at it: of a hundred that have seen it unused, one has it', async () => {
    const wallet = ethereumWallet()
    const name = { namespace: 'seen', wallet: wallet.id, nonce: await running.nonceOf(wallet, 'seen') }
    const now = new Date().toISOString()
    const { auth, authReader } = running.store
    const seen = await Promise.all(Array.from({ length: 100 }, () => authReader.hasNonce(name, now)))
    assert.ok(seen.every(Boolean))
    const taken = await Promise.all(
      Array.from({ length: 100 }, () => auth.transaction(transaction => transaction.useNonce(name, now)))
    )
    assert.equal(taken.filter(Boolean).length, 1)
  })

  it('after five minutes is refused, and its nonce is gone', async () => {
    const wallet = ethereumWallet()
    const nonce = await running.nonceOf(wallet, 'late')
    const name = { namespace: 'late', wallet: wallet.id, nonce }
    const [before, after] = [299_000, 301_000].map(ms => new Date(Date.now() + ms).toISOString()) as [string, string]
    const { auth, authReader } = running.store
    assert.deepEqual([await authReader.hasNonce(name, before), await authReader.hasNonce(name, after)], [true, false])
    assert.equal(await auth.transaction(transaction => transaction.useNonce(name, after)), false)
    // The next challenge of anybody throws it away.
    await auth.addNonce({ ...name, nonce: 'next', purpose: '', ip: '', expiresAt: after }, after)
    assert.equal(await authReader.hasNonce(name, before), false)
  })

  it('needs a body that makes sense, and says what it expects', async () => {
    const wallet = ethereumWallet()
    const table: Array<[string, unknown, number, string]> = [
      ['challenge', 'no json', 400, 'invalid json body'],
      ['challenge', '[]', 400, 'invalid json body'],
      ['challenge', 'null', 400, 'invalid json body'],
      ['challenge', '{"wallet":', 400, 'invalid json body'],
      ['challenge', {}, 400, 'wallet is required'],
      ['challenge', '', 400, 'wallet is required'],
      ['challenge', { wallet: '' }, 400, 'wallet is required'],
      ['challenge', { wallet: 5 }, 400, 'wallet is required'],
      ['challenge', { wallet: [wallet.address] }, 400, 'wallet is required'],
      ['challenge', { wallet: '0x12' }, 400, "invalid 'wallet': expected 0x and 40 hex digits"],
      ['challenge', { wallet: `${wallet.address}0` }, 400, "invalid 'wallet': expected 0x and 40 hex digits"],
      ['challenge', { wallet: `${wallet.address}\n` }, 400, "invalid 'wallet': expected 0x and 40 hex digits"],
      [
        'challenge',
        { wallet: `0X${wallet.address.slice(2)}ff` },
        400,
        "invalid 'wallet': expected 0x and 40 hex digits"
      ],
      ...['a::b', '-a', 'ä', 'x'.repeat(65), "a'--", '../a', 'a\0', 5, {}, ['a']].map(
        namespace =>
          [
            'challenge',
            { wallet: wallet.address, namespace },
            400,
            "invalid 'namespace': letters, digits, _ and -, at most 64"
          ] as [...[string, unknown, number, string]]
      ),
      [
        'challenge',
        { wallet: wallet.address, purpose: 'x'.repeat(129) },
        400,
        "invalid 'purpose': expected a text of at most 128 characters"
      ],
      [
        'challenge',
        { wallet: wallet.address, purpose: 'a\x1b[2J' },
        400,
        "invalid 'purpose': expected a text of at most 128 characters"
      ],
      ['challenge', { wallet: wallet.address, chain_type: 'eth' }, 400, "invalid 'chain_type': expected ETH or SOL"],
      ['verify', {}, 400, 'wallet, nonce and signature are required'],
      ['verify', { wallet: wallet.address, nonce: 'x' }, 400, 'wallet, nonce and signature are required'],
      ['verify', { wallet: wallet.address, signature: 'x' }, 400, 'wallet, nonce and signature are required'],
      ['verify', { nonce: 'x', signature: 'x' }, 400, 'wallet, nonce and signature are required'],
      [
        'verify',
        { wallet: wallet.address, nonce: { $ne: '' }, signature: 'x' },
        400,
        'wallet, nonce and signature are required'
      ],
      ['register', {}, 400, 'wallet, nonce and signature are required'],
      ['register', { name: 'x'.repeat(129) }, 400, "invalid 'name': expected a text of at most 128 characters"],
      ['api-key', {}, 400, 'wallet, nonce and signature are required'],
      ['api-key', { plan: 'a b' }, 400, "invalid 'plan'"],
      ['refresh', {}, 400, 'refresh_token is required'],
      ['refresh', { refresh_token: 5 }, 400, 'refresh_token is required'],
      ['refresh', { refresh_token: 'x' }, 401, 'invalid or expired refresh token'],
      ['refresh', { refresh_token: "' OR 1=1 --" }, 401, 'invalid or expired refresh token'],
      ['logout', {}, 400, 'nothing to revoke: give refresh_token, or all=true with a jwt'],
      ['logout', { all: 'true' }, 400, 'nothing to revoke: give refresh_token, or all=true with a jwt'],
      ['logout', { all: true }, 401, 'jwt required for all=true']
    ]
    for (const [name, body, status, error] of table) {
      const answer = await running.post(`/v1/auth/${name}`, body)
      assert.deepEqual([answer.status, answer.body.error], [status, error], `${name} ${JSON.stringify(body)}`)
    }
    const large = await running.post('/v1/auth/challenge', { wallet: wallet.address, more: 'x'.repeat(20_000) })
    assert.equal(large.status, 413)
    const wrong = await fetch(`${running.url}/v1/auth/challenge`)
    assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'POST, OPTIONS'])
  })

  it('without a good token or a signature gets no API key', async () => {
    for (const headers of [{ Authorization: 'Bearer a.b.c' }, { Authorization: 'Bearer wrong' }]) {
      assert.equal((await running.post('/v1/auth/api-key', {}, headers)).status, 401)
    }
    // An API key proves no wallet.
    assert.equal((await running.post('/v1/auth/api-key', {}, { 'X-API-Key': 'alice-key' })).status, 400)
    const { access_token } = await running.login(ethereumWallet(), 'key-of-token')
    const { status } = await running.post(
      '/v1/auth/api-key',
      { namespace: 'alice' },
      { Authorization: `Bearer ${access_token}` }
    )
    assert.equal(status, 403)
  })
})
