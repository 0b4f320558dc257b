/** JSON with one long member of bytes, in base64 as they come: never more than a piece of them in memory. */
export async function* jsonWithBytes(
  head: object,
  member: string,
  source: AsyncIterable<Uint8Array>
): AsyncGenerator<string> {
  yield `${JSON.stringify(head).slice(0, -1)},${JSON.stringify(member)}:"`
  let rest: Uint8Array = new Uint8Array(0)
  for await (const piece of source) {
    const bytes = Buffer.concat([rest, piece])
    // Three bytes are four letters; what is left over waits for the next piece.
    const whole = bytes.length - (bytes.length % 3)
    yield bytes.toString('base64', 0, whole)
    rest = bytes.subarray(whole)
  }
  yield `${Buffer.from(rest).toString('base64')}"}`
}
