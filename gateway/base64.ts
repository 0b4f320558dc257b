/** Whether a text is canonical base64 (RFC 4648 section 4) but for bits of its last character that say nothing. */
export function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text)
}

/** The bytes of base64; null: it is none. */
export function bytesOfBase64(text: string): Buffer | null {
  return isBase64(text) ? Buffer.from(text, 'base64') : null
}
