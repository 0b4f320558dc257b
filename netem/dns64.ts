/** DNS64 (RFC 6147) for the lab's own names: what is asked, what is answered. Pure. */
import { type Answer, AUTHORITATIVE_ANSWER, type Packet, type Question } from 'dns-packet'
import { nat64Address } from './ipv6.ts'
import type { LabNames } from './nat64.ts'

/** Names do not change while a testnet runs, but a testnet's life is short. */
const TTL_S = 60
/** DNS response codes (RFC 1035 section 4.1.1), in the low bits of the flags. */
const NAME_ERROR = 3
const REFUSED = 5

/**
 * The answer to a query. `AAAA` of a host without IPv6 is its IPv4 address behind the NAT64 prefix; names outside
 * `<host>.<zone>` are refused, because nothing here knows them.
 */
export function answerOf(query: Packet, zone: string, names: LabNames): Packet {
  const [question] = query.questions ?? []
  const base: Packet = { id: query.id ?? 0, type: 'response', questions: query.questions ?? [] }
  if (question === undefined || !isIn(question.name, zone)) return { ...base, flags: REFUSED }
  const host = names[labelOf(question.name, zone)]
  if (host === undefined) return { ...base, flags: AUTHORITATIVE_ANSWER | NAME_ERROR }
  return { ...base, flags: AUTHORITATIVE_ANSWER, answers: answers(question, host) }
}

function answers({ name, type }: Question, { ipv4, ipv6 }: LabNames[string]): Answer[] {
  if (type === 'A') return ipv4 === null ? [] : [{ name, type, ttl: TTL_S, data: ipv4 }]
  if (type !== 'AAAA') return []
  const data = ipv6 ?? (ipv4 === null ? null : nat64Address(ipv4))
  return data === null ? [] : [{ name, type, ttl: TTL_S, data }]
}

const isIn = (name: string, zone: string): boolean => name.toLowerCase().endsWith(`.${zone}`)

const labelOf = (name: string, zone: string): string => name.toLowerCase().slice(0, -zone.length - 1)
