/**
 * The master key of a data directory: one file, shared by its gateways, that every value's key is derived from. Made once;
 * the database knows how to tell it from any other.
 */
import { hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { chmod, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MasterKeyInvalidError, MasterKeyMissingError, MasterKeyWrongError } from '../errors.ts'
import { makeOnce } from '../key-files.ts'
import type { Statements } from './statements.ts'

const MASTER_KEY_FILE = 'master.key'
const KEY_BYTES = 32
const CHECK_INFO = 'warren master key check 1'

/**
 * The key of this data directory. Where the database has never had one it is made, by exactly one of the gateways that
 * start at once.
 * @throws MasterKeyMissingError, MasterKeyWrongError, MasterKeyInvalidError
 */
export async function openMasterKey(dataDir: string, statements: Statements): Promise<Buffer> {
  const path = join(dataDir, MASTER_KEY_FILE)
  let key = await read(path)
  if (key === null) {
    if ((await checkOf(statements)) === null) key = await make(path)
    // Another gateway may have made it between the two looks.
    else key = await read(path)
  }
  if (key === null) throw new MasterKeyMissingError(path)
  const check = Buffer.from(hkdfSync('sha256', key, '', CHECK_INFO, KEY_BYTES))
  await statements.run('UPDATE value_sealing SET key_check = ? WHERE key_check IS NULL', [check])
  const expected = await checkOf(statements)
  if (expected === null || expected.byteLength !== check.byteLength || !timingSafeEqual(expected, check)) {
    throw new MasterKeyWrongError(path)
  }
  return key
}

async function checkOf(statements: Statements): Promise<Buffer | null> {
  const row = await statements.get<{ key_check: Buffer | null }>('SELECT key_check FROM value_sealing', [])
  return row?.key_check ?? null
}

async function read(path: string): Promise<Buffer | null> {
  let text: string
  try {
    text = await readFile(path, 'latin1')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  if (!/^[0-9a-f]{64}\n?$/.test(text)) throw new MasterKeyInvalidError(path)
  await chmod(path, 0o600).catch((error: NodeJS.ErrnoException) => {
    // Made by another user, who shares it with us.
    if (error.code !== 'EPERM') throw error
  })
  return Buffer.from(text.trim(), 'hex')
}

async function make(path: string): Promise<Buffer> {
  await makeOnce(path, `${randomBytes(KEY_BYTES).toString('hex')}\n`)
  const key = await read(path)
  if (key === null) throw new MasterKeyMissingError(path)
  return key
}
