/** Messages signed with the key of an account (EIP-191, `personal_sign`). Imported only by `import()`: viem is not on the start path. */
import { type Hex, recoverMessageAddress } from 'viem'

/** Address of the account that signed the text, in lower case; null when the signature is none. */
export async function signerOf(text: string, signature: Hex): Promise<string | null> {
  const address = await recoverMessageAddress({ message: text, signature }).catch(() => null)
  return address?.toLowerCase() ?? null
}
