/** Wait until every host does its work: its `/ready` answers 200. */
import { setTimeout as delay } from 'node:timers/promises'
import { HostDiedError, NotReadyError } from './errors.ts'
import type { Host, Progress, Testnet } from './runtime.ts'

/** Between two looks at one host. */
const LOOK_EVERY_MS = 200
/** Looks at one time: the hosts need the cores more than we do. */
const LOOKS_AT_ONCE = 8
const ANSWER_TIMEOUT_MS = 5000
/** A small testnet's share, and each host's: two cores start 100 nodes. */
const BASE_TIMEOUT_MS = 120_000
const HOST_TIMEOUT_MS = 3000
/** How often those that keep us waiting are named. */
const NEWS_EVERY_MS = 15_000
const NAMED_AT_MOST = 5

/** What one `/ready` said: null is ready, else what it waits for. */
export async function readiness(host: Pick<Host, 'control'>, signal?: AbortSignal): Promise<string[] | null> {
  const timeout = AbortSignal.timeout(ANSWER_TIMEOUT_MS)
  try {
    const response = await fetch(`${host.control}/ready`, {
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout])
    })
    const body = (await response.json()) as { waiting?: unknown }
    if (response.ok) return null
    return Array.isArray(body.waiting) && body.waiting.length > 0
      ? body.waiting.map(String)
      : [`/ready answers ${response.status}`]
  } catch (error) {
    signal?.throwIfAborted()
    const cause = (error as { cause?: { code?: string } }).cause?.code
    return [`its HTTP server does not answer${cause === undefined ? '' : ` (${cause})`}`]
  }
}

/**
 * Resolves when all are ready.
 * @throws NotReadyError with what each waits for; HostDiedError when one ended meanwhile
 */
export async function waitReady(
  testnet: Testnet,
  options: { progress: Progress; signal: AbortSignal; withinMs?: number }
): Promise<void> {
  const { progress } = options
  const failed = new AbortController()
  const signal = AbortSignal.any([options.signal, failed.signal])
  const hosts = testnet.hosts()
  const withinMs = options.withinMs ?? BASE_TIMEOUT_MS + hosts.length * HOST_TIMEOUT_MS
  const deadline = performance.now() + withinMs
  const waiting = new Map<string, string[]>(hosts.map(host => [host.planned.name, ['nothing heard yet']]))
  const ended = progress.stage(`Wait until ${hosts.length} hosts are ready`)
  let news = performance.now() + NEWS_EVERY_MS
  const queue = [...hosts]
  const look = async (): Promise<void> => {
    for (let host = queue.shift(); host !== undefined; host = queue.shift()) {
      const reasons = await readiness(host, signal)
      if (reasons === null) {
        waiting.delete(host.planned.name)
        continue
      }
      waiting.set(host.planned.name, reasons)
      if (performance.now() > deadline) throw new NotReadyError(sentences(waiting), withinMs)
      if (performance.now() > news) {
        news = performance.now() + NEWS_EVERY_MS
        await refuseTheDead(testnet)
        progress.note(`still waiting: ${sentences(waiting).slice(0, NAMED_AT_MOST).join('; ')}`)
      }
      queue.push(host)
      await delay(LOOK_EVERY_MS, undefined, { signal })
    }
  }
  try {
    await Promise.all(Array.from({ length: LOOKS_AT_ONCE }, look))
  } catch (error) {
    // The other looks end too: what they look at is about to be removed.
    failed.abort()
    throw error
  }
  ended()
}

function sentences(waiting: Map<string, string[]>): string[] {
  return [...waiting].map(([name, reasons]) => `${name}: ${reasons.join(', ')}`)
}

async function refuseTheDead(testnet: Testnet): Promise<void> {
  const { hosts } = await testnet.status()
  for (const [name, { state, deaths }] of Object.entries(hosts)) {
    if (state === 'dead') {
      const log = await testnet.host(name).logs()
      throw new HostDiedError(
        name,
        deaths.at(-1) ?? 'it ended',
        `logs/${name}.log`,
        log.trimEnd().split('\n').slice(-12).join('\n')
      )
    }
  }
}
