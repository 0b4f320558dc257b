/** A peer of ours for the lab: libp2p as a storage node has it, told what to do and telling what happens as `go/` does. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Connection, PeerId } from '@libp2p/interface'
import type { Ping } from '@libp2p/ping'
import { isPrivate } from '@libp2p/utils'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { Circuit } from '@multiformats/multiaddr-matcher'
import { createNetworkNode, GENEROUS_LIMITS, loadKeyFile, type NetworkNode, silentLog } from '../../node/index.ts'
import type { PeerTask } from './events.ts'

const RETRY_MS = 200
const POLL_MS = 20
const DIAL_TIMEOUT_MS = 5_000

const began = performance.now()

function say(event: string, what: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify({ event, atMs: Math.round(performance.now() - began), ...what })}\n`)
}

const about = (connection: Connection) => ({
  peer: connection.remotePeer.toString(),
  address: connection.remoteAddr.toString(),
  direction: connection.direction,
  direct: connection.direct
})

/** Waits until `look` gives something. */
async function until<T>(look: () => T | undefined | false, signal: AbortSignal): Promise<T> {
  for (;;) {
    const seen = look()
    if (seen !== undefined && seen !== false) return seen
    signal.throwIfAborted()
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
  }
}

function usable(punch: PeerTask['punch']): (address: Multiaddr) => boolean {
  const wanted = { tcp: /\/tcp\//, quic: /\/quic-v1/, any: /./, none: /$^/ }[punch]
  return address => isPrivate(address) !== true && wanted.test(address.toString())
}

async function startNode(task: PeerTask): Promise<NetworkNode> {
  const file = join(process.env.DATA_DIR ?? '.', `interop-${process.pid}.key`)
  await writeFile(file, task.key, { mode: 0o600 })
  const node = await createNetworkNode({
    role: 'node',
    identity: await loadKeyFile(file),
    listen: task.listen,
    // Whoever reserves nowhere is reached directly and says so; the others are known by what relays see.
    announce: task.reserve.length === 0 ? task.listen : [],
    relays: task.reserve,
    bootstrap: task.connect,
    enableDht: false,
    dcutr: task.punch === 'none' ? 'off' : 'warren',
    punching: {
      isUsable: usable(task.punch),
      onReport: report => say('punch', { step: report.outcome, what: report })
    },
    limits: GENEROUS_LIMITS,
    log: silentLog()
  })
  node.libp2p.addEventListener('connection:open', ({ detail }) => say('connected', about(detail)))
  node.libp2p.addEventListener('connection:close', ({ detail }) => say('disconnected', about(detail)))
  await node.start()
  return node
}

async function dialUntil(node: NetworkNode, address: string, signal: AbortSignal): Promise<PeerId> {
  for (;;) {
    try {
      const attempt = AbortSignal.any([signal, AbortSignal.timeout(DIAL_TIMEOUT_MS)])
      return (await node.libp2p.dial(multiaddr(address), { signal: attempt })).remotePeer
    } catch (error) {
      say('dial-failed', { error: String(error) })
      signal.throwIfAborted()
      await new Promise(resolve => setTimeout(resolve, RETRY_MS))
    }
  }
}

async function reach(node: NetworkNode, task: PeerTask, signal: AbortSignal): Promise<PeerId> {
  const relayed = new Set<string>()
  node.libp2p.addEventListener('connection:open', ({ detail }) => {
    if (Circuit.matches(detail.remoteAddr)) relayed.add(detail.remotePeer.toString())
  })
  const target = task.dial === undefined ? undefined : await dialUntil(node, task.dial, signal)
  if (task.until === 'connected' && target !== undefined) return target
  const direct = await until(
    () =>
      task.until === 'direct' &&
      node.libp2p
        .getConnections()
        .find(({ remotePeer, direct }) => direct && (target?.equals(remotePeer) ?? relayed.has(remotePeer.toString()))),
    signal
  )
  say('direct', about(direct))
  return direct.remotePeer
}

async function sendPings(node: NetworkNode, peer: PeerId, count: number, signal: AbortSignal): Promise<void> {
  const { ping } = node.libp2p.services as unknown as { ping: Ping }
  for (let sent = 0; sent < count; sent += 1) {
    await ping.ping(peer, { signal }).then(
      rttMs => say('ping', { ok: true, rttMs }),
      error => say('ping', { ok: false, error: String(error) })
    )
  }
}

async function main(): Promise<void> {
  const task = JSON.parse(process.argv[2] ?? '{}') as PeerTask
  const signal = AbortSignal.timeout(task.withinMs)
  const node = await startNode(task)
  await until(
    () => task.reserve.length === 0 || node.libp2p.getMultiaddrs().some(address => Circuit.matches(address)),
    signal
  )
  await until(() => node.anchors.states().every(({ connected }) => connected), signal)
  say('ready', { ready: true, peerId: node.libp2p.peerId, addresses: node.libp2p.getMultiaddrs() })
  try {
    await sendPings(node, await reach(node, task, signal), task.pings, signal)
    say('end', { reached: true })
    await new Promise(resolve => setTimeout(resolve, task.lingersMs))
  } catch (error) {
    say('end', { reached: false, error: String(error) })
  }
  await node.stop()
  process.exit(0)
}

main().catch(error => {
  say('failed', { error: String(error) })
  process.exit(1)
})
