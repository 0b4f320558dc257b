/**
 * A gateway's messages to a thousand WebSockets of one topic, one at a time and in bursts, against a loop that writes
 * the same bytes to as many bare TCP connections; and the memory of ten thousand sockets that nothing is said on.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Burst, FanOutAnswer, FanOutOrder } from './fan-out-peer.ts'
import type { Bench } from './main.ts'
import { ask, startPeer } from './peers.ts'
import { cpuTimeUs, end, freePort, residentBytes, untilFirstLine } from './processes.ts'
import { median, type Row, row } from './report.ts'
import { byTurns, type Sample } from './rounds.ts'
import { buildRoles } from './storage-node.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SOCKETS = 1_000
const IDLE_SOCKETS = 10_000
const PAYLOAD_BYTES = 120
/** A server's frame of that: two bytes before it. */
const MESSAGE_BYTES = PAYLOAD_BYTES + 2
const ROUNDS = 5
const BUDGET_MS = 40_000
const MIB = 2 ** 20
const KEY = 'bench-key'

const SINGLE = { bursts: 150, messages: 1 }
const BURST = { bursts: 30, messages: 16 }

/** Share of the limit's deliveries a second. */
const FAN_OUT = { target: 0.7, aim: 0.9 }
/** CPU of one delivery in a burst, µs. */
const BURST_CPU = { target: 3, aim: 1.7 }
const IDLE_TARGET_MIB = 500
/** Sockets of which some never read, while more passes than what the kernel keeps for them. */
const SILENT = { sockets: 200, silent: 20, messages: 1_200, payloadBytes: 16 * 1024, targetMib: 64 }
/** A frame of that has four bytes before it. */
const SILENT_MESSAGE_BYTES = SILENT.payloadBytes + 4

async function startGateway(dataDir: string) {
  const port = await freePort()
  const { child } = await untilFirstLine([process.execPath, join(ROOT, 'dist/gateway.js')], {
    ...process.env,
    DATA_DIR: dataDir,
    GATEWAY_ADDR: `127.0.0.1:${port}`,
    GATEWAY_API_KEYS: `${KEY}:bench`,
    GATEWAY_PUBSUB_MAX_NAMESPACE_SOCKETS: String(IDLE_SOCKETS),
    GATEWAY_PUBSUB_MAX_ADDRESS_SOCKETS: String(IDLE_SOCKETS),
    LOG_LEVEL: 'error'
  })
  return { child, port, pid: child.pid as number }
}

const bench: Bench = async say => {
  await buildRoles()
  const folder = await mkdtemp(join(tmpdir(), 'warren-bench-fan-out-'))
  const gateway = await startGateway(folder)
  const limit = startPeer('fan-out-peer.ts')
  const [toGateway, toLimit] = [startPeer('fan-out-peer.ts'), startPeer('fan-out-peer.ts')]
  const tell = (child: ChildProcess, order: FanOutOrder) => ask<FanOutOrder, FanOutAnswer>(child, order)
  try {
    const upgrade = { path: '/v1/pubsub/ws?topic=bench', key: KEY }
    const idleBefore = await residentBytes(gateway.pid)
    await tell(toGateway, { do: 'open', port: gateway.port, count: IDLE_SOCKETS, upgrade })
    const idle = await residentBytes(gateway.pid)
    say(
      `${IDLE_SOCKETS} idle sockets: ${(idle / MIB).toFixed(0)} MiB, before them ${(idleBefore / MIB).toFixed(0)} MiB`
    )

    await tell(toGateway, { do: 'open', port: gateway.port, count: SOCKETS, upgrade })
    const { port = 0 } = await tell(limit, { do: 'serve', messageBytes: MESSAGE_BYTES })
    await tell(toLimit, { do: 'open', port, count: SOCKETS, upgrade: null })
    const way = (
      client: ChildProcess,
      pid: number,
      payloadBytes: number | null,
      { bursts, messages }: typeof SINGLE
    ) => {
      const burst: Burst = { messages, messageBytes: MESSAGE_BYTES, payloadBytes }
      return async (): Promise<Sample> => {
        const before = await cpuTimeUs(pid)
        const { ms = 0 } = await tell(client, { do: 'publish', bursts, burst })
        const deliveries = bursts * messages * SOCKETS
        return { rate: deliveries / (ms / 1000), cpuUs: ((await cpuTimeUs(pid)) - before) / deliveries }
      }
    }
    const samples = await byTurns(
      {
        gateway: way(toGateway, gateway.pid, PAYLOAD_BYTES, SINGLE),
        limit: way(toLimit, limit.pid as number, null, SINGLE),
        'gateway, bursts': way(toGateway, gateway.pid, PAYLOAD_BYTES, BURST),
        'limit, bursts': way(toLimit, limit.pid as number, null, BURST)
      },
      { rounds: ROUNDS, budgetMs: BUDGET_MS, say }
    )
    const { sockets, silent, payloadBytes } = SILENT
    const many = { messages: 1, messageBytes: SILENT_MESSAGE_BYTES, payloadBytes }
    await tell(toGateway, { do: 'open', port: gateway.port, count: sockets, upgrade })
    await tell(toGateway, { do: 'publish', bursts: SILENT.messages, burst: many })
    const reading = await residentBytes(gateway.pid)
    await tell(toGateway, { do: 'open', port: gateway.port, count: sockets, silent, upgrade })
    await tell(toGateway, { do: 'publish', bursts: SILENT.messages, burst: many })
    const growth = Math.max(0, (await residentBytes(gateway.pid)) - reading)
    say(`${silent} of ${sockets} read nothing: ${(growth / MIB).toFixed(1)} MiB more than when all do`)
    const middle = (name: keyof typeof samples, of: keyof Sample) => median(samples[name].map(sample => sample[of]))
    const rows: Row[] = [
      row({
        what: `deliveries to ${SOCKETS} sockets (floor: TCP writes)`,
        value: middle('gateway', 'rate'),
        unit: '/s',
        floor: middle('limit', 'rate'),
        better: 'higher',
        ...FAN_OUT
      }),
      row({
        what: 'CPU of one delivery (floor: TCP writes)',
        value: middle('gateway', 'cpuUs'),
        unit: 'µs',
        floor: middle('limit', 'cpuUs'),
        better: 'lower'
      }),
      row({
        what: `CPU of one delivery, bursts of ${BURST.messages}`,
        value: middle('gateway, bursts', 'cpuUs'),
        unit: 'µs',
        better: 'lower',
        ...BURST_CPU
      }),
      row({
        what: `deliveries in bursts of ${BURST.messages} (floor: TCP writes)`,
        value: middle('gateway, bursts', 'rate'),
        unit: '/s',
        floor: middle('limit, bursts', 'rate'),
        better: 'higher'
      }),
      row({
        what: `memory with ${IDLE_SOCKETS} idle sockets`,
        value: idle / MIB,
        unit: 'MiB',
        better: 'lower',
        target: IDLE_TARGET_MIB
      }),
      row({
        what: `memory that ${silent} of ${sockets} sockets cost by never reading`,
        // Nothing at all would count as not measured.
        value: Math.max(growth / MIB, 0.1),
        unit: 'MiB',
        better: 'lower',
        target: SILENT.targetMib
      }),
      row({ what: 'memory without sockets', value: idleBefore / MIB, unit: 'MiB', better: 'lower' })
    ]
    return rows
  } finally {
    await Promise.all([gateway.child, limit, toGateway, toLimit].map(end))
    await rm(folder, { recursive: true, force: true })
  }
}

export default bench
