/**
 * A relay with its default limits, an attacker for so many seconds, and honest peers that go on meanwhile.
 *
 *     node relay/flood.ts --seconds 60
 *
 * Ends with 1 where fewer than 99 % of the honest were answered, or memory did not come back to within 64 MiB.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Connection } from '@libp2p/interface'
import { eventually, type RelayPeer, sendOver, startRelayPeer } from './testing.ts'

export interface FloodReport {
  seconds: number
  /** What the attacker tried. */
  attempts: Record<string, number>
  probes: { asked: number; answered: number; failures: Record<string, number>; p99Ms: number }
  /** MiB of the relay's resident memory. `after`: the least that was seen within the wait. */
  memoryMib: { before: number; peak: number; after: number }
  /** Metrics of refusals, by name and reason, those above 0. */
  refused: Record<string, number>
}

const MIB = 1024 * 1024
const KIB = 1024
const ATTACKER_ADDRESSES = 32
const PROBE_EVERY_MS = 50
const PROBE_TIMEOUT_MS = 5000
const PROBE_BYTES = 1000
/** Below the block of an address that connects too often, with some to spare. */
const NEWCOMER_EVERY_MS = 6000
/** What is worth waiting for until memory is back. */
const CALM_WITHIN_MS = 15_000
const CALM_MIB = 64
const LEAST_ANSWERED = 0.99

/** What of its promises a relay did not keep under a flood; empty when it kept all. */
export function broken({ probes, memoryMib }: FloodReport): string[] {
  const grownMib = memoryMib.after - memoryMib.before
  return [
    ...(probes.answered >= LEAST_ANSWERED * probes.asked ? [] : [`answered ${probes.answered} of ${probes.asked}`]),
    ...(grownMib < CALM_MIB ? [] : [`grew by ${grownMib} MiB, ${CALM_MIB} are allowed`])
  ]
}

/** @param options.log told of the probes' failures */
export async function flood(options: { seconds: number; log?: (text: string) => void }): Promise<FloodReport> {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-flood-'))
  const relay = start('main.ts', [], {
    DATA_DIR: dataDir,
    PORT: '0',
    RELAY_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0',
    P2P_REFLECTOR_PORTS: '',
    LOG_LEVEL: 'info'
  })
  const peers: RelayPeer[] = []
  try {
    const port = portOf(relay)
    const { addresses } = (await line(relay)) as { addresses: [string] }
    const http = `http://127.0.0.1:${await port}`
    const target = await startRelayPeer(addresses[0])
    const source = await startRelayPeer(addresses[0], { role: 'client' })
    peers.push(target, source)
    await eventually(target.reserved, 'the honest peer reserved')
    const probe = createProbe({ http, address: addresses[0], target, source, log: options.log ?? (() => undefined) })
    await probe.warm()
    const before = await residentMib(relay)

    const attacker = start('flood-attacker.ts', [addresses[0], String(ATTACKER_ADDRESSES), String(options.seconds)])
    const report = line(attacker) as Promise<Record<string, number>>
    let isOver = false
    let peak = before
    const over = report.finally(() => {
      isOver = true
    })
    over.catch(() => undefined)
    await probe.until(
      () => isOver,
      async () => {
        peak = Math.max(peak, await residentMib(relay))
      }
    )
    const attempts = await over
    attacker.kill('SIGKILL')

    let after = await residentMib(relay)
    const calmMs = performance.now() + CALM_WITHIN_MS
    while (after - before >= CALM_MIB && performance.now() < calmMs) {
      await new Promise(resolve => setTimeout(resolve, 200))
      after = Math.min(after, await residentMib(relay))
    }
    return {
      seconds: options.seconds,
      attempts,
      probes: probe.result(),
      memoryMib: { before: Math.round(before), peak: Math.round(peak), after: Math.round(after) },
      refused: await refusals(http)
    }
  } finally {
    await Promise.allSettled(peers.map(each => each[Symbol.asyncDispose]()))
    relay.kill('SIGKILL')
    await rm(dataDir, { recursive: true, force: true })
  }
}

/** Honest use, one after another: a health question, bytes over a circuit, and now and then a newcomer's connection. */
function createProbe(parts: {
  http: string
  address: string
  target: RelayPeer
  source: RelayPeer
  log: (text: string) => void
}) {
  const { http, address, target, source, log } = parts
  const failures: Record<string, number> = {}
  const tookMs: number[] = []
  let asked = 0
  let circuit: Connection | undefined

  async function health(): Promise<void> {
    const response = await fetch(`${http}/health`, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) })
    if (!response.ok) throw new Error(`answered ${response.status}`)
    await response.json()
  }
  async function relayed(): Promise<void> {
    // The relay cuts a circuit after two minutes or 10 MB, also an honest one.
    if (circuit?.status !== 'open') circuit = await within(source.circuitTo(target.peerId))
    await within(sendOver(circuit, PROBE_BYTES))
  }
  async function newcomer(): Promise<void> {
    const peer = await startRelayPeer(address)
    try {
      await eventually(peer.reserved, 'the newcomer reserved', PROBE_TIMEOUT_MS)
    } finally {
      await peer[Symbol.asyncDispose]()
    }
  }
  async function ask(kind: string, run: () => Promise<void>): Promise<void> {
    asked++
    const beganMs = performance.now()
    try {
      await run()
      tookMs.push(performance.now() - beganMs)
    } catch (error) {
      failures[kind] = (failures[kind] ?? 0) + 1
      log(`${kind}: ${(error as Error).message}`)
    }
  }

  return {
    async warm() {
      for (let i = 0; i < 20; i++) {
        await health()
        await relayed()
      }
      await newcomer()
    },
    async until(isOver: () => boolean, between: () => Promise<void>) {
      let newcomerAtMs = performance.now()
      while (!isOver()) {
        await ask('health', health)
        await ask('relayed', relayed)
        if (performance.now() - newcomerAtMs >= NEWCOMER_EVERY_MS) {
          newcomerAtMs = performance.now()
          await ask('newcomer', newcomer)
        }
        await between()
        await new Promise(resolve => setTimeout(resolve, PROBE_EVERY_MS))
      }
    },
    result() {
      const sorted = tookMs.toSorted((a, b) => a - b)
      const p99Ms = Math.round(sorted[Math.floor(sorted.length * 0.99)] ?? 0)
      return { asked, answered: tookMs.length, failures, p99Ms }
    }
  }
}

async function within<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${PROBE_TIMEOUT_MS} ms`)), PROBE_TIMEOUT_MS)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

function start(program: string, args: string[], env: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [fileURLToPath(new URL(program, import.meta.url)), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, ...env }
  })
}

async function line(child: ChildProcess): Promise<unknown> {
  const [text] = await once(createInterface({ input: child.stdout! }), 'line')
  return JSON.parse(text as string)
}

/** The HTTP port, which the relay's log tells. */
async function portOf(relay: ChildProcess): Promise<number> {
  for await (const text of createInterface({ input: relay.stderr! })) {
    const { msg, port } = JSON.parse(text) as { msg: string; port?: number }
    if (msg === 'relay ready' && port !== undefined) {
      relay.stderr!.resume()
      return port
    }
  }
  throw new Error('the relay ended before it was ready')
}

async function residentMib(child: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${child.pid}/status`, 'utf8')
  return (Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * KIB) / MIB
}

async function refusals(http: string): Promise<Record<string, number>> {
  const text = await (await fetch(`${http}/metrics`)).text()
  const rows = text.matchAll(/^warren_relay_(\w+)_total\{reason="([^"]+)",role="relay"\} (\d+)$/gm)
  return Object.fromEntries(
    [...rows].flatMap(([, name, reason, value]) => (value === '0' ? [] : [[`${name} ${reason}`, Number(value)]]))
  )
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } })
  const report = await flood({ seconds: Number(values.seconds), log: text => process.stderr.write(`${text}\n`) })
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`)
  const faults = broken(report)
  for (const fault of faults) process.stderr.write(`${fault}\n`)
  process.exit(faults.length > 0 ? 1 : 0)
}
