/** What a proof of a blob of 1 GiB costs the node that makes it and whoever checks it: CPU time of this process. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LEAVES_FILE } from '../node/blobs/leaf-digests.ts'
import { openStore } from '../node/blobs/store.ts'
import { ephemeralIdentity, type Identity } from '../node/identity.ts'
import { silentLog } from '../node/log.ts'
import { memoryHandlers, startPeer } from '../node/net/testing.ts'
import { createAuditor } from '../node/proofs/auditor.ts'
import { createProver, type Prover } from '../node/proofs/prover.ts'
import { createSavedProofs } from '../node/proofs/saved.ts'
import { newChallenge, PROOF_LEAVES_DEFAULT, PROOF_LEAVES_MAX, type ProofRequest } from '../node/proofs/statement.ts'
import { verifyLeaves, verifyWhole } from '../node/proofs/verify.ts'
import type { Bench } from './main.ts'
import { median, type Row, row } from './report.ts'

const MIB = 2 ** 20
const BLOB_BYTES = 1024 * MIB
const REPETITIONS = 9
const WHOLE_REPETITIONS = 2
/** CPU time of a proof by leaves, each side: ms. */
const TARGET_MS = 50

/** The same random MiB over and over, its first bytes counted: cheap to make, no two leaves alike. */
async function* content(): AsyncGenerator<Uint8Array> {
  const piece = randomBytes(MIB)
  for (let at = 0; at < BLOB_BYTES; at += MIB) {
    const bytes = Buffer.from(piece)
    for (let leaf = 0; leaf < 4; leaf += 1) bytes.writeUInt32BE(at / MIB, (leaf * MIB) / 4)
    yield bytes
  }
}

/** CPU time of all threads of this process while `work` runs, ms; what it answers. */
async function cpuMs<T>(work: () => Promise<T>): Promise<{ ms: number; value: T }> {
  const before = process.cpuUsage()
  const value = await work()
  const { user, system } = process.cpuUsage(before)
  return { ms: (user + system) / 1000, value }
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = []
  for await (const piece of source) pieces.push(piece)
  return pieces
}

/** Whole audits between two peers on loopback, transport and encryption included, ms of CPU each. */
async function auditsMs(identity: Identity, prover: Prover, cid: string): Promise<number[]> {
  await using holder = await startPeer({
    identity,
    handlers: blobs => ({ ...memoryHandlers(blobs), prove: prover.prove })
  })
  await using asker = await startPeer()
  await asker.node.libp2p.dial(holder.node.libp2p.getMultiaddrs())
  const { audit } = createAuditor({ ask: asker.network.proof })
  const spent: number[] = []
  for (let i = 0; i < REPETITIONS; i++) {
    const { ms, value } = await cpuMs(() => audit(identity.peerId, cid))
    if (value.verdict !== 'pass') throw new Error(`${value.verdict}: ${value.reason}`)
    spent.push(ms)
  }
  return spent
}

const bench: Bench = async say => {
  const folder = await mkdtemp(join(tmpdir(), 'warren-bench-proofs-'))
  try {
    const { bavail, bsize } = await statfs(folder)
    if (bavail * bsize < 2 * BLOB_BYTES) return { skip: `${folder} has no room for a blob of 1 GiB` }
    const log = silentLog()
    const store = await openStore({ dataDir: folder, capacityBytes: 2 * BLOB_BYTES, secret: randomBytes(32), log })
    const identity = await ephemeralIdentity()
    const saved = createSavedProofs({ dataDir: folder, log })
    const prover = createProver({ store, identity, nodeId: 'bench', saved })
    const staged = await store.stage(content(), { maxBytes: BLOB_BYTES })
    await staged.commit()
    const { cid } = staged
    say(`${cid} stored`)
    const expected = { cid, peerId: identity.peerId, nodeId: 'bench' }

    /** A proof by leaves: both sides' time, and its bytes. */
    async function byLeaves(leaves: number) {
      const request: ProofRequest & { challenge: string } = { cid, mode: 'leaves', challenge: newChallenge(), leaves }
      const made = await cpuMs(async () => {
        const { statement, blocks } = await prover.prove(request)
        return { statement, pieces: await collect(blocks()) }
      })
      const { statement, pieces } = made.value
      const asked = { ...expected, ...request, mode: 'leaves' as const, leaves, nowMs: Date.now() }
      const checked = await cpuMs(() => verifyLeaves(statement, asked, pieces))
      return { made: made.ms, checked: checked.ms, bytes: pieces.reduce((sum, piece) => sum + piece.length, 0) }
    }
    const rows: Row[] = []
    // The first is shown: what a node pays that has made no proof since it started.
    const first = await byLeaves(PROOF_LEAVES_DEFAULT)
    say(`first by leaves: ${first.made.toFixed(1)} ms to make, ${first.checked.toFixed(1)} ms to check`)
    for (const leaves of [PROOF_LEAVES_DEFAULT, PROOF_LEAVES_MAX]) {
      const runs: Array<Awaited<ReturnType<typeof byLeaves>>> = []
      for (let i = 0; i < REPETITIONS; i++) runs.push(await byLeaves(leaves))
      const shown = (of: 'made' | 'checked') => runs.map(run => run[of].toFixed(1)).join(' ')
      say(`${leaves} leaves, ${(median(runs.map(run => run.bytes)) / MIB).toFixed(2)} MiB: made ${shown('made')} ms`)
      say(`${leaves} leaves: checked ${shown('checked')} ms`)
      for (const [of, what] of [
        ['made', 'holder'],
        ['checked', 'verifier']
      ] as const) {
        rows.push(
          row({
            what: `1 GiB by ${leaves} leaves, CPU of the ${what}`,
            value: median(runs.map(run => run[of])),
            unit: 'ms',
            better: 'lower',
            // The gate is on what an audit asks for; the most that can be asked for is an aim.
            ...(leaves === PROOF_LEAVES_DEFAULT ? { target: TARGET_MS } : { aim: TARGET_MS })
          })
        )
      }
    }

    const audits = await auditsMs(identity, prover, cid)
    say(`audits over libp2p: ${audits.map(ms => ms.toFixed(1)).join(' ')} ms, both sides together`)
    rows.push(
      row({
        what: `audit by ${PROOF_LEAVES_DEFAULT} leaves over libp2p, both sides`,
        value: median(audits),
        unit: 'ms',
        better: 'lower',
        target: 2 * TARGET_MS
      })
    )

    const rebuilds: number[] = []
    const wholes: number[] = []
    const replicas: number[] = []
    for (let i = 0; i < WHOLE_REPETITIONS; i++) {
      await rm(join(folder, 'blobs', cid, LEAVES_FILE))
      rebuilds.push((await byLeaves(PROOF_LEAVES_DEFAULT)).made)
      const challenge = newChallenge()
      const whole = await cpuMs(() => prover.prove({ cid, mode: 'whole', challenge }))
      wholes.push(whole.ms)
      const asked = { ...expected, mode: 'whole' as const, challenge, leaves: 0, nowMs: Date.now() }
      replicas.push((await cpuMs(() => verifyWhole(whole.value.statement, asked, () => store.read(cid)))).ms)
    }
    const shown = (what: string, values: number[]) => row({ what, value: median(values), unit: 'ms', better: 'lower' })
    rows.push(
      shown('1 GiB by leaves, their digests made again first', rebuilds),
      shown('1 GiB whole, CPU of the holder', wholes),
      shown('1 GiB whole, CPU of a verifier with a replica', replicas)
    )
    return rows
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

export default bench
