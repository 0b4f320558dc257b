/** How a caller shows that it has a wallet: a nonce of ours, signed, by itself or in an EIP-4361 message. */
import type { GatewayConfig } from '../config.ts'
import { RequestInvalidError } from '../errors.ts'
import type { AuthReader } from '../store/auth-reader.ts'
import { NonceInvalidError } from './errors.ts'
import { provenKey } from './signatures.ts'
import { checkSiwe, parseSiwe } from './siwe.ts'
import { isText } from './text.ts'
import { type ChainType, parseChainType, parseNamespace, parseWallet, type Wallet } from './wallets.ts'

/** A JSON body, whose members may be anything. */
export type AuthBody = Readonly<Record<string, unknown>>

/** A wallet that has signed for a nonce, which is still to be taken. */
export interface Proof {
  wallet: Wallet
  nonce: string
  namespace: string
  publicKey: string
}

export interface ProofOptions {
  config: Pick<GatewayConfig, 'namespace' | 'publicUrls' | 'chainIds'>
  reader: Pick<AuthReader, 'hasNonce'>
  now: () => number
}

/**
 * Reads a proof and checks all of it but that its nonce is taken once.
 * @throws RequestInvalidError, NonceInvalidError, SiweInvalidError and what a bad signature throws
 */
export function createProofReader({ config, reader, now }: ProofOptions): (body: AuthBody) => Promise<Proof> {
  return async body => {
    const namespace = parseNamespace(body.namespace, config.namespace)
    const { wallet, nonce, text } = body.message === undefined ? plainLogin(body) : siweLogin(body)
    const signature = body.signature as string
    // What costs nothing is asked before what costs a millisecond; who takes it decides.
    const isKnown = await reader.hasNonce({ namespace, wallet: wallet.id, nonce }, new Date(now()).toISOString())
    if (!isKnown) throw new NonceInvalidError()
    return { wallet, nonce, namespace, publicKey: await provenKey(wallet, text, signature) }
  }

  function siweLogin(body: AuthBody): { wallet: Wallet; nonce: string; text: string } {
    if (typeof body.message !== 'string' || !isText(body.signature)) {
      throw new RequestInvalidError('message and signature are required')
    }
    if (parseChainType(body.chain_type) !== 'ETH') throw new RequestInvalidError('message is for chain_type ETH only')
    const message = parseSiwe(body.message)
    checkSiwe(message, { origins: config.publicUrls, chainIds: config.chainIds, nowMs: now() })
    const wallet = parseWallet(message.address, 'ETH')
    if (body.wallet !== undefined && walletOf(body.wallet, 'ETH').id !== wallet.id) {
      throw new RequestInvalidError('wallet is not the address of message')
    }
    if (body.nonce !== undefined && body.nonce !== message.nonce) throw new NonceInvalidError()
    return { wallet, nonce: message.nonce, text: body.message }
  }
}

function plainLogin(body: AuthBody): { wallet: Wallet; nonce: string; text: string } {
  if (!isText(body.wallet) || !isText(body.nonce) || !isText(body.signature)) {
    throw new RequestInvalidError('wallet, nonce and signature are required')
  }
  return { wallet: walletOf(body.wallet, parseChainType(body.chain_type)), nonce: body.nonce, text: body.nonce }
}

function walletOf(value: unknown, chain: ChainType): Wallet {
  if (!isText(value)) throw new RequestInvalidError('wallet is required')
  return parseWallet(value, chain)
}
