/** Wallets' signatures: EIP-191 with secp256k1 recovery, and Ed25519. Pure. */
import { createPublicKey, verify } from 'node:crypto'
import { hashMessage, publicKeyToAddress, recoverPublicKey } from 'viem/utils'
import { SignatureFormatError, SignatureMismatchError, SignatureRecoveryError } from './errors.ts'
import { solanaKeyBytes, type Wallet } from './wallets.ts'

/** r, s and v, nothing shorter: EIP-2098's 64 bytes would be a second spelling of one signature. */
const ETHEREUM_SIGNATURE = /^(?:0x)?[0-9a-f]{130}$/i
/** Base64 of 64 bytes: 86 digits, of which the last carries two bits. */
const SOLANA_SIGNATURE = /^[A-Za-z0-9+/]{85}[AQgw]==$/
/** Half of the curve's order. A larger s is the malleated twin of a signature (EIP-2). */
const HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n
const SPKI_ED25519 = Buffer.from('302a300506032b6570032100', 'hex')

/**
 * That this wallet signed this text.
 * @returns the signer's public key: 0x04… (ETH), or the wallet itself (SOL)
 * @throws SignatureFormatError, SignatureRecoveryError, SignatureMismatchError
 */
export async function provenKey(wallet: Wallet, text: string, signature: string): Promise<string> {
  return wallet.chain === 'ETH' ? await ethereumKey(wallet.id, text, signature) : solanaKey(wallet.id, text, signature)
}

async function ethereumKey(wallet: string, text: string, signature: string): Promise<string> {
  if (!ETHEREUM_SIGNATURE.test(signature)) throw new SignatureFormatError()
  const hex = signature.toLowerCase().replace(/^0x/, '')
  const v = Number.parseInt(hex.slice(128), 16)
  if (![0, 1, 27, 28].includes(v)) throw new SignatureFormatError()
  if (BigInt(`0x${hex.slice(64, 128)}`) > HALF_ORDER) throw new SignatureFormatError()
  const recovered = await recoverPublicKey({
    hash: hashMessage(text),
    signature: `0x${hex.slice(0, 128)}${v % 27 === 0 ? '1b' : '1c'}`
  }).catch(() => {
    throw new SignatureRecoveryError()
  })
  if (publicKeyToAddress(recovered).toLowerCase() !== `0x${wallet}`) throw new SignatureMismatchError()
  return recovered
}

function solanaKey(wallet: string, text: string, signature: string): string {
  if (!SOLANA_SIGNATURE.test(signature)) throw new SignatureFormatError()
  const key = createPublicKey({
    key: Buffer.concat([SPKI_ED25519, solanaKeyBytes(wallet)]),
    format: 'der',
    type: 'spki'
  })
  // node:crypto, not a library: it refuses keys of small order, for which anybody can sign.
  if (!verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64'))) throw new SignatureMismatchError()
  return wallet
}
