/**
 * Throughput and processor time of one stream between two processes on loopback, over the packages' own transports
 * and over ours: plain and punched. All in turns in one run; ours is judged against the package's own.
 */
import type { ChildProcess } from 'node:child_process'
import { access } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Bench } from './main.ts'
import { ask as askPeer, startPeer } from './peers.ts'
import { median, type Row, row } from './report.ts'
import type { Answer, Kind, Order } from './transports-peer.ts'

const ROUNDS = 7
const BYTES = 48 * 1024 * 1024
const MB = 1e6
const GB = 1e9
const TCP = fileURLToPath(new URL('../node/net/punching/tcp.ts', import.meta.url))

/** Plain connections at the package's own speed, less what a shared machine blurs. */
const PLAIN_TARGET = 0.9
const PUNCHED = { target: 0.6, aim: 0.8 }

interface Measured {
  mbPerS: number
  cpuPerGb: number
}

interface Pair {
  client: ChildProcess
  server: ChildProcess
  measured: Measured[]
}

const ask = (child: ChildProcess, order: Order): Promise<Answer> => askPeer(child, order)

async function connect(kind: Kind): Promise<Pair> {
  const [client, server] = [startPeer('transports-peer.ts'), startPeer('transports-peer.ts')]
  const [own, far] = await Promise.all([
    ask(client, { do: 'start', kind, listens: false }),
    ask(server, { do: 'start', kind, listens: true })
  ])
  if (kind === 'quic-punched') {
    await Promise.all([
      ask(client, { do: 'punch', address: far.address!, initiator: true }),
      ask(server, { do: 'punch', address: own.address!, initiator: false })
    ])
  } else await ask(client, { do: 'dial', address: far.address! })
  // Once unmeasured: code is compiled and the windows are open.
  await ask(client, { do: 'pour', bytes: BYTES / 4 })
  return { client, server, measured: [] }
}

async function measure({ client, server, measured }: Pair): Promise<Measured> {
  await Promise.all([client, server].map(child => ask(child, { do: 'cpu' })))
  const { ms } = await ask(client, { do: 'pour', bytes: BYTES })
  const cpus = await Promise.all([client, server].map(child => ask(child, { do: 'cpu' })))
  const cpuS = cpus.reduce((sum, answer) => sum + answer.cpuS!, 0)
  const seen = { mbPerS: BYTES / MB / (ms! / 1000), cpuPerGb: cpuS / (BYTES / GB) }
  measured.push(seen)
  return seen
}

const bench: Bench = async say => {
  const hasTcp = await access(TCP).then(
    () => true,
    () => false
  )
  const kinds: Kind[] = ['quic-native', 'quic-plain', 'quic-to-shared', 'quic-punched', 'tcp-native']
  if (hasTcp) kinds.push('tcp-punching')
  const pairs = new Map<Kind, Pair>()
  try {
    for (const kind of kinds) pairs.set(kind, await connect(kind))
    for (let round = 0; round < ROUNDS; round++) {
      const seen: string[] = []
      for (const kind of kinds) seen.push(`${kind} ${(await measure(pairs.get(kind)!)).mbPerS.toFixed(0)}`)
      say(`MB/s: ${seen.join(', ')}`)
    }
  } finally {
    for (const { client, server } of pairs.values()) for (const child of [client, server]) child.kill('SIGKILL')
  }

  const of = (kind: Kind, key: keyof Measured): number => median(pairs.get(kind)!.measured.map(seen => seen[key]))
  const rows: Row[] = []
  const compare = (what: string, kind: Kind, floor: Kind, gate: { target?: number; aim?: number }) => {
    const value = of(kind, 'mbPerS')
    rows.push(row({ what, value, unit: 'MB/s', floor: of(floor, 'mbPerS'), better: 'higher', ...gate }))
    const cpuFloor = of(floor, 'cpuPerGb')
    rows.push(
      row({ what: `${what}, CPU`, value: of(kind, 'cpuPerGb'), unit: 's/GB', floor: cpuFloor, better: 'lower' })
    )
  }
  compare('QUIC, plain dial', 'quic-plain', 'quic-native', { target: PLAIN_TARGET })
  compare('QUIC, plain dial to a shared port', 'quic-to-shared', 'quic-native', {})
  compare('QUIC, punched', 'quic-punched', 'quic-native', PUNCHED)
  if (hasTcp) compare('TCP, punching transport', 'tcp-punching', 'tcp-native', { target: PLAIN_TARGET })
  compare('TCP of the package', 'tcp-native', 'quic-native', {})
  return rows
}

export default bench
