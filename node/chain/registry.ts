/**
 * The list of storage nodes, as the chain has it: this node's own row is kept there and the others are learnt from
 * it. A row counts only when its url names the peer id of its public key. The chain may be away, or restarted empty
 * with the registry deployed anew at the same address: nothing here ever stops a role from serving.
 */
import { type Identity, peerIdOfPublicKey } from '../identity.ts'
import type { Log } from '../log.ts'
import type { MemberSource, RegisteredNode } from '../net/network.ts'
import { pause } from '../net/timings.ts'
import type { RegistryClient, RegistryRow } from './client.ts'

type Hex = `0x${string}`

/** `REGISTRY_POLL_MS` when it is not set. */
export const DEFAULT_REGISTRY_POLL_MS = 5000
/** After a change more changes are likely: a network that starts, or one that comes back with its chain. */
const LIVELY_POLL_MS = 2000
const LIVELY_FOR_MS = 20_000
const LONGEST_RETRY_MS = 15_000
const FIRST_RETRY_MS = 250
/** How long members learnt from the chain before still count after it began anew: time to register again. */
export const REGISTRY_RETURN_GRACE_MS = 30_000

/** What a node signs so that peers can check its row: the EVM cannot check Ed25519 (P53). */
export interface RegistryStatement {
  /** JSON `{nodeId, peerId, owner, chainId, registry}`; its keccak256 is the row's metadataHash. */
  text: string
  /** Ed25519 by the node's key over the UTF-8 of `text`, 0x-hex. */
  signature: Hex
}

export interface RegistryState {
  /** Whether this node's own row is in service. False for a role that registers nothing. */
  registered: boolean
  /** Whether the list was read at least once. */
  read: boolean
  /** Why the last attempt failed, or null. */
  problem: string | null
  /** Number of the newest block seen, or null. */
  block: number | null
}

export interface Registry extends MemberSource {
  nodes: () => readonly RegisteredNode[] | null
  state: () => RegistryState
  /** keccak256 of the own public key; null until viem was loaded, or without an owner. */
  nodeId: () => Hex | null
  /** null until the chain was reached, or without an owner. */
  statement: () => RegistryStatement | null
  /** Begins to read (and register) in the background. */
  start: () => void
  stop: () => Promise<void>
}

/**
 * @param options.own the node to keep registered; absent for a role that only reads
 * @param options.returnGraceMs how long members of a lost chain still count; REGISTRY_RETURN_GRACE_MS when absent
 * @param options.onChange called after the list changed
 */
export function createRegistry(options: {
  rpcUrl: string
  address: Hex
  pollMs?: number
  returnGraceMs?: number
  own?: { identity: Identity; ownerAddress: Hex; ownerKey: Hex }
  onChange?: (nodes: readonly RegisteredNode[]) => void
  log: Log
}): Registry {
  const { own, log, pollMs = DEFAULT_REGISTRY_POLL_MS, returnGraceMs = REGISTRY_RETURN_GRACE_MS } = options
  const stopping = new AbortController()
  const url = own === undefined ? '' : `/p2p/${own.identity.peerId}`
  let client: RegistryClient | undefined
  let hash: typeof import('./client.ts') | undefined
  let nodes: readonly RegisteredNode[] | null = null
  let statement: RegistryStatement | null = null
  let ownId: Hex | null = null
  let seen: { number: bigint; hash: string } | null = null
  let registered = false
  let problem: string | null = null
  /** Members of a chain that is gone who are not back yet; they count until `missedUntilMs`. */
  let missed: readonly RegisteredNode[] = []
  let missedUntilMs = 0
  let changedAtMs = performance.now()
  let loop: Promise<void> | undefined

  async function connect(): Promise<RegistryClient> {
    if (client !== undefined) return client
    hash = await import('./client.ts')
    client = hash.createRegistryClient({
      rpcUrl: options.rpcUrl,
      address: options.address,
      ...(own === undefined ? {} : { ownerKey: own.ownerKey })
    })
    if (own !== undefined) ownId = hash.hashBytes(own.identity.publicKey)
    return client
  }

  async function prepareStatement(chain: RegistryClient): Promise<Hex> {
    if (own === undefined || hash === undefined || ownId === null) return '0x'
    if (statement === null) {
      const text = JSON.stringify({
        nodeId: ownId,
        peerId: own.identity.peerId,
        owner: own.ownerAddress,
        chainId: await chain.chainId(),
        registry: options.address
      })
      const signature = own.identity.sign(new TextEncoder().encode(text))
      statement = { text, signature: `0x${Buffer.from(signature).toString('hex')}` }
    }
    return hash.hashText(statement.text)
  }

  /** Puts the own row right; true when it wrote, so that the list is read again. */
  async function keepOwnRow(chain: RegistryClient, rows: readonly RegistryRow[]): Promise<boolean> {
    if (own === undefined) return false
    const metadataHash = await prepareStatement(chain)
    const row = rows.find(({ nodeId }) => nodeId === ownId)
    if (row !== undefined && row.url === url && row.metadataHash === metadataHash) {
      registered = true
      return false
    }
    if (registered && row === undefined) expectReturn()
    registered = false
    if (row === undefined) await chain.register({ publicKey: own.identity.publicKey, url, metadataHash })
    else await chain.update({ url, metadataHash })
    log.info({ nodeId: ownId, registry: options.address }, row === undefined ? 'registered' : 'registration updated')
    return true
  }

  async function poll(): Promise<void> {
    const chain = await connect()
    const head = await chain.head()
    const graceOver = missed.length > 0 && performance.now() >= missedUntilMs
    if (seen !== null && head.hash === seen.hash && (own === undefined || registered) && !graceOver) return
    if (seen !== null && head.number < seen.number) {
      log.warn({ was: Number(seen.number), is: Number(head.number) }, 'the chain began anew')
      expectReturn()
      registered = false
      statement = null
    }
    let rows = await chain.active()
    if (await keepOwnRow(chain, rows)) {
      rows = await chain.active()
      await keepOwnRow(chain, rows)
    }
    // The head from before the read: a block that came in between is looked at next time.
    seen = head
    learn(rows)
  }

  /**
   * The chain began anew: whoever registers first would see nobody else, and take one copy for enough. So the members
   * known until now count until they had time to come back.
   */
  function expectReturn(): void {
    missed = nodes ?? []
    missedUntilMs = performance.now() + returnGraceMs
  }

  function learn(rows: readonly RegistryRow[]): void {
    const listed = rows.flatMap(row => verified(row, log) ?? [])
    const back = new Set(listed.map(({ nodeId }) => nodeId))
    missed = performance.now() < missedUntilMs ? missed.filter(({ nodeId }) => !back.has(nodeId)) : []
    const learnt = [...listed, ...missed]
    const changed = JSON.stringify(learnt) !== JSON.stringify(nodes)
    nodes = learnt
    if (!changed) return
    changedAtMs = performance.now()
    options.onChange?.(learnt)
  }

  async function run(): Promise<void> {
    let retryMs = FIRST_RETRY_MS
    while (!stopping.signal.aborted) {
      let waitMs = performance.now() - changedAtMs < LIVELY_FOR_MS ? Math.min(pollMs, LIVELY_POLL_MS) : pollMs
      try {
        await poll()
        if (problem !== null) log.info('the chain answers again')
        problem = null
        retryMs = FIRST_RETRY_MS
      } catch (error) {
        const why = shortest(error)
        if (problem !== why) log.warn({ why }, 'the registry cannot be read or written; it is tried again')
        problem = why
        waitMs = retryMs
        retryMs = Math.min(retryMs * 2, Math.max(LONGEST_RETRY_MS, pollMs))
      }
      // A tenth of the wait is random, so that nodes started together do not ask together for ever.
      await pause(waitMs * (0.95 + Math.random() / 10), stopping.signal)
    }
  }

  return {
    nodes: () => nodes,
    nodeId: () => ownId,
    statement: () => statement,
    state: () => ({ registered, read: nodes !== null, problem, block: seen === null ? null : Number(seen.number) }),
    start() {
      loop ??= run()
    },
    async stop() {
      stopping.abort()
      await loop
    }
  }
}

/** The row as a member, or null when its url does not name the peer id of its key. */
function verified(row: RegistryRow, log: Log): RegisteredNode | null {
  const peerId = peerIdOfPublicKey(row.publicKey)
  if (peerId === null || row.url !== `/p2p/${peerId}`) {
    log.debug({ nodeId: row.nodeId, url: row.url }, 'registry row ignored: its url is not that of its key')
    return null
  }
  return { nodeId: row.nodeId, peerId, owner: row.owner, url: row.url }
}

function shortest(error: unknown): string {
  const { shortMessage, message } = error as { shortMessage?: string; message: string }
  return shortMessage ?? message
}
