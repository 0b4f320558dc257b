/** Who is on a topic (D69): sockets that named a member, at this gateway and at others, each said again from time to time. */
import { z } from 'zod'
import { LEFT_KEPT_MS, MEMBER_ID_MAX_CHARS, MEMBERS_MAX, STATE_MEMBERS_MAX } from './limits.ts'

export const memberSchema = z.object({
  member_id: z.string().min(1).max(MEMBER_ID_MAX_CHARS),
  /** Seconds since the epoch, as the seed has it. */
  joined_at: z.int().min(0),
  meta: z.record(z.string(), z.unknown()).optional()
})

/** As it is answered and gossiped. */
export type Member = z.infer<typeof memberSchema>

/**
 * What gateways tell each other of it. `asks`: who hears it says its own, and again what the asker has not got: of the
 * publishers in `have` what is newer than that, of others what is newer than `since`, ms since the epoch.
 */
const stateSchema = z.object({
  members: z.array(memberSchema).max(STATE_MEMBERS_MAX),
  asks: z.object({ since: z.number(), have: z.record(z.string().max(16), z.int().min(0)) }).nullable()
})

export type State = z.infer<typeof stateSchema>

export const readState = (body: Buffer) => read(stateSchema, body)
export const readMember = (body: Buffer) => read(memberSchema, body)
export const readMemberId = (body: Buffer) => read(memberSchema.pick({ member_id: true }), body)?.member_id ?? null

/** null: it is none. */
function read<T>(schema: z.ZodType<T>, body: Buffer): T | null {
  try {
    return schema.parse(JSON.parse(body.toString('utf8')))
  } catch {
    return null
  }
}

/** What sockets are told, as the seed has it; `timestamp` in seconds. */
export interface PresenceEvent {
  type: 'presence.join' | 'presence.leave'
  member_id: string
  timestamp: number
  meta?: Member['meta']
}

export interface Presence {
  /** A socket of ours joins or leaves. Answers whether the gateway's part in it has changed. */
  join: (member: Member) => boolean
  leave: (memberId: string) => boolean
  /** Another gateway says that it is there. What it said before `stamp`, its own count upwards, is passed over: gossip comes
   * in any order, and anybody can say it again. */
  heard: (gateway: string, member: Member, stamp: number) => void
  gone: (gateway: string, memberId: string, stamp: number) => void
  /** Forgets what other gateways have not said again since then, ms of performance.now(). */
  expire: (sinceMs: number) => void
  all: () => Member[]
  /** Those that are here by sockets of ours. */
  ours: () => Member[]
  isFull: () => boolean
}

const OURS = ''

interface Entry {
  member: Member
  /** By gateway, `OURS` for this one: its sockets, and when it last said so, by our clock and by its own count. */
  readonly at: Map<string, { sockets: number; saidMs: number; stamp: number }>
}

/** @param changed told when a member comes, or is nowhere any more */
export function createPresence(changed: (event: PresenceEvent) => void): Presence {
  const entries = new Map<string, Entry>()
  /** By gateway and member, when it was last said of one that is not there any more; the longest gone first. */
  const left = new Map<string, { stamp: number; sinceMs: number }>()
  const nameOf = (gateway: string, memberId: string) => `${gateway} ${memberId}`

  function rememberLeft(gateway: string, memberId: string, stamp: number): void {
    const name = nameOf(gateway, memberId)
    const known = left.get(name)?.stamp ?? stamp
    left.delete(name)
    left.set(name, { stamp: Math.max(known, stamp), sinceMs: performance.now() })
    if (left.size > MEMBERS_MAX) left.delete(left.keys().next().value as string)
  }

  function add(gateway: string, member: Member, sockets: (before: number) => number, stamp = 0): boolean {
    const known = entries.get(member.member_id)
    if (known === undefined && entries.size >= MEMBERS_MAX) return false
    const entry: Entry = known ?? { member, at: new Map() }
    const before = entry.at.get(gateway)
    entry.at.set(gateway, { sockets: sockets(before?.sockets ?? 0), saidMs: performance.now(), stamp })
    if (known === undefined) {
      entries.set(member.member_id, entry)
      const { member_id, joined_at, meta } = member
      changed({ type: 'presence.join', member_id, timestamp: joined_at, ...(meta === undefined ? {} : { meta }) })
    }
    return before === undefined
  }

  function remove(gateway: string, memberId: string): void {
    const entry = entries.get(memberId)
    if (entry === undefined || !entry.at.delete(gateway) || entry.at.size > 0) return
    entries.delete(memberId)
    changed({ type: 'presence.leave', member_id: memberId, timestamp: Math.floor(Date.now() / 1000) })
  }

  return {
    join: member => add(OURS, member, before => before + 1),
    leave(memberId) {
      const own = entries.get(memberId)?.at.get(OURS)
      if (own === undefined) return false
      own.sockets -= 1
      if (own.sockets > 0) return false
      remove(OURS, memberId)
      return true
    },
    heard(gateway, member, stamp) {
      const name = nameOf(gateway, member.member_id)
      const last = entries.get(member.member_id)?.at.get(gateway) ?? left.get(name)
      if (last !== undefined && stamp <= last.stamp) return
      left.delete(name)
      add(gateway, member, () => 1, stamp)
    },
    gone(gateway, memberId, stamp) {
      const last = entries.get(memberId)?.at.get(gateway)
      if (last !== undefined && stamp < last.stamp) return
      rememberLeft(gateway, memberId, stamp)
      remove(gateway, memberId)
    },
    expire(sinceMs) {
      for (const [memberId, { at }] of entries) {
        for (const [gateway, { saidMs, stamp }] of at) {
          if (gateway === OURS || saidMs >= sinceMs) continue
          rememberLeft(gateway, memberId, stamp)
          remove(gateway, memberId)
        }
      }
      const keptMs = performance.now() - LEFT_KEPT_MS
      for (const [name, { sinceMs: goneMs }] of left) {
        if (goneMs >= keptMs) break
        left.delete(name)
      }
    },
    all: () => [...entries.values()].map(({ member }) => member),
    ours: () => [...entries.values()].flatMap(({ member, at }) => (at.has(OURS) ? [member] : [])),
    isFull: () => entries.size >= MEMBERS_MAX
  }
}
