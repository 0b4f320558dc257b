/** Nodes that deleted or altered bytes cannot prove that they have them; old, foreign and relabelled answers do not pass. */
import { flipByte, removeBytes } from './harness/blob-files.ts'
import type { Host } from './harness/runtime.ts'
import { scenario } from './harness/scenario.ts'
import { type Acknowledged, untilReplicated, writeBlobs } from './storage/blobs.ts'
import { BLOBS, REPLICAS, REPLICATED_WITHIN_MS, storageLab } from './storage/lab.ts'
import { type AskedMode, askProof, faultOf, freshChallenge, type ProofAnswer, proverOf } from './storage/proofs.ts'

const MODES: AskedMode[] = ['whole', 'leaves']

export default scenario({
  about: 'holders prove what they hold; deleted, altered, replayed, foreign and relabelled answers are all caught',
  topology: storageLab,
  needs: ['nat', 'exec'],
  withinMs: 600_000,

  async story(story) {
    const { hosts, check, row, step, depth, signal } = story
    const nodes = hosts('node')
    const byName = (name: string): Host => story.host(name)

    step('write')
    const blobs = await writeBlobs(story, nodes, BLOBS[depth])
    const holders = await untilReplicated(story, `${REPLICAS} nodes hold each blob`, nodes, blobs, {
      replicas: REPLICAS,
      withinMs: REPLICATED_WITHIN_MS
    })
    const holdersOf = ({ cid }: Acknowledged): Host[] => (holders.get(cid) ?? []).map(byName)
    /** A fresh question and what is wrong with the answer. */
    const fresh = async (host: Host, blob: Acknowledged, mode: AskedMode) => {
      const challenge = freshChallenge()
      const answer = await askProof(host, { cid: blob.cid, mode, challenge }, signal)
      return { answer, challenge, fault: await faultOf(answer, await proverOf(host, signal), blob, mode, challenge) }
    }

    step('holders prove, others cannot')
    const faults: string[] = []
    const proved: Array<{ host: Host; blob: Acknowledged; mode: AskedMode; challenge: string; answer: ProofAnswer }> =
      []
    const pretenders: string[] = []
    for (const blob of blobs) {
      for (const mode of MODES) {
        for (const host of holdersOf(blob)) {
          const { answer, challenge, fault } = await fresh(host, blob, mode)
          if (fault === null) proved.push({ host, blob, mode, challenge, answer })
          else faults.push(`${host.planned.name} ${blob.cid} ${mode}: ${fault}`)
        }
        const stranger = nodes.find(node => !holdersOf(blob).includes(node))
        if (stranger === undefined) continue
        const { fault } = await fresh(stranger, blob, mode)
        if (fault !== 'BLOB_NOT_FOUND') pretenders.push(`${stranger.planned.name} ${blob.cid} ${mode}: ${fault}`)
      }
    }
    check.equal('every holder proves every blob, whole and by leaves', faults, [])
    check.equal('who does not hold a blob says that it is not there', pretenders, [])

    step('old, foreign and relabelled answers')
    const passed: string[] = []
    const seen = new Map<string, number>()
    const expectFault = (what: string, fault: string | null, wanted: string): void => {
      seen.set(`${what}: ${fault}`, (seen.get(`${what}: ${fault}`) ?? 0) + 1)
      if (fault !== wanted) passed.push(`${what}: ${fault} in place of ${wanted}`)
    }
    for (const { host, blob, mode, challenge, answer } of proved) {
      const prover = await proverOf(host, signal)
      const again = await askProof(host, { cid: blob.cid, mode, challenge }, signal)
      expectFault('the same challenge twice', again.error, 'CHALLENGE_REPLAYED')
      const other = freshChallenge()
      expectFault('replayed', await faultOf(answer, prover, blob, mode, other), 'WRONG_CHALLENGE')
      const relabelled = { ...answer, statement: { ...answer.statement, challenge: other } }
      expectFault('relabelled', await faultOf(relabelled, prover, blob, mode, other), 'SIGNATURE_WRONG')
      const neighbour = holdersOf(blob).find(each => each !== host)!
      const foreign = await faultOf(answer, await proverOf(neighbour, signal), blob, mode, challenge)
      expectFault('of another node', foreign, 'WRONG_NODE')
    }
    check.equal('none of them passes, each for its own reason', passed, [])
    for (const [what, times] of seen) row({ what, times })

    step('bytes are deleted or altered behind the node’s back')
    const undetected: string[] = []
    for (const [n, blob] of blobs.entries()) {
      const [host] = holdersOf(blob)
      const what = n % 2 === 0 ? 'deleted' : 'altered'
      await (n % 2 === 0 ? removeBytes(host!, blob.cid) : flipByte(host!, blob.cid))
      // By leaves a single altered byte is only found if its leaf is drawn: the whole proof is the one that must fail.
      const { fault } = await fresh(host!, blob, 'whole')
      row({ what: `${what}: ${fault}`, times: 1 })
      if (fault === null) undetected.push(`${host!.planned.name} proves ${blob.cid}, whose bytes it ${what}`)
    }
    check.equal('a node that deleted or altered bytes cannot answer', undetected, [])
  }
})
