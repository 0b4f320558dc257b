/**
 * Who is the operator: the bearer of one random token. It lies in `keys/admin.token` (mode 0600, made at the first
 * start) or in the file of ADMIN_TOKEN_FILE. A connection from this machine is no proof: proxies, containers and pages
 * in a browser connect from it too.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { chmod, mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Context } from 'koa'
import { errnoOf, FILE_MODE, FOLDER_MODE, replaceFile } from '../blobs/durable.ts'
import { AdminTokenInvalidError, UnauthorizedError } from '../errors.ts'

/** Shortest and longest token, characters. */
export const ADMIN_TOKEN_MIN = 20
export const ADMIN_TOKEN_MAX = 512
const TOKEN_BYTES = 32

/** Throws unless the request carries the token. */
export type RequireAdmin = (ctx: Context) => void

/** The token kept below `dataDir`, or in `file`. @throws AdminTokenInvalidError */
export async function loadAdminToken(options: { dataDir: string; file: string | null }): Promise<string> {
  const path = options.file ?? join(options.dataDir, 'keys', 'admin.token')
  try {
    const token = (await readFile(path, 'utf8')).trim()
    if (token.length < ADMIN_TOKEN_MIN || token.length > ADMIN_TOKEN_MAX) {
      throw new AdminTokenInvalidError(path, `a token has ${ADMIN_TOKEN_MIN} to ${ADMIN_TOKEN_MAX} characters`)
    }
    if (!/^[\x21-\x7e]+$/.test(token)) throw new AdminTokenInvalidError(path, 'a token is one word of printable ASCII')
    if (options.file === null) await chmod(path, FILE_MODE)
    return token
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' || options.file !== null) throw error
  }
  const token = randomBytes(TOKEN_BYTES).toString('base64url')
  await mkdir(dirname(path), { recursive: true, mode: FOLDER_MODE })
  await replaceFile(path, `${token}\n`)
  return token
}

/** The guard of the operator's routes. Compares hashes in constant time, so neither length nor beginning shows. */
export function requireAdmin(token: string): RequireAdmin {
  const expected = sha256(token)
  return ctx => {
    const given = /^Bearer +([\x21-\x7e]+) *$/i.exec(ctx.get('authorization'))?.[1]
    if (given !== undefined && timingSafeEqual(sha256(given), expected)) return
    // RFC 6750, section 3: no error code where no credential was sent.
    ctx.set('www-authenticate', `Bearer realm="warren node"${given === undefined ? '' : ', error="invalid_token"'}`)
    throw new UnauthorizedError()
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text, 'utf8').digest()
}
