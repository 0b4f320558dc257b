/** A peer of go-libp2p and one of ours, each behind a NAT or not, as each other's pinger, pinged, dialler and dialled. */
import { join } from 'node:path'
import { generateKeyPair, privateKeyToProtobuf } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { relayAddresses } from '../compose/index.ts'
import type { Topology } from '../netem/index.ts'
import { removeRun } from './harness/down.ts'
import { proveLab } from './harness/prove.ts'
import type { Host, Testnet } from './harness/runtime.ts'
import { type StandaloneStory, scenario } from './harness/scenario.ts'
import { bringUp } from './harness/up.ts'
import { buildGoPeer } from './interop/build.ts'
import { goFlags, type PeerEvent, type PeerTask, parseEvents } from './interop/events.ts'

const WITHIN_MS = 900_000
/** One cell, from the start of both processes to their end. */
const CELL_WITHIN_MS = 45_000
const LINGERS_MS = 1_500
const PINGS = 3
const RUNS = { short: 1, full: 3 }
/** Each cell has its own: what the one before it used may close a moment later. */
const FIRST_PORT = 4101

const topology: Topology = {
  name: 'interop',
  description: 'A relay, two public hosts, and two homes behind NATs, for peers of two implementations.',
  networks: {
    internet: {},
    // Endpoint-independent mapping with the strictest filtering: what DCUtR is made for.
    'home-go': { behind: 'internet', nat: 'port-restricted', link: { delayMs: 10 } },
    'home-ours': { behind: 'internet', nat: 'port-restricted', link: { delayMs: 10 } }
  },
  hosts: {
    'relay-1': { role: 'relay', on: 'internet' },
    'public-go': { role: 'client', on: 'internet' },
    'public-ours': { role: 'client', on: 'internet' },
    go: { role: 'client', on: 'home-go' },
    ours: { role: 'client', on: 'home-ours' }
  }
}

type Side = 'go' | 'ours'
type Transport = 'tcp' | 'quic'

/** One thing to prove: `from` dials the other side, which waits. */
interface Cell {
  name: string
  from: Side
  transport: Transport
  /** The other side is on the internet, or behind a NAT with a reservation. */
  by: 'address' | 'relay'
  punch: PeerTask['punch']
  expected: 'direct' | 'relayed'
}

const TRANSPORTS: Transport[] = ['tcp', 'quic']
const SIDES: Side[] = ['ours', 'go']
const WORDS = { ours: 'our peer', go: 'the Go peer', tcp: 'TCP', quic: 'QUIC' } as const

const CELLS: Cell[] = SIDES.flatMap(from => {
  const to = from === 'go' ? 'ours' : 'go'
  return TRANSPORTS.flatMap((transport): Cell[] => [
    {
      name: `${WORDS[from]} dials and pings ${WORDS[to]} over ${WORDS[transport]}`,
      ...{ from, transport, by: 'address', punch: 'none', expected: 'direct' }
    },
    {
      name: `${WORDS[from]} reaches and pings ${WORDS[to]} through our relay over ${WORDS[transport]}`,
      ...{ from, transport, by: 'relay', punch: 'none', expected: 'relayed' }
    },
    {
      name: `${WORDS[from]}, having dialled through our relay, punches to ${WORDS[to]} over ${WORDS[transport]}`,
      ...{ from, transport, by: 'relay', punch: transport, expected: 'direct' }
    }
  ])
})

interface Lab {
  testnet: Testnet
  program: string
  relay: Record<Transport, string>
  nextPort: () => number
}

async function story(told: StandaloneStory): Promise<void> {
  const { check, step, seed, progress, signal, depth, invalid, row } = told
  const built = progress.stage('Build the Go peer')
  const go = await buildGoPeer(signal)
  if ('missing' in go) {
    built('not here')
    check.skip('a second implementation takes part', go.missing)
    return
  }
  built()
  step('bring the lab up')
  const { testnet, record } = await bringUp({ topology, seed, runtime: 'netns', bound: true, progress, signal })
  try {
    const proof = await proveLab(testnet, signal)
    for (const line of [...proof.nats, ...proof.links]) row({ ...line })
    if (!proof.ok) return invalid('a NAT or a link is not what it claims')
    let port = FIRST_PORT
    const lab: Lab = { testnet, program: go.program, relay: relayOf(testnet), nextPort: () => port++ }
    for (const cell of CELLS) {
      step(cell.name)
      for (let run = 0; run < RUNS[depth]; run += 1) await play(told, lab, cell)
    }
    const { invalid: reasons } = await testnet.status()
    for (const reason of reasons) invalid(reason)
  } finally {
    check.equal('nothing of the lab is left', await removeRun(record, progress), [])
  }
}

function relayOf({ plan }: Testnet): Record<Transport, string> {
  const all = relayAddresses(plan).filter(address => !address.includes('/ws'))
  const of = (part: string) => all.find(address => address.includes(part)) ?? ''
  return { tcp: of('/tcp/'), quic: of('/quic-v1') }
}

/** Known before either starts, so that one can dial the other; the relay may still hold the place of who was here before. */
async function freshKey(): Promise<{ key: string; peerId: string }> {
  const key = await generateKeyPair('Ed25519')
  return { key: Buffer.from(privateKeyToProtobuf(key)).toString('base64'), peerId: `${peerIdFromPrivateKey(key)}` }
}

/** Both peers for one cell, to their end; what they saw becomes checks and a row. */
async function play({ check, history, row, signal }: StandaloneStory, lab: Lab, cell: Cell): Promise<void> {
  const other: Side = cell.from === 'go' ? 'ours' : 'go'
  const waiter = lab.testnet.host(cell.by === 'address' ? `public-${other}` : other)
  const dialler = lab.testnet.host(cell.from)
  const relay = lab.relay[cell.transport]
  const until = cell.expected === 'direct' && cell.by === 'relay' ? 'direct' : 'connected'
  const common = { punch: cell.punch, pings: PINGS, withinMs: CELL_WITHIN_MS, lingersMs: LINGERS_MS, connect: [] }
  const keys = { go: await freshKey(), ours: await freshKey() }
  const port = lab.nextPort()
  const listenOn = (host: string) =>
    cell.transport === 'tcp' ? `/ip4/${host}/tcp/${port}` : `/ip4/${host}/udp/${port}/quic-v1`
  const at = listenOn(cell.by === 'address' ? waiter.planned.attachment.address : '0.0.0.0')
  const waiting: PeerTask = {
    ...common,
    key: keys[other].key,
    listen: [at],
    reserve: cell.by === 'relay' ? [relay] : [],
    until: until === 'direct' ? 'direct' : 'never'
  }
  const target = cell.by === 'address' ? at : `${relay}/p2p-circuit`
  const dialling: PeerTask = {
    ...common,
    key: keys[cell.from].key,
    listen: [listenOn('0.0.0.0')],
    reserve: cell.by === 'relay' && cell.from === 'ours' ? [relay] : [],
    connect: cell.by === 'relay' && cell.from === 'go' ? [relay] : [],
    dial: `${target}/p2p/${keys[other].peerId}`,
    until
  }
  // Whoever waits without a goal is ended when the dialler is done.
  const done = new AbortController()
  const ends = AbortSignal.any([signal, done.signal])
  const waited = run(waiter, lab.program, other, waiting, ends).catch(error => {
    if (!done.signal.aborted) throw error
    return []
  })
  const dialled = await run(dialler, lab.program, cell.from, dialling, signal)
  if (waiting.until === 'never') done.abort()
  const seen = { dialler: dialled, waiter: await waited }
  history.event('interop', { cell: cell.name, ...seen })
  judge({ check, row }, cell, seen.dialler, waiting.until === 'never' ? null : seen.waiter, keys[other].peerId)
}

function judge(
  { check, row }: Pick<StandaloneStory, 'check' | 'row'>,
  cell: Cell,
  dialler: PeerEvent[],
  waiter: PeerEvent[] | null,
  peerId: string
): void {
  const ways = dialler.flatMap(event => (event.event === 'connected' && event.peer === peerId ? [event] : []))
  const pings = dialler.filter(event => event.event === 'ping' && event.ok).length
  const reached = (events: PeerEvent[]) => events.some(event => event.event === 'end' && event.reached)
  const direct = ways.find(way => way.direct)
  const isOf = { tcp: /\/tcp\/\d+/, quic: /\/quic-v1/ }[cell.transport]
  const observed = direct !== undefined ? 'direct' : ways.length > 0 ? 'relayed' : 'none'
  const directAfterMs = cell.by === 'relay' && direct !== undefined ? direct.atMs - (ways[0]?.atMs ?? 0) : null
  row({ cell: cell.name, expected: cell.expected, observed, pings, directAfterMs })
  const held =
    observed === cell.expected &&
    (cell.by === 'address' || ways[0]?.direct === false) &&
    (direct === undefined || isOf.test(direct.address)) &&
    pings === PINGS &&
    reached(dialler) &&
    (waiter === null || reached(waiter))
  const after = directAfterMs === null ? '' : ` after ${directAfterMs} ms`
  check.that(cell.name, held, held ? `${observed}${after}, ${pings} pings` : tellOf({ dialler, waiter }))
}

/** The last words of both, for whoever looks why. */
function tellOf(seen: { dialler: PeerEvent[]; waiter: PeerEvent[] | null }): string {
  const last = (events: PeerEvent[] | null) => (events ?? []).slice(-8).map(event => JSON.stringify(event))
  return `dialler: ${last(seen.dialler).join(' ')}; waiter: ${last(seen.waiter).join(' ')}`
}

async function run(host: Host, program: string, side: Side, task: PeerTask, signal: AbortSignal): Promise<PeerEvent[]> {
  const ours = ['node', join(import.meta.dirname, 'interop', 'peer.ts'), JSON.stringify(task)]
  const argv = side === 'go' ? [program, ...goFlags(task)] : ours
  const { stdout } = await host.exec(argv, { signal })
  return parseEvents(stdout)
}

export default scenario({
  about: 'go-libp2p as the other side: ping, our relay, and DCUtR in both roles, over TCP and QUIC',
  topology: null,
  only: 'netns',
  needs: ['nat', 'exec', 'delay'],
  withinMs: WITHIN_MS,
  story
})
