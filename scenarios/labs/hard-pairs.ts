/**
 * Measures the hard pairs on the netns runtime: `node scenarios/labs/hard-pairs.ts [runs] [delayMs] [lossPct]`. Pairs of
 * kinds stand side by side in one testnet; each plays its runs one after another, with fresh identities. Prints a JSON
 * line a pair, and every run that failed.
 */
import { join } from 'node:path'
import { relayAddresses } from '../../compose/index.ts'
import type { NatKind, Topology } from '../../netem/index.ts'
import { removeRun } from '../harness/down.ts'
import { ROOT } from '../harness/paths.ts'
import { nodeProgram } from '../harness/probe-programs.ts'
import { showProgress } from '../harness/progress.ts'
import type { Testnet } from '../harness/runtime.ts'
import { bringUp } from '../harness/up.ts'
import type { HardPeerConfig, HardPeerRound } from './hard-peer.ts'

/** Listener × dialler, and unrelated flows a second behind the listener's NAT. */
interface Pair {
  name: string
  listener: NatKind
  dialler: NatKind
  flowsPerSecond?: number
}

const PAIRS: Pair[] = [
  { name: 'seq', listener: 'symmetric-sequential', dialler: 'port-restricted' },
  { name: 'seq-busy', listener: 'symmetric-sequential', dialler: 'port-restricted', flowsPerSecond: 50 },
  { name: 'rnd', listener: 'symmetric', dialler: 'port-restricted' },
  { name: 'dnr', listener: 'port-restricted', dialler: 'symmetric' },
  { name: 'blk', listener: 'symmetric-block', dialler: 'port-restricted' },
  { name: 'hash', listener: 'symmetric-hash', dialler: 'port-restricted' },
  { name: 'sym-sym', listener: 'symmetric', dialler: 'symmetric' },
  { name: 'cone-cone', listener: 'port-preserving', dialler: 'port-restricted' },
  { name: 'full-sym', listener: 'full-cone', dialler: 'symmetric' }
]

const ROUND_MS = 50_000
/** A call into a host ends after four minutes. */
const RUNS_A_CALL = 4
const PEER = join(import.meta.dirname, 'hard-peer.ts')
const NOISE_PORT = 46_999

function topology(pairs: readonly Pair[], link: { delayMs?: number; lossPct?: number }): Topology {
  const networks: Topology['networks'] = { internet: {} }
  const hosts: Topology['hosts'] = {
    'relay-1': { role: 'relay', on: 'internet' },
    'relay-2': { role: 'relay', on: 'internet' }
  }
  const shaped = Object.values(link).some(value => value > 0) ? { link } : {}
  for (const { name, listener, dialler, flowsPerSecond } of pairs) {
    networks[`${name}-l`] = { behind: 'internet', nat: listener }
    networks[`${name}-d`] = { behind: 'internet', nat: dialler }
    hosts[`l-${name}`] = { role: 'client', on: `${name}-l`, ...shaped }
    hosts[`d-${name}`] = { role: 'client', on: `${name}-d`, ...shaped }
    if (flowsPerSecond !== undefined) hosts[`n-${name}`] = { role: 'client', on: `${name}-l` }
  }
  return { name: 'hard-pairs', description: 'Pairs of peers behind NATs that DCUtR does not open.', networks, hosts }
}

/** New sockets that send one datagram each, for ever. */
function noise(address: string, port: number, perSecond: number): void {
  const dgram = process.getBuiltinModule('node:dgram')
  setInterval(() => {
    const socket = dgram.createSocket('udp4')
    socket.send('unrelated', port, address, () => setTimeout(() => socket.close(), 1000))
  }, 1000 / perSecond)
}

async function play(testnet: Testnet, pair: Pair, runs: number, signal: AbortSignal): Promise<void> {
  const ending = new AbortController()
  const relays = relayAddresses(testnet.plan).filter(address => !address.includes('/ws'))
  const peer = async (part: HardPeerConfig['part'], first: number): Promise<HardPeerRound[]> => {
    const count = Math.min(RUNS_A_CALL, runs - first)
    const seed = `${testnet.plan.seed} ${pair.name}`
    const config: HardPeerConfig = { seed, part, relays, first, runs: count, roundMs: ROUND_MS }
    const host = testnet.host(`${part === 'listener' ? 'l' : 'd'}-${pair.name}`)
    const { stdout, stderr } = await host.exec(
      ['node', '--disable-warning=ExperimentalWarning', PEER, JSON.stringify(config)],
      { signal }
    )
    if (stderr !== '') process.stderr.write(`${pair.name} ${part}: ${stderr.slice(0, 2000)}\n`)
    return stdout
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line) as HardPeerRound)
  }
  const stranger = pair.flowsPerSecond === undefined ? undefined : testnet.host(`n-${pair.name}`)
  const { address } = testnet.host('relay-1').planned.attachment
  const unrelated = stranger
    ?.exec(nodeProgram(noise, address, NOISE_PORT, pair.flowsPerSecond ?? 0), { signal: ending.signal })
    .catch(() => undefined)
  const listener: HardPeerRound[] = []
  const dialler: HardPeerRound[] = []
  for (let first = 0; first < runs; first += RUNS_A_CALL) {
    const [own, other] = await Promise.all([peer('listener', first), peer('dialler', first)])
    listener.push(...own)
    dialler.push(...other)
    process.stderr.write(`${pair.name}: ${listener.length} of ${runs}\n`)
  }
  ending.abort()
  await unrelated
  const packets = listener.map((round, nth) => round.packets + (dialler[nth]?.packets ?? 0))
  const direct = listener.filter(
    ({ result, pingMs }, nth) =>
      result === 'direct' && dialler[nth]?.result === 'direct' && (pingMs ?? dialler[nth]?.pingMs ?? null) !== null
  )
  const reasons = new Map<string, number>()
  for (const { method, result } of listener) {
    const key = `${method}: ${result}`
    reasons.set(key, (reasons.get(key) ?? 0) + 1)
  }
  const line = {
    ...pair,
    runs: listener.length,
    direct: direct.length,
    results: Object.fromEntries(reasons),
    packets: spread(packets),
    tookMs: spread(direct.map(({ tookMs }) => Math.round(tookMs)))
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
  for (const [nth, round] of listener.entries()) {
    if (direct.includes(round)) continue
    process.stderr.write(`${pair.name} ${JSON.stringify(round)} ${JSON.stringify(dialler[nth])}\n`)
  }
}

function spread(values: number[]): { p50: number; p95: number; max: number } | null {
  if (values.length === 0) return null
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
  return { p50: at(0.5), p95: at(0.95), max: sorted.at(-1)! }
}

const [runs = '20', delayMs = '0', lossPct = '0', only = ''] = process.argv.slice(2)
const pairs = PAIRS.filter(({ name }) => only === '' || only.split(',').includes(name))
const progress = showProgress()
const interrupted = new AbortController()
process.once('SIGINT', () => interrupted.abort())
const { testnet, record } = await bringUp({
  topology: topology(pairs, { delayMs: Number(delayMs), lossPct: Number(lossPct) }),
  seed: `hard-${process.pid}`,
  runtime: 'netns',
  bound: true,
  progress,
  signal: interrupted.signal
})
try {
  process.stderr.write(`${ROOT}: ${testnet.folder}\n`)
  await Promise.all(pairs.map(pair => play(testnet, pair, Number(runs), interrupted.signal)))
} finally {
  progress.close()
  await removeRun(record)
}
