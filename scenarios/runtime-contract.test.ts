/**
 * What every runtime keeps, told by one suite. Not part of the unit tests: it builds a testnet. Run it by
 * `make contract RUNTIME=docker|netns`.
 */
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { roles } from '../compose/index.ts'
import { type Plan, routeLookups, topologyNamed } from '../netem/index.ts'
import { changesContract } from './contract-changes.ts'
import { linksContract } from './contract-links.ts'
import { removeRun } from './harness/down.ts'
import { connectTcp, type RoutingTables, readRoutes } from './harness/host-programs.ts'
import { nodeProgram } from './harness/probe-programs.ts'
import { listeningPorts } from './harness/processes.ts'
import { silentProgress } from './harness/progress.ts'
import { proveLab } from './harness/prove.ts'
import { readiness, waitReady } from './harness/ready.ts'
import { listRecords } from './harness/run-record.ts'
import type { ExecResult, Host, RuntimeName } from './harness/runtime.ts'
import { bringUp, type Standing } from './harness/up.ts'

const UP_TIMEOUT_MS = 300_000
const CONNECT_TIMEOUT_MS = 2000
const ANSWER_TIMEOUT_MS = 3000
/** First bytes of a capture file, read as this machine's order. */
const PCAP_MAGIC = 0xa1b2c3d4
/** Multistream-select's greeting: what any libp2p listener answers first. */
const MULTISTREAM = '\x13/multistream/1.0.0\n'

const runtime = (process.env.WARREN_CONTRACT_RUNTIME ?? 'netns') as RuntimeName
const never = new AbortController().signal

describe(`the ${runtime} runtime`, () => {
  let standing: Standing
  let portsBefore: Set<number>
  const host = (name: string): Host => standing.testnet.host(name)
  const relay = (): Host => standing.testnet.hosts().find(({ planned }) => planned.role === 'relay')!
  const tcp = async (from: Host, address: string, port: number): Promise<ExecResult> =>
    await from.exec(nodeProgram(connectTcp, address, port, CONNECT_TIMEOUT_MS))
  const relayAnswers = async (from: Host): Promise<boolean> => {
    const [port] = roles.relay.labPorts
    return (await tcp(from, relay().planned.attachment.address, port!)).code === 0
  }
  const becomesReady = async (): Promise<void> =>
    await waitReady(standing.testnet, { progress: silentProgress, signal: never })

  before(async function () {
    this.timeout(UP_TIMEOUT_MS)
    portsBefore = await listeningPorts()
    standing = await bringUp({
      topology: topologyNamed('nat-pair'),
      seed: 'contract',
      runtime,
      bound: true,
      progress: silentProgress,
      signal: never
    })
  })

  after(async function () {
    this.timeout(UP_TIMEOUT_MS)
    if (standing !== undefined) await removeRun(standing.record)
  })

  it('brings every host up, ready', async () => {
    for (const each of standing.testnet.hosts()) assert.equal(await readiness(each), null, each.planned.name)
    const { hosts, invalid } = await standing.testnet.status()
    assert.deepEqual(invalid, [])
    for (const [name, { state, cut, deaths }] of Object.entries(hosts))
      assert.deepEqual({ name, state, cut, deaths }, { name, state: 'running', cut: false, deaths: [] })
  })

  it('lets NATed hosts reach the internet, and nobody reach them unasked', async () => {
    const [nodePort] = roles.node.labPorts
    assert.ok(await relayAnswers(host('alice')))
    assert.ok(await relayAnswers(host('bob')))
    const inward = await tcp(relay(), host('alice').planned.attachment.address, nodePort!)
    assert.notEqual(inward.code, 0, 'a private address was reached from the internet')
    const router = standing.testnet.plan.routers.find(({ nat }) => nat === host('alice').planned.nat)!
    const mapped = await tcp(relay(), router.outside.address, nodePort!)
    assert.notEqual(mapped.code, 0, 'a NAT let an unsolicited connection in')
    assert.equal(mapped.stdout.trim(), 'ETIMEDOUT', 'a NAT answered instead of dropping')
  })

  it('gives every NAT its kind and every link its impairment', async () => {
    const proof = await proveLab(standing.testnet, never)
    assert.ok(proof.nats.length > 0)
    assert.deepEqual(
      proof.nats.filter(({ proved }) => !proved),
      []
    )
    assert.deepEqual(
      proof.links.filter(({ ok }) => !ok),
      []
    )
  })

  it('shows what crosses every interface and what routers hold, without a word where it can', async function () {
    const { testnet } = standing
    const missing = await testnet.evidence({ lookMs: 1000 })
    if (missing.some(line => /is not installed|Couldn't change to/.test(line))) {
      console.log(`    skipped: ${missing.join('; ')}`)
      this.skip()
    }
    assert.deepEqual(missing, [])
    const folder = join(testnet.folder, 'captures')
    const files = await readdir(folder)
    const expected = [
      ...testnet.plan.hosts.map(({ name }) => `${name}-eth0.pcap`),
      ...testnet.plan.routers.flatMap(({ name }) => [
        `${name}-inside.pcap`,
        `${name}-outside.pcap`,
        `${name}.conntrack.txt`,
        `${name}.nft.txt`
      ])
    ]
    assert.deepEqual(files.toSorted(), expected.toSorted())
    for (const name of files.filter(each => each.endsWith('.pcap')))
      assert.equal((await readFile(join(folder, name))).readUInt32LE(0), PCAP_MAGIC, name)
    assert.match(
      await readFile(join(folder, `${testnet.plan.routers[0]!.name}.nft.txt`), 'utf8'),
      /table ip warren_nat/
    )
  })

  it('gives no host a way out', async () => {
    for (const each of standing.testnet.hosts()) {
      const { stdout, code, stderr } = await each.exec(nodeProgram(readRoutes))
      assert.equal(code, 0, stderr)
      assert.deepEqual(waysOut(standing.testnet.plan, each, JSON.parse(stdout) as RoutingTables), [], each.planned.name)
    }
  })

  it('proves it by route look-ups, whatever table a packet would take', async () => {
    for (const each of standing.testnet.hosts()) {
      for (const { argv, verdict } of routeLookups(standing.testnet.plan, each.planned.name)) {
        assert.equal(verdict(await each.exec(argv)), null)
      }
    }
  })

  it('answers HTTP on the control port and opens no other port of this machine', async () => {
    for (const each of standing.testnet.hosts())
      assert.doesNotMatch(await greet(each.planned.controlPort), /multistream/, each.planned.name)
    const controls = new Set(standing.testnet.hosts().map(({ planned }) => planned.controlPort))
    const labPorts = new Set(Object.values(roles).flatMap(role => [...role.labPorts, role.httpPort]))
    const first = Math.min(...controls)
    const ours = [...(await listeningPorts())].filter(
      port => !portsBefore.has(port) && (labPorts.has(port) || (port >= first && port < first + 256))
    )
    assert.deepEqual(ours.sort(), [...controls].sort())
  })

  it('keeps what a host writes', async () => {
    const log = await host('alice').logs()
    assert.match(log, /"ready":true/)
    assert.ok(
      log.split('\n').some(line => line.startsWith('{"level"')),
      'no JSON log line'
    )
  })

  it('runs a command in a host, without a capability', async () => {
    const program =
      "process.stdout.write(process.env.DATA_DIR); process.stderr.write(require('fs').readFileSync('/proc/self/status','utf8').match(/CapEff:\\s*(\\w+)/)[1]); process.exit(7)"
    const { code, stdout, stderr } = await host('alice').exec(['node', '-e', program])
    assert.equal(code, 7)
    assert.match(stdout, /^\//)
    assert.match(stderr, /^0+$/)
  })

  it('kills a host alone, which then refuses, and starts it again as the same peer', async () => {
    const before = await peerId(host('bob'))
    const undo = await host('bob').kill()
    await assert.rejects(answer(host('bob')))
    assert.equal((await standing.testnet.status()).hosts.bob?.state, 'dead')
    assert.equal((await standing.testnet.status()).hosts.alice?.state, 'running')
    await answer(host('alice'))
    await undo()
    await undo()
    await becomesReady()
    assert.equal(await peerId(host('bob')), before)
  })

  it('pauses a host, which then says nothing, and continues it', async () => {
    const undo = await host('alice').pause()
    assert.equal((await standing.testnet.status()).hosts.alice?.state, 'paused')
    await assert.rejects(answer(host('alice')), { name: 'TimeoutError' })
    await undo()
    await undo()
    await answer(host('alice'))
  })

  it('restarts a host on the same data and port', async () => {
    const before = await peerId(host('alice'))
    await host('alice').exec(['node', '-e', "require('fs').writeFileSync(process.env.DATA_DIR + '/left-behind', 'x')"])
    await host('alice').restart()
    await becomesReady()
    assert.equal(await peerId(host('alice')), before)
    assert.equal(
      (await host('alice').exec(['node', '-e', "require('fs').rmSync(process.env.DATA_DIR + '/left-behind')"])).code,
      0
    )
    assert.deepEqual((await standing.testnet.status()).hosts.alice?.deaths, [], 'an asked end was taken for a death')
  })

  it('cuts a host off, its control port excepted, and heals it', async () => {
    const undo = await host('alice').cut()
    assert.equal((await standing.testnet.status()).hosts.alice?.cut, true)
    assert.equal(await relayAnswers(host('alice')), false)
    await answer(host('alice'))
    await undo()
    await undo()
    assert.ok(await relayAnswers(host('alice')))
    assert.equal((await standing.testnet.status()).hosts.alice?.cut, false)
    await becomesReady()
  })

  changesContract({ testnet: () => standing.testnet, answer, becomesReady })

  linksContract({ testnet: () => standing.testnet })

  it('removes everything, twice if asked', async function () {
    this.timeout(UP_TIMEOUT_MS)
    assert.deepEqual(await standing.testnet.down(), [])
    assert.deepEqual(await standing.testnet.down(), [])
    for (const each of standing.testnet.hosts()) await assert.rejects(answer(each))
    await removeRun(standing.record)
  })

  it('removes everything when it is interrupted on the way up', async function () {
    this.timeout(UP_TIMEOUT_MS)
    const controller = new AbortController()
    let stages = 0
    const progress = {
      ...silentProgress,
      stage() {
        // The first stage is set-up; at the second the runtime is at work and something exists.
        stages += 1
        if (stages === 2) controller.abort()
        return () => {}
      }
    }
    await assert.rejects(
      bringUp({
        topology: topologyNamed('nat-pair'),
        seed: 'contract',
        runtime,
        bound: true,
        progress,
        signal: controller.signal
      }),
      { code: 'INTERRUPTED' }
    )
    const ours = (await listRecords()).filter(({ harness, state }) => harness?.pid === process.pid && state !== 'down')
    assert.deepEqual(ours, [])
  })
})

/** Routes by which a packet could leave the lab: only a LAN's own router, or the address on the internet that nobody has, may be a next hop. */
function waysOut(plan: Plan, { planned }: Host, { v4, v6 }: RoutingTables): unknown[] {
  const network = plan.networks.find(({ name }) => name === planned.attachment.network)!
  const allowed = new Set([network.defaultGateway, ...planned.routes.map(({ via }) => via)])
  const bad = v4.filter(({ destination, prefixLength, via }) =>
    via === null ? `${destination}/${prefixLength}` !== network.subnet : !allowed.has(via)
  )
  return [...bad, ...v6]
}

async function answer({ control }: Host): Promise<void> {
  const response = await fetch(`${control}/health`, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) })
  await response.arrayBuffer()
}

async function peerId(host: Host): Promise<string> {
  const log = await host.logs()
  const last = log.split('\n').findLast(line => line.startsWith('{"ready":true'))
  return (JSON.parse(last ?? '{}') as { peerId: string }).peerId
}

/** What a TCP server says to a libp2p greeting. */
async function greet(port: number): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const socket = net.connect({ host: '127.0.0.1', port, timeout: ANSWER_TIMEOUT_MS })
  let heard = ''
  socket.setEncoding('latin1')
  socket.on('connect', () => socket.write(MULTISTREAM))
  socket.on('data', chunk => {
    heard += chunk
  })
  socket.on('timeout', () => socket.destroy())
  socket.on('close', () => resolve(heard))
  socket.on('error', reject)
  return await promise
}
