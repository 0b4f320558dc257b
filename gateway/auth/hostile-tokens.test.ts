import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { type AuthGateway, ethereumWallet, type Login, startAuthGateway, testRing } from '../testing/wallets.ts'

type Members = Record<string, unknown>

const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

const ORDER_BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

describe('hostile tokens', () => {
  let running: AuthGateway
  let login: Login
  let ours: KeyObject
  let ring: KeyObject
  let kid: string
  let claims: Members
  before(async () => {
    running = await startAuthGateway({ environment: { GATEWAY_API_KEYS: 'a.b.c:dotted,alice-key:alice' } })
    login = await running.login(ethereumWallet(), 'target')
    const [key] = (await testRing()).keys
    ours = key!.privateKey
    ring = key!.publicKey
    kid = key!.kid
    claims = JSON.parse(Buffer.from(login.access_token.split('.')[1] as string, 'base64url').toString())
  })
  after(() => running[Symbol.asyncDispose]())

  /** A token signed by the gateway's own key, whatever it says. */
  const signed = (header: unknown, payload: unknown, key = ours, hash = 'sha256') => {
    const text = `${encode(header)}.${encode(payload)}`
    return `${text}.${sign(hash, Buffer.from(text), key).toString('base64url')}`
  }
  const header = (more: Members = {}) => ({ alg: 'RS256', typ: 'JWT', kid, ...more })
  const now = () => Math.floor(Date.now() / 1000)
  const publicPem = () => ring.export({ format: 'pem', type: 'spki' }) as string

  /** Name → token. Made late, when there is a key. */
  function table(): Record<string, string> {
    const [head, payload, signature] = login.access_token.split('.') as [string, string, string]
    const body = `${head}.${payload}`
    const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    const ed = generateKeyPairSync('ed25519').privateKey
    const jwk = stranger.publicKey.export({ format: 'jwk' })
    const hmac = (alg: string, secret: string | Buffer, hash = 'sha256') => {
      const text = `${encode({ alg, typ: 'JWT', kid })}.${payload}`
      return `${text}.${createHmac(hash, secret).update(text).digest('base64url')}`
    }
    const say = (change: Members) => signed(header(), { ...claims, ...change })
    const without = (name: string) => {
      const { [name]: _, ...rest } = claims
      return signed(header(), rest)
    }
    const bytes = Buffer.from(signature, 'base64url')
    const flipped = Buffer.from(bytes)
    flipped[100]! ^= 1
    const { n } = ring.export({ format: 'jwk' })
    const modulus = BigInt(`0x${Buffer.from(n as string, 'base64url').toString('hex')}`)
    const plusModulus = (BigInt(`0x${bytes.toString('hex')}`) + modulus).toString(16)
    const last = signature.at(-1) as string
    const loose = ORDER_BASE64URL[ORDER_BASE64URL.indexOf(last) ^ 1] as string
    const standard = (text: string) => text.replaceAll('-', '+').replaceAll('_', '/')
    const spaced = Buffer.from(JSON.stringify(claims, null, 1)).toString('base64url')
    return {
      'alg none, no signature': `${encode({ alg: 'none', typ: 'JWT', kid })}.${payload}.`,
      'alg none, two parts': `${encode({ alg: 'none', typ: 'JWT', kid })}.${payload}`,
      'alg none, old signature': `${encode({ alg: 'none', typ: 'JWT', kid })}.${payload}.${signature}`,
      'alg NoNe': `${encode({ alg: 'NoNe', typ: 'JWT', kid })}.${payload}.${signature}`,
      'alg empty': `${encode({ alg: '', typ: 'JWT', kid })}.${payload}.${signature}`,
      'alg missing': signed({ typ: 'JWT', kid }, claims),
      'alg null': signed(header({ alg: null }), claims),
      'alg a list': signed(header({ alg: ['RS256'] }), claims),
      'alg rs256 in lower case': signed(header({ alg: 'rs256' }), claims),
      'alg RS384': signed(header({ alg: 'RS384' }), claims, ours, 'sha384'),
      'alg RS512': signed(header({ alg: 'RS512' }), claims, ours, 'sha512'),
      'alg PS256': signed(header({ alg: 'PS256' }), claims),
      'RS256 over SHA-512': signed(header(), claims, ours, 'sha512'),
      'alg ES256 by a key of its own': signed(header({ alg: 'ES256' }), claims, ec),
      'alg EdDSA by a key of its own': (() => {
        const text = `${encode(header({ alg: 'EdDSA' }))}.${payload}`
        return `${text}.${sign(null, Buffer.from(text), ed).toString('base64url')}`
      })(),
      'HS256 with the public key as PEM': hmac('HS256', publicPem()),
      'HS256 with the public key as DER': hmac('HS256', ring.export({ format: 'der', type: 'spki' }) as Buffer),
      'HS256 with the JWK': hmac('HS256', JSON.stringify(ring.export({ format: 'jwk' }))),
      'HS256 with the modulus': hmac('HS256', n as string),
      'HS256 with an empty secret': hmac('HS256', ''),
      'HS512 with the public key': hmac('HS512', publicPem(), 'sha512'),
      'HS256 under the right header': `${body}.${createHmac('sha256', publicPem()).update(body).digest('base64url')}`,
      'a stranger’s key': signed(header(), claims, stranger.privateKey),
      'a stranger’s key under its own kid': signed(header({ kid: 'stranger' }), claims, stranger.privateKey),
      'embedded jwk': signed(header({ jwk }), claims, stranger.privateKey),
      'embedded jwk, our signature': signed(header({ jwk }), claims),
      jku: signed(header({ jku: 'https://evil.example/jwks.json' }), claims, stranger.privateKey),
      'jku, our signature': signed(header({ jku: `${running.url}/v1/auth/jwks` }), claims),
      x5u: signed(header({ x5u: 'https://evil.example/cert.pem' }), claims, stranger.privateKey),
      x5c: signed(header({ x5c: ['MIIB'] }), claims, stranger.privateKey),
      x5t: signed(header({ x5t: 'AAAA' }), claims),
      'crit unknown': signed(header({ crit: ['exp2'], exp2: 1 }), claims),
      'crit empty': signed(header({ crit: [] }), claims),
      'b64 false': signed(header({ b64: false, crit: ['b64'] }), claims),
      'zip DEF': signed(header({ zip: 'DEF' }), claims),
      'cty JWT': signed(header({ cty: 'JWT' }), claims),
      'kid a path': signed(header({ kid: '../../../../dev/null' }), claims, stranger.privateKey),
      'kid SQL': signed(header({ kid: "' UNION SELECT 'x' --" }), claims, stranger.privateKey),
      'kid a command': signed(header({ kid: '| sleep 5' }), claims, stranger.privateKey),
      'kid __proto__': signed(header({ kid: '__proto__' }), claims, stranger.privateKey),
      'kid a number': signed(header({ kid: 0 }), claims),
      'kid missing': signed({ alg: 'RS256', typ: 'JWT' }, claims),
      'kid in upper case': signed(header({ kid: kid.toUpperCase() }), claims),
      'kid with a NUL': signed(header({ kid: `${kid}\0` }), claims),
      'typ missing': signed({ alg: 'RS256', kid }, claims),
      'typ at+jwt': signed(header({ typ: 'at+jwt' }), claims),
      'typ jwt': signed(header({ typ: 'jwt' }), claims),
      'header in another order': signed({ kid, typ: 'JWT', alg: 'RS256' }, claims),
      'header with white space': signed(JSON.stringify(header(), null, 1), claims),
      'alg twice': signed(`{"alg":"none","typ":"JWT","kid":"${kid}","alg":"RS256"}`, claims),
      'header no JSON': signed('RS256', claims),
      'header a list': signed([header()], claims),
      'header not UTF-8': `${Buffer.from([0xff, 0xfe]).toString('base64url')}.${payload}.${signature}`,
      'header empty': `.${payload}.${signature}`,
      'wrong iss': say({ iss: 'somebody' }),
      'iss a list': say({ iss: ['debros-gateway'] }),
      'no iss': without('iss'),
      'wrong aud': say({ aud: 'node' }),
      'aud a list with ours': say({ aud: ['gateway', 'node'] }),
      'no aud': without('aud'),
      'no sub': without('sub'),
      'sub empty': say({ sub: '' }),
      'sub an object': say({ sub: { toString: 'x' } }),
      'no jti': without('jti'),
      'jti a number': say({ jti: 1 }),
      'over since two minutes': say({ iat: now() - 1020, nbf: now() - 1020, exp: now() - 120 }),
      'no exp': without('exp'),
      'exp a text': say({ exp: String(now() + 600) }),
      'exp a fraction': say({ exp: now() + 0.5 }),
      'exp beyond numbers': signed(header(), JSON.stringify(claims).replace(/"exp":\d+/, '"exp":1e999')),
      'exp negative': say({ exp: -1 }),
      'good for a year': say({ exp: now() + 31_536_000 }),
      'not before to come': say({ nbf: now() + 120, exp: now() + 600 }),
      'no nbf': without('nbf'),
      'issued in time to come': say({ iat: now() + 120, nbf: now() + 10, exp: now() + 900 }),
      'no iat': without('iat'),
      'another namespace': say({ namespace: 'a::b' }),
      'namespace a list': say({ namespace: ['target'] }),
      'no namespace': without('namespace'),
      'no epoch': without('epoch'),
      'amr another': say({ amr: 'admin' }),
      'claims a list': signed(header(), [claims]),
      'claims null': signed(header(), 'null'),
      'claims no JSON': signed(header(), 'claims'),
      'claims empty': `${head}..${signature}`,
      'claims changed under the old signature': `${head}.${encode({ ...claims, namespace: 'alice' })}.${signature}`,
      'claims with white space under the old signature': `${head}.${spaced}.${signature}`,
      'signature missing': `${body}.`,
      'signature short': `${body}.${bytes.subarray(1).toString('base64url')}`,
      'signature long': `${body}.${Buffer.concat([Buffer.alloc(1), bytes]).toString('base64url')}`,
      'signature plus the modulus': `${body}.${Buffer.from(plusModulus.padStart(514, '0'), 'hex').toString('base64url')}`,
      'signature one bit off': `${body}.${flipped.toString('base64url')}`,
      'signature all zero': `${body}.${Buffer.alloc(256).toString('base64url')}`,
      'signature of another token': `${body}.${signed(header(), { ...claims, jti: 'x' }).split('.')[2]}`,
      'padding behind the signature': `${login.access_token}==`,
      'padding behind the claims': `${head}.${payload}=.${signature}`,
      'loose last bits of the signature': `${body}.${signature.slice(0, -1)}${loose}`,
      'standard base64': /[-_]/.test(signature) ? `${body}.${standard(signature)}` : `${body}.${signature}+`,
      'white space inside': `${head}.${payload} .${signature}`,
      'a line break behind, by escape': `${login.access_token}%0A`,
      'a dot behind': `${login.access_token}.`,
      'a dot before': `.${login.access_token}`,
      'four parts': `${login.access_token}.x`,
      'five parts, as a JWE has': `${head}.a.b.c.${signature}`,
      'JSON serialisation': JSON.stringify({ protected: head, payload, signature }),
      'in upper case': login.access_token.toUpperCase(),
      'three dots only': '..',
      'claims of 10 kB': say({ more: 'x'.repeat(7_000) }),
      'a header of 6 kB': `${'A'.repeat(6_000)}.${payload}.${signature}`
    }
  }

  it('are all refused as an unknown key is, without a word of why', async () => {
    const tokens = table()
    assert.ok(Object.keys(tokens).length >= 42, String(Object.keys(tokens).length))
    for (const [name, token] of Object.entries(tokens)) {
      assert.notEqual(token, login.access_token, name)
      const { status, body, headers } = await running.get('/v1/auth/whoami', token)
      assert.deepEqual([status, body], [401, { error: 'invalid API key', code: 'API_KEY_INVALID' }], name)
      assert.equal(headers.get('www-authenticate'), 'Bearer error="invalid_token"')
    }
    // The table is worth something only while the token that all of them are made of is good.
    assert.equal((await running.get('/v1/auth/whoami', login.access_token)).status, 200)
  })

  it('are none that the gateway’s own key signs as it does itself', async () => {
    const fresh = signed(header(), { ...claims, jti: 'other' })
    assert.equal((await running.get('/v1/auth/whoami', fresh)).status, 200)
  })

  it('leave an API key with two dots what it is', async () => {
    assert.equal((await running.get('/v1/storage/list', 'a.b.c')).status, 200)
  })

  it('are good by Authorization: Bearer only', async () => {
    for (const [name, value] of [
      ['X-API-Key', login.access_token],
      ['Authorization', `ApiKey ${login.access_token}`],
      ['Authorization', login.access_token],
      ['Authorization', `Basic ${login.access_token}`],
      ['Authorization', `Bearer ${login.access_token} x`],
      ['Authorization', `Bearer "${login.access_token}"`]
    ] as Array<[string, string]>) {
      const { status } = await fetch(`${running.url}/v1/auth/whoami`, { headers: { [name]: value } })
      assert.equal(status, 401, `${name}: ${value}`)
    }
  })

  it('that are copies of a revoked one, in any spelling, stay out', async () => {
    const { post } = running
    await post('/v1/auth/logout', { refresh_token: login.refresh_token })
    const [head, payload, signature] = login.access_token.split('.') as [string, string, string]
    const copies = [
      login.access_token,
      `${login.access_token}=`,
      `${login.access_token}==`,
      `${head}=.${payload}.${signature}`,
      `${head}.${payload}==.${signature}`,
      signed(header(), claims),
      signed(header(), JSON.stringify(claims, null, 2)),
      signed(header(), JSON.stringify(claims).replace('"iss"', '"\\u0069ss"')),
      signed(header(), { ...claims, more: true }),
      signed(header(), Object.fromEntries(Object.entries(claims).reverse())),
      signed(header(), { ...claims, jti: 'new one of the same login' })
    ]
    for (const [index, copy] of copies.entries()) {
      assert.equal((await running.get('/v1/auth/whoami', copy)).status, 401, String(index))
    }
  })
})
