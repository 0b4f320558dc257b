/**
 * Sign-In with Ethereum (EIP-4361): a message read by the standard's grammar, and whether it may log in here. A text has
 * one reading: it must be exactly what its parts make when they are written again. Pure.
 */
import { getAddress } from 'viem/utils'
import { CLOCK_SKEW_S, NONCE_LIFETIME_MS, SIWE_MESSAGE_MAX_CHARS } from '../constants.ts'
import { SiweInvalidError } from './errors.ts'

export interface SiweMessage {
  scheme: string | null
  domain: string
  /** With 0x, in EIP-55's mixed case. */
  address: string
  statement: string | null
  uri: string
  chainId: number
  nonce: string
  issuedAt: string
  expirationTime: string | null
  notBefore: string | null
  requestId: string | null
  resources: readonly string[] | null
}

export interface SiweExpectation {
  /** Origins of this gateway, `https://host[:port]`. From the configuration, never from a request's Host. */
  origins: readonly string[]
  chainIds: readonly number[]
  nowMs: number
}

const HEAD = / wants you to sign in with your Ethereum account:$/
const ORIGIN = /^(?:([a-zA-Z][a-zA-Z0-9+.-]*):\/\/)?([a-zA-Z0-9.[\]:-]+)$/
/** Reserved and unreserved characters of RFC 3986, and the space. */
const STATEMENT = /^[a-zA-Z0-9\-._~:/?#[\]@!$&'()*+,;= ]+$/
const URI = /^[a-zA-Z][a-zA-Z0-9+.-]*:[a-zA-Z0-9\-._~:/?#[\]@!$&'()*+,;=%]+$/
const REQUEST_ID = /^[a-zA-Z0-9\-._~:@!$&'()*+,;=%]*$/
const NONCE = /^[a-zA-Z0-9]{8,}$/
const CHAIN_ID = /^(?:0|[1-9]\d{0,14})$/
const TIME = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/

/** @throws SiweInvalidError that names the part which is wrong */
export function parseSiwe(text: string): SiweMessage {
  if (text.length > SIWE_MESSAGE_MAX_CHARS) throw new SiweInvalidError('it is too long')
  const lines = text.split('\n')
  let at = 0
  const next = () => lines[at++]
  const field = (name: string, pattern: RegExp): string => {
    const line = next()
    const value = line?.startsWith(`${name}: `) === true ? line.slice(name.length + 2) : null
    if (value === null || !pattern.test(value))
      throw new SiweInvalidError(`its ${name} is missing, malformed, or not in its place`)
    return value
  }
  const optional = (name: string, pattern: RegExp): string | null =>
    lines[at]?.startsWith(`${name}: `) === true ? field(name, pattern) : null

  const first = next() ?? ''
  const [, scheme = null, domain] = (HEAD.test(first) ? ORIGIN.exec(first.replace(HEAD, '')) : null) ?? []
  if (domain === undefined)
    throw new SiweInvalidError('its first line is not "<domain> wants you to sign in with your Ethereum account:"')
  const address = checksummed(next() ?? '')
  if (next() !== '') throw new SiweInvalidError('an empty line belongs after the address')
  const statement = lines[at] === '' ? null : (next() ?? '')
  if (statement !== null && !STATEMENT.test(statement))
    throw new SiweInvalidError('its statement has a character that none may have')
  if (next() !== '') throw new SiweInvalidError('an empty line belongs before the fields')
  const uri = field('URI', URI)
  field('Version', /^1$/)
  const message: SiweMessage = {
    scheme: scheme ?? null,
    domain,
    address,
    statement,
    uri,
    chainId: Number(field('Chain ID', CHAIN_ID)),
    nonce: field('Nonce', NONCE),
    issuedAt: field('Issued At', TIME),
    expirationTime: optional('Expiration Time', TIME),
    notBefore: optional('Not Before', TIME),
    requestId: optional('Request ID', REQUEST_ID),
    resources: null
  }
  if (lines[at] === 'Resources:') {
    const listed = lines.slice(at + 1)
    if (!listed.every(line => line.startsWith('- ') && URI.test(line.slice(2)))) {
      throw new SiweInvalidError('its Resources are not lines of "- <URI>"')
    }
    message.resources = listed.map(line => line.slice(2))
  }
  if (writeSiwe(message) !== text) throw new SiweInvalidError('there is more than its fields')
  return message
}

export function writeSiwe(message: SiweMessage): string {
  const { scheme, domain, address, statement, expirationTime, notBefore, requestId, resources } = message
  return [
    `${scheme === null ? '' : `${scheme}://`}${domain} wants you to sign in with your Ethereum account:`,
    address,
    '',
    ...(statement === null ? [] : [statement]),
    '',
    `URI: ${message.uri}`,
    'Version: 1',
    `Chain ID: ${message.chainId}`,
    `Nonce: ${message.nonce}`,
    `Issued At: ${message.issuedAt}`,
    ...(expirationTime === null ? [] : [`Expiration Time: ${expirationTime}`]),
    ...(notBefore === null ? [] : [`Not Before: ${notBefore}`]),
    ...(requestId === null ? [] : [`Request ID: ${requestId}`]),
    ...(resources === null ? [] : ['Resources:', ...resources.map(resource => `- ${resource}`)])
  ].join('\n')
}

/**
 * Whether a message logs in at this gateway, now. The nonce and the signature are the caller's to check.
 * @throws SiweInvalidError
 */
export function checkSiwe(message: SiweMessage, { origins, chainIds, nowMs }: SiweExpectation): void {
  if (origins.length === 0) throw new SiweInvalidError('this gateway has no GATEWAY_PUBLIC_URL: sign the nonce alone')
  const mine = origins.filter(origin => {
    const { host, protocol } = new URL(origin)
    return message.domain === host && (message.scheme === null || `${message.scheme}:` === protocol)
  })
  if (mine.length === 0) throw new SiweInvalidError('its domain is not this gateway')
  if (!mine.includes(originOf(message.uri))) throw new SiweInvalidError('its URI is not of its domain')
  if (!chainIds.includes(message.chainId)) throw new SiweInvalidError('its Chain ID is none of this gateway')
  const skewMs = CLOCK_SKEW_S * 1000
  const issuedMs = timeOf(message.issuedAt, 'Issued At')
  if (issuedMs > nowMs + skewMs) throw new SiweInvalidError('its Issued At is to come')
  if (issuedMs < nowMs - NONCE_LIFETIME_MS - skewMs) throw new SiweInvalidError('its Issued At is too long ago')
  if (message.expirationTime !== null && timeOf(message.expirationTime, 'Expiration Time') <= nowMs) {
    throw new SiweInvalidError('its Expiration Time is over')
  }
  if (message.notBefore !== null && timeOf(message.notBefore, 'Not Before') > nowMs) {
    throw new SiweInvalidError('its Not Before is to come')
  }
}

/** The origin of a URI that begins with it; else a text that equals none. */
function originOf(uri: string): string {
  if (!URL.canParse(uri)) return ''
  const { origin } = new URL(uri)
  // The parser forgives (users, back strokes, spellings): only what it would write itself is taken.
  return uri === origin || uri.startsWith(`${origin}/`) ? origin : ''
}

function checksummed(text: string): string {
  if (!/^0x[0-9a-fA-F]{40}$/.test(text) || getAddress(text) !== text) {
    throw new SiweInvalidError('its address is not in the mixed case of EIP-55')
  }
  return text
}

/** RFC 3339, of a day that exists. */
function timeOf(text: string, name: string): number {
  const [, year, month, day, hour, minute, second] = (TIME.exec(text) ?? []).map(Number) as number[]
  const written = Date.UTC(year!, month! - 1, day, hour, minute, second)
  const made = new Date(written)
  const same = made.getUTCMonth() === month! - 1 && made.getUTCDate() === day && made.getUTCHours() === hour
  const ms = Date.parse(text)
  if (!same || minute! > 59 || second! > 59 || Number.isNaN(ms)) throw new SiweInvalidError(`its ${name}`)
  return ms
}
