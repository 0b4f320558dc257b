/** What a shaped link costs on netns: delay beyond what was asked, packets a second, TCP; against the same line unshaped. */
import { fileURLToPath } from 'node:url'
import { type Link, linkProbeArgv, type StreamAsk, type StreamSeen, type Topology } from '../netem/index.ts'
import {
  bringUp,
  type Host,
  nodeProgram,
  pourTcp,
  removeRun,
  silentProgress,
  sinkTcp,
  type TcpResult,
  type Testnet
} from '../scenarios/index.ts'
import { SEED } from './lab.ts'
import type { Bench } from './main.ts'
import { wallMs } from './processes.ts'
import { median, type Row, row } from './report.ts'

const REPETITIONS = 5
const RUN_FOR_MS = 600_000
const PROBE_PORT = 46_051
const SINK_PORT = 46_052
const ROUTER = 'home-nat'
const DELAY_MS = 5
const SHAPED: Link = { up: { delayMs: DELAY_MS } }
/** Few packets, so that none waits for another. */
const QUIET: StreamAsk = {
  direction: 'up',
  packets: 1000,
  payloadBytes: 200,
  perSecond: 500,
  earlyBelowMs: 0,
  settleMs: 300
}
/**
 * What the lab promises of one shaped link: so many packets a second, none lost unasked. The last packet may come as late
 * as a shaper of half that speed lets it, so that one that is slow is told from one that loses.
 */
const PROMISED: StreamAsk = { ...QUIET, packets: 40_000, perSecond: 20_000, settleMs: 2500 }
/**
 * The gate: what came of those through the shaped link, against the bare line asked for the same in the same run. It is the
 * promise itself, so no figure of ours. How fast they came is an aim, since the shaper is one process on one core, which a
 * machine under load has not for itself.
 */
const ALL = 1
/** As many as the sender can, all at once. Shown only: what share of a bare line that is tells how fast the bare line is. */
const FLOOD: StreamAsk = { ...QUIET, packets: 40_000, perSecond: 0, settleMs: 1000 }
const FRAME_BITS = (FLOOD.payloadBytes + 42) * 8
const TCP_MS = 3000
const TCP_START_UP_MS = 1000

const topology: Topology = {
  name: 'bench-links',
  description: 'One host behind an access line, and one on the internet.',
  networks: { internet: {}, home: { behind: 'internet', nat: 'port-preserving' } },
  hosts: { near: { role: 'client', on: 'internet' }, alice: { role: 'client', on: 'home' } }
}

interface Measured {
  delayMs: number
  /** Of those of `PROMISED`. */
  arrived: number
  arrivedPerS: number
  packetsPerS: number
  goodputMbit: number
}

const bench: Bench = async say => {
  await wallMs([process.execPath, fileURLToPath(new URL('../compose/build.ts', import.meta.url))])
  const { signal } = new AbortController()
  const up = { topology, seed: SEED, runtime: 'netns', bound: true, progress: silentProgress, signal } as const
  const { testnet, record } = await bringUp(up)
  const ending = new AbortController()
  const near = testnet.host('near')
  const programs = [
    linkProbeArgv({ reflect: { port: PROBE_PORT, forMs: RUN_FOR_MS } }),
    nodeProgram(sinkTcp, SINK_PORT, RUN_FOR_MS)
  ].map(argv => near.exec(argv, { signal: ending.signal }).catch(() => undefined))
  const unshaped: Measured[] = []
  const shaped: Measured[] = []
  try {
    for (let round = 0; round < REPETITIONS; round++) {
      unshaped.push(await measure(testnet))
      const undo = await testnet.impair(ROUTER, SHAPED)
      shaped.push(await measure(testnet))
      await undo()
      const [bare, held] = [unshaped.at(-1)!, shaped.at(-1)!]
      say(`unshaped ${shown(bare)}; ${DELAY_MS} ms ${shown(held)}`)
    }
  } finally {
    ending.abort()
    await Promise.all(programs)
    await removeRun(record)
  }
  const middle = (of: Measured[], word: keyof Measured): number => median(of.map(each => each[word]))
  const sum = (of: Measured[]): number => of.reduce((total, { arrived }) => total + arrived, 0)
  const rows: Row[] = [
    row({
      what: `one-way delay over a link of ${DELAY_MS} ms, less those ${DELAY_MS} ms`,
      value: middle(shaped, 'delayMs') - DELAY_MS,
      unit: 'ms',
      floor: middle(unshaped, 'delayMs'),
      better: 'lower'
    }),
    row({
      what: `${PROMISED.perSecond} packets a second sent into one shaped link: all that came, of ${REPETITIONS * PROMISED.packets}`,
      value: sum(shaped),
      unit: '',
      floor: sum(unshaped),
      better: 'higher',
      target: ALL
    }),
    row({
      what: 'how fast those came',
      value: middle(shaped, 'arrivedPerS'),
      unit: '1/s',
      floor: middle(unshaped, 'arrivedPerS'),
      better: 'higher',
      aim: ALL
    }),
    row({
      what: `packets of ${FLOOD.payloadBytes} bytes through one shaped link, all at once`,
      value: middle(shaped, 'packetsPerS'),
      unit: '1/s',
      floor: middle(unshaped, 'packetsPerS'),
      better: 'higher'
    }),
    row({
      what: `TCP over a link of ${DELAY_MS} ms`,
      value: middle(shaped, 'goodputMbit'),
      unit: 'Mbit/s',
      floor: middle(unshaped, 'goodputMbit'),
      better: 'higher'
    })
  ]
  return rows
}

const shown = ({ delayMs, arrived, arrivedPerS, packetsPerS, goodputMbit }: Measured): string =>
  [
    `${delayMs.toFixed(2)} ms`,
    `${arrived} of ${PROMISED.packets} at ${thousands(arrivedPerS)} k/s`,
    `${thousands(packetsPerS)} k packets/s`,
    `TCP ${Math.round(goodputMbit)} Mbit/s`
  ].join(', ')
const thousands = (count: number): string => (count / 1000).toFixed(1)

async function measure(testnet: Testnet): Promise<Measured> {
  const alice = testnet.host('alice')
  const { address } = testnet.host('near').planned.attachment
  const streams = linkProbeArgv({ probe: { address, port: PROBE_PORT, streams: [QUIET, PROMISED, FLOOD] } })
  const [quiet, promised, flood] = JSON.parse(await said(alice, streams)) as StreamSeen[]
  const tcp = JSON.parse(
    await said(alice, nodeProgram(pourTcp, address, SINK_PORT, TCP_MS, TCP_START_UP_MS))
  ) as TcpResult
  if (quiet?.delayMs == null || promised?.rateKbit == null || flood?.rateKbit == null)
    throw new Error('nothing came through the link')
  return {
    delayMs: quiet.delayMs.p50,
    // What its program was too slow to read came through the link.
    arrived: Math.min(promised.sent, promised.received + promised.notRead),
    arrivedPerS: (promised.rateKbit * 1000) / FRAME_BITS,
    packetsPerS: (flood.rateKbit * 1000) / FRAME_BITS,
    goodputMbit: tcp.goodputMbit
  }
}

async function said(host: Host, argv: string[]): Promise<string> {
  const { code, stdout, stderr } = await host.exec(argv)
  if (code !== 0) throw new Error(`a probe ended with ${code}: ${stderr}`)
  return stdout
}

export default bench
