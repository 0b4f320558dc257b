/** The bytes of canonical base64 (RFC 4648 section 4); null: it is none. */
export function bytesOfBase64(text: string): Buffer | null {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null
  return Buffer.from(text, 'base64')
}
