/** Wallets that sign, a gateway with a signing key, and the steps of a login. Not for production code. */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { type KeyRing, newRing, writeRing } from '../auth/key-ring.ts'
import { type RunningGateway, type StartOptions, startGateway } from './fixtures.ts'

export interface TestWallet {
  /** As its owner writes it. */
  address: string
  /** As the gateway writes it. */
  id: string
  sign: (text: string) => Promise<string>
  body: Record<string, unknown>
}

export function ethereumWallet(privateKey: `0x${string}` = generatePrivateKey()): TestWallet {
  const account = privateKeyToAccount(privateKey)
  return {
    address: account.address,
    id: account.address.slice(2).toLowerCase(),
    sign: text => account.signMessage({ message: text }),
    body: {}
  }
}

export function solanaWallet(): TestWallet {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const address = base58btc.baseEncode(rawKey(publicKey))
  return {
    address,
    id: address,
    sign: async text => sign(null, Buffer.from(text), privateKey).toString('base64'),
    body: { chain_type: 'SOL' }
  }
}

function rawKey(publicKey: KeyObject): Uint8Array {
  return publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)
}

let ring: Promise<KeyRing> | null = null

/** One ring for all tests: an RSA key takes a while to make. */
export function testRing(): Promise<KeyRing> {
  ring ??= newRing(Date.now() - 1000)
  return ring
}

export interface AuthGateway extends RunningGateway {
  readonly post: (path: string, body: unknown, headers?: Record<string, string>) => Promise<Answer>
  readonly get: (path: string, token?: string) => Promise<Answer>
  readonly nonceOf: (wallet: TestWallet, namespace?: string) => Promise<string>
  /** Members of a body that proves the wallet. */
  readonly proofOf: (wallet: TestWallet, namespace?: string) => Promise<Record<string, unknown>>
  readonly login: (wallet: TestWallet, namespace?: string) => Promise<Login>
}

export interface Answer {
  status: number
  headers: Headers
  body: Record<string, unknown>
}

export interface Login {
  access_token: string
  refresh_token: string
  subject: string
  namespace: string
}

/** A gateway that already has a signing key, and lets tests ask as often as they like. */
export async function startAuthGateway(options: StartOptions = {}): Promise<AuthGateway> {
  const running = await startGateway({
    keyFile: writeRing(await testRing()),
    ...options,
    environment: { GATEWAY_AUTH_RATE_PER_MINUTE: '0', ...options.environment }
  })
  return withLogin(running)
}

function withLogin(running: RunningGateway): AuthGateway {
  const post = async (path: string, body: unknown, headers: Record<string, string> = {}) =>
    await answerOf(
      fetch(running.url + path, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        headers: { 'Content-Type': 'application/json', ...headers }
      })
    )
  const get = async (path: string, token?: string) =>
    await answerOf(
      fetch(running.url + path, token === undefined ? {} : { headers: { Authorization: `Bearer ${token}` } })
    )
  const nonceOf = async (wallet: TestWallet, namespace?: string) => {
    const { body } = await post('/v1/auth/challenge', { wallet: wallet.address, namespace, ...wallet.body })
    return body.nonce as string
  }
  const proofOf = async (wallet: TestWallet, namespace?: string) => {
    const nonce = await nonceOf(wallet, namespace)
    return { wallet: wallet.address, nonce, signature: await wallet.sign(nonce), namespace, ...wallet.body }
  }
  const login = async (wallet: TestWallet, namespace?: string) => {
    const { status, body } = await post('/v1/auth/verify', await proofOf(wallet, namespace))
    if (status !== 200) throw new Error(`login failed: ${status} ${JSON.stringify(body)}`)
    return body as unknown as Login
  }
  return Object.assign(running, { post, get, nonceOf, proofOf, login })
}

async function answerOf(asked: Promise<Response>): Promise<Answer> {
  const answer = await asked
  const text = await answer.text()
  let body: Record<string, unknown>
  try {
    body = JSON.parse(text)
  } catch {
    body = { text }
  }
  return { status: answer.status, headers: answer.headers, body }
}
