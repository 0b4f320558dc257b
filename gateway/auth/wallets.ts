/** Wallets as callers write them, and the one form in which the gateway keeps and compares them. Pure. */
import { base58btc } from 'multiformats/bases/base58'
import { NAMESPACE_PATTERN } from '../config.ts'
import { RequestInvalidError } from '../errors.ts'

export type ChainType = 'ETH' | 'SOL'

export interface Wallet {
  chain: ChainType
  /** ETH: 40 hex digits in lower case without 0x. SOL: base58 of the 32 bytes of its key. Neither can be the other. */
  id: string
}

const ETHEREUM = /^(?:0x)?[0-9a-f]{40}$/i
/** 32 bytes in base58 take 32 to 44 characters. */
const SOLANA = /^[1-9A-HJ-NP-Za-km-z]{32,44}$/
const SOLANA_KEY_BYTES = 32

/** @throws RequestInvalidError for what is no wallet of that chain */
export function parseWallet(text: string, chain: ChainType): Wallet {
  if (chain === 'ETH') {
    if (!ETHEREUM.test(text)) throw new RequestInvalidError("invalid 'wallet': expected 0x and 40 hex digits")
    return { chain, id: text.toLowerCase().replace(/^0x/, '') }
  }
  solanaKeyBytes(text)
  return { chain, id: text }
}

/** @throws RequestInvalidError when the text is not base58 of 32 bytes */
export function solanaKeyBytes(wallet: string): Uint8Array {
  // A text that reads as an Ethereum wallet too would make two owners one; no real key looks so.
  const bytes = SOLANA.test(wallet) && !ETHEREUM.test(wallet) ? base58btc.baseDecode(wallet) : new Uint8Array()
  if (bytes.byteLength !== SOLANA_KEY_BYTES) {
    throw new RequestInvalidError("invalid 'wallet': expected base58 of 32 bytes for chain_type SOL")
  }
  return bytes
}

/** `chain_type` of a body; absent: ETH. @throws RequestInvalidError */
export function parseChainType(value: unknown): ChainType {
  if (value === undefined || value === 'ETH') return 'ETH'
  if (value === 'SOL') return 'SOL'
  throw new RequestInvalidError("invalid 'chain_type': expected ETH or SOL")
}

/** @throws RequestInvalidError */
export function parseNamespace(value: unknown, otherwise: string): string {
  if (value === undefined || value === null || value === '') return otherwise
  if (typeof value !== 'string' || !NAMESPACE_PATTERN.test(value)) {
    throw new RequestInvalidError("invalid 'namespace': letters, digits, _ and -, at most 64")
  }
  return value
}
