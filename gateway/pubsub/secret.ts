/** The secret with which gateways seal what they gossip: a file that the gateways of a network have in common. */
import { randomBytes } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { makeOnce } from '../key-files.ts'
import { PubsubKeyError } from './errors.ts'

const SECRET_BYTES = 32
const FILE = 'pubsub.key'

export interface SecretOptions {
  dataDir: string
  /** Base64 of 32 bytes or more; absent: DATA_DIR/pubsub.key, made by the first gateway of the directory. */
  keyFile: string | undefined
}

/** @throws PubsubKeyError when the file is not there or has no key */
export async function loadPubsubSecret({ dataDir, keyFile }: SecretOptions): Promise<Buffer> {
  const path = keyFile ?? join(dataDir, FILE)
  const text = await readFile(path, 'utf8').catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT' || keyFile !== undefined) throw new PubsubKeyError(path, error)
    return await make(path)
  })
  const secret = Buffer.from(text.trim(), 'base64')
  if (secret.byteLength < SECRET_BYTES) throw new PubsubKeyError(path)
  return secret
}

async function make(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await makeOnce(path, `${randomBytes(SECRET_BYTES).toString('base64')}\n`)
  return await readFile(path, 'utf8')
}
