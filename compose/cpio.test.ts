import assert from 'node:assert/strict'
import { cpioOf } from './cpio.ts'

describe('a cpio archive', () => {
  const archive = cpioOf({ 'guest/a.txt': Buffer.from('12345'), 'guest/deep/b': Buffer.from('') })

  /** Reads it as Linux does (init/initramfs.c): 13 fields of 8 hexadecimal digits, name and contents aligned to 4. */
  function read(bytes: Buffer): Array<[name: string, mode: string, contents: string]> {
    const entries: Array<[string, string, string]> = []
    for (let at = 0; at < bytes.length; ) {
      assert.equal(bytes.toString('latin1', at, at + 6), '070701')
      const field = (index: number): number =>
        Number.parseInt(bytes.toString('latin1', at + 6 + 8 * index, at + 14 + 8 * index), 16)
      const nameEnd = at + 110 + field(11)
      const name = bytes.toString('utf8', at + 110, nameEnd - 1)
      const begin = Math.ceil(nameEnd / 4) * 4
      entries.push([name, field(1).toString(8), bytes.toString('utf8', begin, begin + field(6))])
      at = Math.ceil((begin + field(6)) / 4) * 4
    }
    return entries
  }

  it('holds folders before what is in them, files, and an end', () => {
    assert.deepEqual(read(archive), [
      ['guest', '40755', ''],
      ['guest/deep', '40755', ''],
      ['guest/a.txt', '100644', '12345'],
      ['guest/deep/b', '100644', ''],
      ['TRAILER!!!', '0', '']
    ])
  })

  it('can follow another one', () => assert.equal(archive.length % 4, 0))
})
