import assert from 'node:assert/strict'
import fc from 'fast-check'
import { getAddress } from 'viem'
import { createSiweMessage } from 'viem/siwe'
import { type AuthGateway, ethereumWallet, startAuthGateway, type TestWallet } from '../testing/wallets.ts'
import { parseSiwe, type SiweMessage, writeSiwe } from './siwe.ts'

const ORIGIN = 'https://gateway.example:8443'
const DOMAIN = 'gateway.example:8443'

describe('an EIP-4361 message', () => {
  let running: AuthGateway
  let wallet: TestWallet
  let other: TestWallet
  before(async () => {
    running = await startAuthGateway({ environment: { GATEWAY_PUBLIC_URL: `${ORIGIN},http://localhost:8080` } })
    wallet = ethereumWallet()
    other = ethereumWallet()
  })
  after(() => running[Symbol.asyncDispose]())

  const at = (offsetS: number) => new Date(Date.now() + offsetS * 1000).toISOString()
  const messageFor = (nonce: string, change: Partial<SiweMessage> = {}): string =>
    writeSiwe({
      scheme: null,
      domain: DOMAIN,
      address: wallet.address,
      statement: 'Log in.',
      uri: `${ORIGIN}/login`,
      chainId: 1,
      nonce,
      issuedAt: at(0),
      expirationTime: null,
      notBefore: null,
      requestId: null,
      resources: null,
      ...change
    })
  const verify = async (message: string, signer = wallet, more: Record<string, unknown> = {}) =>
    await running.post('/v1/auth/verify', {
      message,
      signature: await signer.sign(message),
      namespace: 'siwe',
      ...more
    })

  it('logs in, with and without its optional parts', async () => {
    for (const change of [
      {},
      { statement: null },
      { scheme: 'https' },
      { uri: ORIGIN },
      { chainId: 31337 },
      { domain: 'localhost:8080', uri: 'http://localhost:8080/' },
      {
        expirationTime: at(60),
        notBefore: at(-1),
        requestId: 'r-1',
        resources: ['https://a.example/x', 'ipfs://bafy']
      },
      { resources: [] },
      { issuedAt: at(0).replace('Z', '+00:00') }
    ] as Array<Partial<SiweMessage>>) {
      const { status, body } = await verify(messageFor(await running.nonceOf(wallet, 'siwe'), change))
      assert.equal(status, 200, `${JSON.stringify(change)} ${JSON.stringify(body)}`)
      assert.equal(body.subject, wallet.id)
    }
  })

  it('is read as viem writes it, whatever is in it', async () => {
    const word = fc.stringMatching(/^[a-zA-Z0-9]{8,24}$/)
    await fc.assert(
      fc.property(
        fc.record({
          domain: fc.constantFrom('example.com', 'localhost:3000', '127.0.0.1:1'),
          statement: fc.option(fc.stringMatching(/^[a-zA-Z0-9 .,!?:-]{1,40}$/), { nil: undefined }),
          nonce: word,
          chainId: fc.integer({ min: 1, max: 1_000_000 }),
          requestId: fc.option(word, { nil: undefined }),
          issuedAt: fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true }),
          resources: fc.option(fc.array(fc.constantFrom('https://a.example/', 'ipfs://bafy/x')), { nil: undefined })
        }),
        parts => {
          const text = createSiweMessage({
            ...parts,
            address: getAddress(wallet.address),
            uri: `https://${parts.domain}/`,
            version: '1'
          })
          const read = parseSiwe(text)
          assert.equal(writeSiwe(read), text)
          assert.deepEqual(
            [read.domain, read.statement ?? undefined, read.nonce, read.chainId, read.requestId ?? undefined],
            [parts.domain, parts.statement, parts.nonce, parts.chainId, parts.requestId]
          )
        }
      ),
      { numRuns: 200 }
    )
  })

  it('with one thing changed is refused, signed though it is, and leaves the nonce', async () => {
    const nonce = await running.nonceOf(wallet, 'siwe')
    const plain = messageFor(nonce)
    const line = (name: string, value: string) => plain.replace(new RegExp(`^${name}: .*$`, 'm'), `${name}: ${value}`)
    const said = (change: Partial<SiweMessage>) => messageFor(nonce, change)
    const mutations: Record<string, string> = {
      'another domain': said({ domain: 'evil.example' }),
      'the domain without its port': said({ domain: 'gateway.example' }),
      'another port': said({ domain: 'gateway.example:443' }),
      'a longer domain': said({ domain: `${DOMAIN}.evil.example` }),
      'a domain before ours': said({ domain: `evil.${DOMAIN}` }),
      'the domain in upper case': said({ domain: DOMAIN.toUpperCase() }),
      'a dot behind the domain': said({ domain: 'gateway.example.:8443' }),
      'a user before the domain': said({ domain: `gateway.example:8443@evil.example` }),
      'a Cyrillic а in the domain': said({ domain: 'gаteway.example:8443' }),
      'the domain in punycode': said({ domain: 'xn--gteway-3ve.example:8443' }),
      'a zero-width space in the domain': said({ domain: 'gateway\u200b.example:8443' }),
      'a full-width dot in the domain': said({ domain: 'gateway．example:8443' }),
      'a path behind the domain': said({ domain: `${DOMAIN}/evil` }),
      'no domain': said({ domain: '' }),
      'another scheme': said({ scheme: 'http' }),
      'a script as scheme': said({ scheme: 'javascript' }),
      'another origin’s URI': said({ uri: 'https://evil.example/' }),
      'a URI of our other origin': said({ uri: 'http://localhost:8080/' }),
      'a URI with a user': said({ uri: 'https://gateway.example:8443@evil.example/' }),
      'a URI with our user': said({ uri: 'https://me@gateway.example:8443/' }),
      'a URI that begins like ours': said({ uri: `${ORIGIN}0/` }),
      'a URI with a backslash': said({ uri: 'https://evil.example\\@gateway.example:8443/' }),
      'a URI of another scheme': said({ uri: 'http://gateway.example:8443/' }),
      'no URI': plain.replace(/^URI: .*\n/m, ''),
      'version 2': line('Version', '2'),
      'version 1.0': line('Version', '1.0'),
      'no version': plain.replace(/^Version: .*\n/m, ''),
      'another chain': said({ chainId: 5 }),
      'chain 0': said({ chainId: 0 }),
      'a chain in hex': line('Chain ID', '0x1'),
      'a chain with a zero before': line('Chain ID', '01'),
      'a chain with a sign': line('Chain ID', '+1'),
      'a chain as a fraction': line('Chain ID', '1.0'),
      'a chain beyond numbers': line('Chain ID', '9'.repeat(40)),
      'another nonce': said({ nonce: 'A'.repeat(43) }),
      'the nonce in lower case': said({ nonce: nonce.toLowerCase() }),
      'the nonce cut short': said({ nonce: nonce.slice(0, 8) }),
      'a nonce of 7': said({ nonce: nonce.slice(0, 7) }),
      'a nonce with a dash': said({ nonce: `${nonce.slice(0, -1)}-` }),
      'a space behind the nonce': line('Nonce', `${nonce} `),
      'two nonces': plain.replace(/^(Nonce: .*)$/m, '$1\n$1'),
      'no nonce': plain.replace(/^Nonce: .*\n/m, ''),
      'issued an hour ago': said({ issuedAt: at(-3600) }),
      'issued in time to come': said({ issuedAt: at(120) }),
      'issued on 30 February': said({ issuedAt: '2026-02-30T00:00:00Z' }),
      'issued at 24:00': said({ issuedAt: `${at(0).slice(0, 10)}T24:00:00Z` }),
      'issued without a zone': said({ issuedAt: at(0).replace('Z', '') }),
      'issued in words': said({ issuedAt: new Date().toUTCString() }),
      'issued in Arabic digits': said({ issuedAt: at(0).replace('2', '٢') }),
      'no time of issue': plain.replace(/\nIssued At: .*$/m, ''),
      'over already': said({ expirationTime: at(-1) }),
      'over on a 30 February to come': said({ expirationTime: '2099-02-30T00:00:00Z' }),
      'over on a 31 April to come': said({ expirationTime: '2099-04-31T00:00:00Z' }),
      'over at a 24:00 to come': said({ expirationTime: '2099-01-01T24:00:00Z' }),
      'an expiry in no time': said({ expirationTime: 'never' }),
      'not before tomorrow': said({ notBefore: at(86_400) }),
      'optional parts in another order': `${plain}\nNot Before: ${at(-1)}\nExpiration Time: ${at(60)}`,
      'an optional part twice': `${plain}\nRequest ID: a\nRequest ID: b`,
      'an unknown field': `${plain}\nRole: admin`,
      'an unknown field between': plain.replace(/^Nonce:/m, 'Role: admin\nNonce:'),
      'a resource that is no URI': `${plain}\nResources:\n- nothing`,
      'a resource without its dash': `${plain}\nResources:\nhttps://a.example/`,
      'something behind the resources': `${plain}\nResources:\n- https://a.example/\nRole: admin`,
      'another address': said({ address: other.address }),
      'the address in lower case': said({ address: wallet.address.toLowerCase() }),
      'the address in upper case': said({ address: `0x${wallet.address.slice(2).toUpperCase()}` }),
      'one letter of the address in the other case': said({ address: swapped(wallet.address) }),
      'the address without 0x': said({ address: wallet.address.slice(2) }),
      'an address too short': said({ address: wallet.address.slice(0, -1) }),
      'an ENS name as address': said({ address: 'vitalik.eth' }),
      'no address': said({ address: '' }),
      'carriage returns': plain.replaceAll('\n', '\r\n'),
      'one carriage return': plain.replace('\n', '\r\n'),
      'a line separator of Unicode': plain.replace('\n', '\u2028'),
      'an empty line behind': `${plain}\n`,
      'an empty line before': `\n${plain}`,
      'an empty line left out': plain.replace('\n\n', '\n'),
      'an empty line more': plain.replace('\n\n', '\n\n\n'),
      'a statement of two lines': said({ statement: 'Log in.\nAnd more.' }),
      'fields smuggled in by the statement': said({ statement: `x\n\nURI: ${ORIGIN}/\nVersion: 1` }),
      'a statement in another script': said({ statement: 'Вход' }),
      'a statement with a tab': said({ statement: 'Log\tin' }),
      'a statement with a NUL': said({ statement: 'Log\0in' }),
      'a byte order mark': `\ufeff${plain}`,
      'the head in other words': plain.replace('sign in', 'sign-in'),
      'the head of another chain': plain.replace('Ethereum', 'Solana'),
      'a field name in lower case': plain.replace('Nonce:', 'nonce:'),
      'two spaces behind a colon': plain.replace('Nonce: ', 'Nonce:  '),
      'no space behind a colon': plain.replace('Nonce: ', 'Nonce:'),
      'a space before a field': plain.replace('Nonce:', ' Nonce:'),
      'more than 4 KiB': said({ statement: 'x'.repeat(5000) }),
      'nothing at all': ' '
    }
    assert.ok(Object.keys(mutations).length >= 40, String(Object.keys(mutations).length))
    for (const [name, message] of Object.entries(mutations)) {
      assert.notEqual(message, plain, name)
      const { status, body } = await verify(message)
      assert.ok(
        status === 400 && /^(SIWE_INVALID|NONCE_INVALID)$/.test(body.code as string),
        `${name}: ${status} ${JSON.stringify(body)}`
      )
    }
    assert.equal((await verify(plain)).status, 200)
    assert.equal((await verify(plain)).status, 400)
  })

  it('is good only as signed, by whom it names, and for what the body says beside it', async () => {
    const nonce = await running.nonceOf(wallet, 'siwe')
    const message = messageFor(nonce)
    const signature = await wallet.sign(message)
    assert.equal((await verify(message, other)).body.code, 'SIGNATURE_MISMATCH')
    const changed = await running.post('/v1/auth/verify', {
      message: message.replace('Log in.', 'Log on.'),
      signature,
      namespace: 'siwe'
    })
    assert.equal(changed.body.code, 'SIGNATURE_MISMATCH')
    // The signature over the nonce alone is not one over the message, nor the other way round.
    const overNonce = await running.post('/v1/auth/verify', {
      message,
      signature: await wallet.sign(nonce),
      namespace: 'siwe'
    })
    assert.equal(overNonce.body.code, 'SIGNATURE_MISMATCH')
    const asNonce = await running.post('/v1/auth/verify', {
      wallet: wallet.address,
      nonce,
      signature,
      namespace: 'siwe'
    })
    assert.equal(asNonce.body.code, 'SIGNATURE_MISMATCH')
    assert.equal((await verify(message, wallet, { wallet: other.address })).status, 400)
    assert.equal((await verify(message, wallet, { nonce: 'A'.repeat(43) })).body.code, 'NONCE_INVALID')
    assert.equal((await verify(message, wallet, { namespace: 'elsewhere' })).body.code, 'NONCE_INVALID')
    assert.equal((await verify(message, wallet, { chain_type: 'SOL' })).status, 400)
    assert.equal((await verify(message, wallet, { message: [message] })).status, 400)
    assert.equal((await verify(message, wallet, { signature: undefined })).status, 400)
    assert.equal((await verify(message, wallet, { wallet: wallet.address.toLowerCase(), nonce })).status, 200)
  })

  it('is not taken by a gateway that does not know its own name, whatever the Host says', async () => {
    await using nameless = await startAuthGateway()
    const nonce = await nameless.nonceOf(wallet, 'siwe')
    const { host, origin } = new URL(nameless.url)
    const message = messageFor(nonce, { domain: host, uri: `${origin}/` })
    const { status, body } = await nameless.post('/v1/auth/verify', {
      message,
      signature: await wallet.sign(message),
      namespace: 'siwe'
    })
    assert.deepEqual([status, body.code], [400, 'SIWE_INVALID'])
    assert.match(body.error as string, /GATEWAY_PUBLIC_URL/)
  })
})

/** The address with the first of its letters in the other case: no longer EIP-55's. */
function swapped(address: string): string {
  const index = address.slice(2).search(/[a-fA-F]/) + 2
  const letter = address[index] as string
  const other = letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase()
  return address.slice(0, index) + other + address.slice(index + 1)
}
