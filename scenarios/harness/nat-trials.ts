/** What takes too long or too many hosts to be proved before every scenario: timeouts waited out, two hosts with one port. */
import type { MappingTimeouts, PlannedRouter } from '../../netem/index.ts'
import type { NatRow } from './expect-nats.ts'
import type { Endpoint } from './nat-prober.ts'
import { nodeProgram } from './probe-programs.ts'
import { REFLECTOR_PORTS } from './prove-nats.ts'
import type { Host } from './runtime.ts'

/** A mapping must be open this long before its time is over, and shut this long after, seconds. */
const BEFORE_S = 1
const AFTER_S = 1.5

interface SeenAsConfig {
  localPort: number
  targets: Endpoint[]
  withinMs: number
}

/** As whom one local port is seen by each target, null where there was no answer. */
export interface SeenAs {
  udp: Array<Endpoint | null>
  tcp: Array<Endpoint | null>
}

const SEEN_WITHIN_MS = 3000

/** From one local port ask each target who it sees, one after another; print a SeenAs. */
function askSeenAs({ localPort, targets, withinMs }: SeenAsConfig): void {
  const dgram = process.getBuiltinModule('node:dgram')
  const net = process.getBuiltinModule('node:net')
  const resendEveryMs = 100
  const byUdp = async (): Promise<Array<Endpoint | null>> => {
    const socket = dgram.createSocket('udp4')
    const seen = new Map<number, Endpoint>()
    let heard = Promise.withResolvers<void>()
    socket.on('message', message => {
      const answer = JSON.parse(message.toString()) as { id: number; seen: Endpoint }
      seen.set(answer.id, answer.seen)
      heard.resolve()
    })
    await new Promise<void>(resolve => socket.bind(localPort, () => resolve()))
    for (const [id, [address, port]] of targets.entries()) {
      const late = new Promise<void>(resolve => setTimeout(resolve, withinMs))
      const send = (): void => socket.send(JSON.stringify({ id }), port, address)
      heard = Promise.withResolvers<void>()
      send()
      const timer = setInterval(send, resendEveryMs)
      await Promise.race([heard.promise, late])
      clearInterval(timer)
    }
    return targets.map((_, id) => seen.get(id) ?? null)
  }
  const byTcp = async (): Promise<Array<Endpoint | null>> => {
    const answers: Array<Endpoint | null> = []
    for (const [host, port] of targets) {
      answers.push(
        await new Promise(resolve => {
          const socket = net.connect({ host, port, localPort, localAddress: '0.0.0.0' })
          setTimeout(resolve, withinMs, null)
          socket.on('data', chunk => resolve((JSON.parse(chunk.toString()) as { seen: Endpoint }).seen))
          socket.on('error', () => resolve(null))
        })
      )
    }
    return answers
  }
  const main = async (): Promise<void> => {
    const [udp, tcp] = await Promise.all([byUdp(), byTcp()])
    process.stdout.write(`${JSON.stringify({ udp, tcp })}\n`, () => process.exit(0))
  }
  main()
}

async function result<T>(host: Host, argv: string[], signal: AbortSignal): Promise<T> {
  const { code, stdout, stderr } = await host.exec(argv, { signal })
  if (code !== 0) throw new Error(`the trial in ${host.planned.name} ended with ${code}: ${stderr}`)
  return JSON.parse(stdout) as T
}

/** As whom a local port of a host is seen by every reflector. */
export async function seenAs(
  host: Host,
  localPort: number,
  reflectors: string[],
  signal: AbortSignal
): Promise<SeenAs> {
  const targets = reflectors.map((address): Endpoint => [address, REFLECTOR_PORTS[0]])
  return await result(host, nodeProgram(askSeenAs, { localPort, targets, withinMs: SEEN_WITHIN_MS }), signal)
}

interface OutwaitConfig {
  address: string
  port: number
  timeouts: MappingTimeouts
  beforeS: number
  afterS: number
}

/** Whether an answer came that was put off until just before, or just after, the mapping's time. */
interface Outwaited {
  before: boolean
  after: boolean
}

/** Have answers put off and see which still come in; print an Outwaited for each timeout. */
function outwait({ address, port, timeouts, beforeS, afterS }: OutwaitConfig): void {
  const dgram = process.getBuiltinModule('node:dgram')
  const net = process.getBuiltinModule('node:net')
  const patienceMs = 600
  // Linux takes a UDP flow for a stream when it is answered after 2 s still.
  const streamEveryMs = 750
  const streamRounds = 4
  const wait = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))
  const udp = async (afterMs: number, isStream: boolean): Promise<boolean> => {
    const socket = dgram.createSocket('udp4')
    const heard = new Set<number>()
    socket.on('message', message => heard.add((JSON.parse(message.toString()) as { id: number }).id))
    for (let round = 1; isStream && round <= streamRounds; round++) {
      socket.send(JSON.stringify({ id: round }), port, address)
      await wait(streamEveryMs)
    }
    socket.send(JSON.stringify({ id: 0, afterMs }), port, address)
    await wait(afterMs + patienceMs)
    return heard.has(0)
  }
  const tcp = async (afterMs: number): Promise<boolean> => {
    let text = ''
    const socket = net.connect({ host: address, port })
    socket.on('data', chunk => {
      text += chunk
    })
    socket.on('error', () => undefined)
    await new Promise<void>(resolve => socket.once('data', () => resolve()))
    socket.write(`${JSON.stringify({ id: 0, send: 'nothing', by: 'self', afterMs })}\n`)
    await wait(afterMs + patienceMs)
    return text.includes('"passage"')
  }
  const both = async (seconds: number, act: (afterMs: number) => Promise<boolean>): Promise<Outwaited> => {
    const [before, after] = await Promise.all([act((seconds - beforeS) * 1000), act((seconds + afterS) * 1000)])
    return { before, after }
  }
  const main = async (): Promise<void> => {
    const [udpS, udpStreamS, tcpEstablishedS] = await Promise.all([
      both(timeouts.udpS, afterMs => udp(afterMs, false)),
      both(timeouts.udpStreamS, afterMs => udp(afterMs, true)),
      both(timeouts.tcpEstablishedS, tcp)
    ])
    process.stdout.write(`${JSON.stringify({ udpS, udpStreamS, tcpEstablishedS })}\n`, () => process.exit(0))
  }
  main()
}

/** Wait a NAT's timeouts out for real; they should be a few seconds. */
export async function waitedOut(
  host: Host,
  { kind, behaviour: { timeouts } }: PlannedRouter,
  reflector: string,
  signal: AbortSignal
): Promise<NatRow> {
  const config = { address: reflector, port: REFLECTOR_PORTS[0], timeouts, beforeS: BEFORE_S, afterS: AFTER_S }
  const seen = await result<Record<keyof MappingTimeouts, Outwaited>>(host, nodeProgram(outwait, config), signal)
  const names = { udpS: 'UDP', udpStreamS: 'UDP stream', tcpEstablishedS: 'TCP' } as const
  const text = (of: (name: keyof MappingTimeouts) => Outwaited): string =>
    (Object.keys(names) as Array<keyof MappingTimeouts>)
      .map(name => {
        const { before, after } = of(name)
        const [early, late] = [timeouts[name] - BEFORE_S, timeouts[name] + AFTER_S]
        return `${names[name]} ${before ? 'open' : 'shut'} after ${early} s, ${after ? 'open' : 'shut'} after ${late} s`
      })
      .join('; ')
  const claimed = text(() => ({ before: true, after: false }))
  const observed = text(name => seen[name])
  return { kind: `${kind}, waited out`, claimed, observed, proved: claimed === observed }
}

interface KeeperConfig {
  address: string
  ports: [number, number]
  /** For so long an inner endpoint only answers, milliseconds. */
  answeringMs: number
}

/** Whether a mapping is still open after a time in which its endpoint only answered a flow from outside; print { open }. */
function keepByAnswers({ address, ports, answeringMs }: KeeperConfig): void {
  const dgram = process.getBuiltinModule('node:dgram')
  const net = process.getBuiltinModule('node:net')
  const everyMs = 700
  const patienceMs = 400
  const wait = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))
  const main = async (): Promise<void> => {
    const socket = dgram.createSocket('udp4')
    const tokens = new Set<string>()
    const mapped = Promise.withResolvers<Endpoint>()
    socket.on('message', (message, from) => {
      const said = JSON.parse(message.toString()) as { seen?: Endpoint; token?: string }
      if (said.token === 'from outside') socket.send(JSON.stringify({ id: 0, mute: true }), from.port, from.address)
      if (said.token !== undefined) tokens.add(said.token)
      else if (said.seen !== undefined) mapped.resolve(said.seen)
    })
    const orders = net.connect({ host: address, port: ports[0] })
    orders.on('data', () => undefined)
    socket.send(JSON.stringify({ id: 0 }), ports[0], address)
    const to = await mapped.promise
    const order = (by: 'self' | 'peer', token: string): void =>
      void orders.write(`${JSON.stringify({ id: 0, send: 'udp', to, by, token, withinMs: 0 })}\n`)
    const end = performance.now() + answeringMs
    while (performance.now() < end) {
      order('peer', 'from outside')
      await wait(everyMs)
    }
    order('self', 'from a stranger')
    await wait(patienceMs)
    const open = tokens.has('from a stranger')
    process.stdout.write(`${JSON.stringify({ open, answered: tokens.has('from outside') })}\n`, () => process.exit(0))
  }
  main()
}

/** The same for a mapping that is kept by answers alone: a stranger still gets in after its time. */
export async function keptByAnswers(
  host: Host,
  { kind, behaviour: { timeouts } }: PlannedRouter,
  reflector: string,
  signal: AbortSignal
): Promise<NatRow> {
  const answeringS = timeouts.udpStreamS + AFTER_S
  const [one, other] = REFLECTOR_PORTS
  const config = { address: reflector, ports: [one, other] as [number, number], answeringMs: answeringS * 1000 }
  const { open, answered } = await result<{ open: boolean; answered: boolean }>(
    host,
    nodeProgram(keepByAnswers, config),
    signal
  )
  const claimed = `open to a stranger after ${answeringS} s of answers alone`
  const observed = open && answered ? claimed : answered ? 'shut' : 'nothing from outside came in'
  return { kind: `${kind}, kept by answers`, claimed, observed, proved: claimed === observed }
}
