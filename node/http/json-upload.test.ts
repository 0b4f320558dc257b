import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { JSON_REST_MAX_BYTES, openJsonUpload } from './json-upload.ts'

async function* inPieces(text: string, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text)
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = Math.max(1, sizes[turn % sizes.length] ?? 1)
    yield bytes.subarray(at, at + size)
    at += size
  }
}

async function read(text: string, sizes: readonly number[] = [7]) {
  const upload = await openJsonUpload(inPieces(text, sizes), 'ciphertext')
  const pieces: Uint8Array[] = []
  for await (const piece of upload.bytes) pieces.push(piece)
  return { head: upload.head, bytes: Buffer.concat(pieces), members: upload.members() }
}

describe('a blob in JSON', () => {
  it('is what JSON.parse and base64 make of it, wherever the pieces are cut', async () => {
    const members = fc.dictionary(
      fc.string().filter(key => key !== 'ciphertext' && key !== '__proto__'),
      fc.jsonValue()
    )
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 300 }),
        members,
        members,
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }),
        fc.constantFrom(0, 1, 2),
        async (blob, before, after, sizes, form) => {
          for (const key of Object.keys(before)) delete after[key]
          let ciphertext = Buffer.from(blob).toString(form === 1 ? 'base64url' : 'base64')
          const parts = { before: JSON.stringify(before).slice(1, -1), after: JSON.stringify(after).slice(1, -1) }
          // Some encoders escape slashes, and some write spaces.
          if (form === 2) ciphertext = ciphertext.replaceAll('/', '\\/')
          const text = `{${parts.before}${parts.before && ', '}"ciphertext" : "${ciphertext}"${parts.after && ' ,'}${parts.after}} `
          const got = await read(text, sizes)
          assert.deepEqual(got.bytes, Buffer.from(blob))
          assert.deepEqual(got.head, JSON.parse(JSON.stringify(before)))
          assert.deepEqual(got.members, JSON.parse(JSON.stringify({ ...before, ...after })))
        }
      ),
      { numRuns: 300 }
    )
  })

  it('is refused when it is not JSON, not base64, cut off, there twice, or beside too much else', async () => {
    const bad = [
      '',
      'null',
      '[]',
      '{}',
      '{"cid":"x"}',
      '{"ciphertext":1}',
      '{"ciphertext":"YQ=="',
      '{"ciphertext":"YQ==',
      '{"ciphertext":"YQ=="}x',
      '{"ciphertext":"YQ==","ciphertext":"YQ=="}',
      '{"ciphertext":"Y"}',
      '{"ciphertext":"YQ=="YQ=="}',
      '{"ciphertext":"YQ==YQ=="}',
      '{"ciphertext":"Y Q="}',
      '{"ciphertext":"YQ\\n=="}',
      '{"ciphertext":"YQ\\u003d"}',
      '{"a":{"ciphertext":"YQ=="}}',
      '["ciphertext":"YQ=="]',
      `{"a":"${'x'.repeat(JSON_REST_MAX_BYTES)}","ciphertext":"YQ=="}`,
      `{"ciphertext":"YQ==","a":"${'x'.repeat(JSON_REST_MAX_BYTES)}"}`
    ]
    for (const text of bad) await assert.rejects(read(text), { code: 'INVALID_REQUEST' }, text.slice(0, 60))
  })

  it('is called what it is when it is there twice', async () => {
    await assert.rejects(read('{"ciphertext":"YQ==","ciphertext":"YQ=="}'), /"ciphertext" is there twice/)
  })

  it('is never gathered', async () => {
    const letters = randomBytes(48 * 1024).toString('base64')
    let given = 0
    async function* endless(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('{"ciphertext":"')
      for (;;) {
        given += 1
        yield Buffer.from(letters)
      }
    }
    const { bytes } = await openJsonUpload(endless(), 'ciphertext')
    for (let taken = 0; taken < 20; taken += 1) {
      const { value } = await bytes.next()
      assert.equal(value?.length, 48 * 1024)
      assert.equal(given, taken + 1)
    }
    await bytes.return(undefined)
  })
})
