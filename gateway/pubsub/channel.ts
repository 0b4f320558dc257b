/**
 * One topic as this gateway has it: its sockets, what they are told, the order of other gateways' messages, who is
 * there.
 */
import type { Gossip } from '../../node/index.ts'
import type { Channel, ChannelCounters, TopicName } from './channel.types.ts'
import { createFanOut } from './fan-out.ts'
import { jsonFrame } from './frames.ts'
import {
  ASK_AGAIN_MS,
  ASKS_MAX,
  MEMBER_SILENCE_MAX_MS,
  ORDER_BEGIN_WAIT_MS,
  ORDER_FIRST_WAIT_MS,
  ORDER_HELD_MAX_MESSAGES,
  ORDER_PUBLISHERS_MAX,
  ORDER_WAIT_MS,
  SEALED_MAX_AGE_MS,
  SETTLE_MS,
  STATE_DEBOUNCE_MS,
  STATE_INTERVAL_MS,
  STATE_MEMBERS_MAX,
  TOPIC_LINGER_MS
} from './limits.ts'
import { createMessage, type Message } from './message.ts'
import { createOrder, type OrderLimits } from './order.ts'
import type { Outbox } from './outbox.ts'
import { createPresence, readMember, readMemberId, readState, type State } from './presence.ts'
import { createReplay, type ReplayBudget } from './replay.ts'
import { gapFrame, type Subscriber } from './subscriber.ts'
import { KIND, newPublisher, type Told, type Wire } from './wire.ts'

export interface ChannelOptions {
  name: TopicName
  /** null: this gateway is alone. */
  network: { gossip: Gossip; wire: Wire; outbox: Outbox } | null
  /** Of the gateway, and of the namespace. */
  budgets: ReplayBudget[]
  /** Runs it once before the event loop's next turn. */
  thisTurn: (work: () => void) => void
  counters: ChannelCounters
  orderLimits?: Partial<OrderLimits> | undefined
  /** How long it is kept although nobody uses it, ms. */
  lingerMs?: number | undefined
}

export function createChannel(options: ChannelOptions): Channel {
  const { name, network, budgets, thisTurn, counters, orderLimits, lingerMs = TOPIC_LINGER_MS } = options
  const publisher = newPublisher()
  const replay = createReplay(...budgets)
  const subscribers = createFanOut({ thisTurn, delivered: counters.delivered })
  const held = new Set<Subscriber>()
  let seq = 0
  let beganAt = 0
  let usedMs = performance.now()
  /** ms since the epoch; null: nobody here wants to know what others publish. */
  let listeningSince: number | null = null
  let settled: Promise<void> = Promise.resolve()
  let settle = () => {}
  let announcing: NodeJS.Timeout | undefined
  /** How often others are still to be asked for what they know; none once somebody has answered. */
  let asksLeft = 0
  let askingAgain: NodeJS.Timeout | undefined
  /** The first of our messages that somebody has not got. */
  let repeatFrom = Number.POSITIVE_INFINITY
  let announcedMs = performance.now()
  let stampedMs = 0

  /** The time, but always later than the last: by it others know what we said of members last. */
  function stamp(): number {
    const now = Date.now()
    // A clock that was set far back is believed: by others what is from their future is not.
    stampedMs = stampedMs - now > SEALED_MAX_AGE_MS ? now : Math.max(now, stampedMs + 1)
    return stampedMs
  }

  function deliver(message: Message): void {
    replay.add(message)
    subscribers.tell({ message }, message.data.byteLength)
  }

  const order = createOrder<Message>({
    limits: {
      waitMs: ORDER_WAIT_MS,
      beginWaitMs: ORDER_BEGIN_WAIT_MS,
      firstWaitMs: ORDER_FIRST_WAIT_MS,
      heldMax: ORDER_HELD_MAX_MESSAGES,
      publishersMax: ORDER_PUBLISHERS_MAX,
      ...orderLimits
    },
    deliver(message) {
      counters.message('network')
      deliver(message)
    },
    hole: () => ask(1),
    gap(from, first, last) {
      counters.missed(last - first + 1)
      tellAll(gapFrame(name.topic, { publisher: from, from: first, to: last }))
    },
    duplicate: () => counters.dropped('duplicate', 1)
  })

  function tellAll(control: Buffer): void {
    subscribers.tell({ control }, control.byteLength)
  }

  const presence = createPresence(event => tellAll(jsonFrame({ topic: name.topic, ...event })))

  /** To other gateways. What is said so is said again in time: where there is no room for it, it is left out. */
  function say(kind: number, body: Buffer, of: { seq: number; timestamp: number } = { seq, timestamp: stamp() }): void {
    const release = network?.outbox.tryTake(name.namespace) ?? null
    if (release !== null) gossip({ kind, body, ...of }, release).catch(() => undefined)
  }

  async function gossip(told: Pick<Told, 'kind' | 'body' | 'seq' | 'timestamp'>, release: () => void): Promise<void> {
    try {
      await network?.gossip.publish(name.inner, network.wire.seal(name, { ...told, publisher, beganAt }))
    } finally {
      release()
    }
  }

  /** Who of ours is here, and how far we have published; and, to ask, what we have of others. */
  function announce(asks: boolean): void {
    announcedMs = performance.now()
    const members = presence.ours()
    if (members.length === 0 && seq === 0 && !asks) return
    for (let at = 0; at === 0 || at < members.length; at += STATE_MEMBERS_MAX) {
      const question = { since: listeningSince ?? 0, have: Object.fromEntries(order.lasts()) }
      const state: State = {
        members: members.slice(at, at + STATE_MEMBERS_MAX),
        asks: asks && at === 0 ? question : null
      }
      say(KIND.state, Buffer.from(JSON.stringify(state)))
    }
  }

  function announceSoon(): void {
    announcing ??= setTimeout(() => {
      announcing = undefined
      const asks = asksLeft > 0
      asksLeft -= asks ? 1 : 0
      announce(asks)
      repeat()
      // Gossip may have lost the question, or the answer: who is there answers.
      if (asksLeft > 0) askingAgain ??= setTimeout(askAgain, ASK_AGAIN_MS).unref()
    }, STATE_DEBOUNCE_MS).unref()
  }

  function ask(times: number): void {
    if (listeningSince !== null) asksLeft = Math.max(asksLeft, times)
    announceSoon()
  }

  function askAgain(): void {
    askingAgain = undefined
    if (asksLeft > 0) announceSoon()
  }

  /** Another gateway tells what it has of ours: what it has not, and we still have, is said again. */
  function asked({ since, have }: NonNullable<State['asks']>): void {
    const last = have[publisher]
    const isWanted = (message: Message) => (last === undefined ? message.timestamp >= since : message.seq > last)
    const first = replay.of(publisher).find(isWanted)
    if (first !== undefined) repeatFrom = Math.min(repeatFrom, first.seq)
    announceSoon()
  }

  function repeat(): void {
    for (const message of replay.of(publisher)) {
      if (message.seq >= repeatFrom) say(KIND.message, message.data, message)
    }
    repeatFrom = Number.POSITIVE_INFINITY
  }

  /** From now on what others publish is for somebody here. */
  function listen(): void {
    if (network === null || listeningSince !== null) return
    listeningSince = Date.now()
    settled = new Promise(resolve => {
      settle = resolve
      setTimeout(resolve, SETTLE_MS).unref()
    })
    network.gossip.subscribe(name.inner, receive)
    if (network.gossip.listeners(name.inner).length > 0) ask(ASKS_MAX)
  }

  function receive(sealed: Uint8Array): boolean {
    const told = network?.wire.open(name, sealed) ?? null
    if (told === null) {
      counters.dropped('foreign', 1)
      return false
    }
    if (Math.abs(Date.now() - told.timestamp) > SEALED_MAX_AGE_MS) {
      counters.dropped('stale', 1)
      return false
    }
    if (told.publisher !== publisher) take(told)
    return true
  }

  function take(told: Told): void {
    const missedFrom1 = told.beganAt > 0 && listeningSince !== null && told.beganAt >= listeningSince
    if (told.kind === KIND.message) {
      order.take(createMessage({ ...told, topic: name.topic, data: told.body }), missedFrom1)
      return
    }
    if (told.seq > 0) order.head(told.publisher, told.seq, missedFrom1)
    if (told.kind === KIND.state) {
      const state = readState(told.body)
      for (const member of state?.members ?? []) presence.heard(told.publisher, member, told.timestamp)
      if (state?.asks) asked(state.asks)
      else asksLeft = 0
      settle()
    } else if (told.kind === KIND.join) {
      const member = readMember(told.body)
      if (member !== null) presence.heard(told.publisher, member, told.timestamp)
    } else if (told.kind === KIND.leave) {
      const memberId = readMemberId(told.body)
      if (memberId !== null) presence.gone(told.publisher, memberId, told.timestamp)
    }
  }

  const lastOf = (whose: string) => (whose === publisher ? seq : order.lastOf(whose))

  return {
    name,
    publish(data) {
      const release = network === null ? null : network.outbox.take(name.namespace)
      const timestamp = Date.now()
      usedMs = performance.now()
      if (seq === 0) beganAt = timestamp
      seq += 1
      counters.message('here')
      const message = createMessage({ topic: name.topic, publisher, seq, timestamp, data })
      deliver(message)
      const told = { kind: KIND.message, seq, timestamp, body: message.data }
      const sent = release === null ? Promise.resolve() : gossip(told, release)
      return { publisher, seq, sent }
    },
    join(subscriber, { held: isHeld }) {
      listen()
      if (isHeld) held.add(subscriber)
      else subscribers.add(subscriber)
    },
    resume(subscriber, cursor, sinceMs) {
      if (!held.delete(subscriber)) return false
      const { gaps, messages } = replay.after(cursor, sinceMs, lastOf)
      subscriber.replay(gaps, messages)
      subscribers.add(subscriber)
      return true
    },
    isHeld: subscriber => held.has(subscriber),
    leave(subscriber) {
      subscribers.delete(subscriber)
      held.delete(subscriber)
      usedMs = performance.now()
    },
    subscribers: () => subscribers.size() + held.size,
    joinPresence(member) {
      if (!presence.join(member)) return
      say(KIND.join, Buffer.from(JSON.stringify(member)))
    },
    leavePresence(memberId) {
      if (presence.leave(memberId)) say(KIND.leave, Buffer.from(JSON.stringify({ member_id: memberId })))
    },
    presenceIsFull: presence.isFull,
    async members() {
      usedMs = performance.now()
      listen()
      await settled
      return presence.all()
    },
    heardOf: () => ask(ASKS_MAX),
    sweep() {
      const now = performance.now()
      replay.expire()
      presence.expire(now - MEMBER_SILENCE_MAX_MS)
      const isInUse = now - usedMs < 2 * STATE_INTERVAL_MS || presence.ours().length > 0
      if (isInUse && now - announcedMs >= STATE_INTERVAL_MS) announce(false)
      return subscribers.size() + held.size > 0 || now - usedMs < lingerMs
    },
    close() {
      clearTimeout(announcing)
      clearTimeout(askingAgain)
      order.close()
      replay.clear()
      if (listeningSince !== null) network?.gossip.unsubscribe(name.inner)
    }
  }
}
