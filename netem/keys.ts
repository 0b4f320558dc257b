/**
 * Keys of a testnet, derived from its seed. INSECURE by design: whoever knows the seed knows every key.
 * They exist so that a plan can name peer ids and contract addresses before anything runs.
 */
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'
import { privateKeyToAddress } from 'viem/accounts'
import { getContractAddress } from 'viem/utils'
import type { PlannedAccount, PlannedIdentity } from './plan.types.ts'

/** DER of a PKCS #8 Ed25519 private key up to its 32 bytes (RFC 8410 section 7). */
const PKCS8_ED25519_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')
/** libp2p's protobuf `PrivateKey { Type = Ed25519, Data = 64 bytes }` up to the bytes. */
const LIBP2P_PRIVATE_PREFIX = Buffer.from('08011240', 'hex')
/** libp2p's protobuf `PublicKey { Type = Ed25519, Data = 32 bytes }` up to the bytes. */
const LIBP2P_PUBLIC_PREFIX = Buffer.from('08011220', 'hex')
/** Multihash "identity", 36 bytes: how peer ids hold keys of at most 42 bytes (libp2p peer id specification). */
const IDENTITY_MULTIHASH_PREFIX = Buffer.from('0024', 'hex')
/** Order of the secp256k1 group: a private key is from 1 to this less 1. */
const SECP256K1_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n

/** 32 bytes that depend on the seed, on what they are for, and on nothing else. */
function derive(seed: string, purpose: string, name: string, attempt = 0): Buffer {
  return createHash('sha256')
    .update(JSON.stringify(['warren insecure testnet key', seed, purpose, name, attempt]))
    .digest()
}

/** The libp2p identity of a host: Ed25519. */
export function identityOf(seed: string, host: string): PlannedIdentity {
  const secret = derive(seed, 'identity', host)
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_ED25519_PREFIX, secret]),
    format: 'der',
    type: 'pkcs8'
  })
  const publicBytes = Buffer.from(createPublicKey(privateKey).export({ format: 'jwk' }).x ?? '', 'base64url')
  const publicKey = Buffer.concat([LIBP2P_PUBLIC_PREFIX, publicBytes])
  return {
    privateKey: Buffer.concat([LIBP2P_PRIVATE_PREFIX, secret, publicBytes]).toString('base64'),
    peerId: base58btc.baseEncode(Buffer.concat([IDENTITY_MULTIHASH_PREFIX, publicKey]))
  }
}

/** The Ethereum account of a host (or of the deployer): secp256k1. */
export function accountOf(seed: string, name: string): PlannedAccount {
  for (let attempt = 0; ; attempt++) {
    const secret = derive(seed, 'account', name, attempt)
    const scalar = BigInt(`0x${secret.toString('hex')}`)
    if (scalar === 0n || scalar >= SECP256K1_ORDER) continue
    const privateKey = `0x${secret.toString('hex')}` as const
    return { address: privateKeyToAddress(privateKey), privateKey }
  }
}

/** Where the deployer's first contract lands: CREATE with nonce 0. */
export function registryOf(deployer: PlannedAccount): `0x${string}` {
  return getContractAddress({ from: deployer.address, nonce: 0n })
}

/** API key of the testnet's gateways. It has no `:`, which separates key and namespace in GATEWAY_API_KEYS. */
export function apiKeyOf(seed: string): string {
  return `ak_${derive(seed, 'api key', 'gateways').toString('base64url')}`
}
