/** Nodes whose shards are assigned from the registry join and leave while blobs are written and read. */
import type { Topology } from '../netem/index.ts'
import type { Host } from './harness/runtime.ts'
import { scenario } from './harness/scenario.ts'
import { readBack, writeBlobs } from './storage/blobs.ts'
import { READ_WITHIN_MS, REPLICAS, storageLab } from './storage/lab.ts'
import { READ_AGAIN_FOR_MS, startLoad } from './storage/load.ts'
import { operatorsOf } from './storage/registry.ts'
import {
  type Moves,
  movesBetween,
  type Owners,
  untilAssigned,
  untilHeard,
  untilMoved,
  watchCopies
} from './storage/shards.ts'

/** Of the lab's eight nodes; the others wait outside. */
const MEMBERS_FIRST = 6
const ROUNDS = { short: 1, full: 3 }
/** Written before the load begins, which goes on writing. */
const FIRST_BLOBS = { short: 6, full: 30 }
/** To the registry's next look, until nothing changed, and until it was announced. */
const ASSIGNED_WITHIN_MS = 60_000
/** Repair's pause after members changed, and the copies. */
const MOVED_WITHIN_MS = 120_000
/** While owners change, a few writes meet nobody who takes them, and are told so. */
const ACKNOWLEDGED_SHARE_MIN = 0.9

const lab: Topology = {
  ...storageLab,
  name: 'rebalance',
  hosts: Object.fromEntries(
    Object.entries(storageLab.hosts).map(([name, host]) => [
      name,
      // Without a key of its owner a node does not register itself: who is a member is the story's to say.
      host.role === 'node' ? { ...host, env: { ...host.env, NODE_SHARDS: 'auto', OWNER_PRIVATE_KEY_FILE: '' } } : host
    ])
  )
}

export default scenario({
  about:
    'nodes with shards assigned from the registry join, leave and die under load: only what must moves, all is read at all times, each blob ends at owners alone',
  topology: lab,
  needs: ['nat', 'kill', 'exec'],
  withinMs: 900_000,

  async story(story) {
    const { hosts, nemesis, check, random, row, step, depth } = story
    const nodes = hosts('node')
    const operators = operatorsOf(story)
    const assigned = { replicas: REPLICAS, withinMs: ASSIGNED_WITHIN_MS }
    const names = (of: readonly Host[]): string => of.map(({ planned }) => planned.name).join(', ')

    step('six of eight nodes are registered')
    let members = random.pick(nodes, MEMBERS_FIRST)
    await Promise.all(members.map(operators.register))
    let owners = await untilAssigned(story, 'each node owns what follows from six members', nodes, members, assigned)
    await untilHeard(story, 'each node knows an owner of every shard', nodes)

    step('write, and go on writing and reading')
    const first = await writeBlobs(story, nodes, FIRST_BLOBS[depth])
    let running = nodes
    const watch = watchCopies(REPLICAS)
    const moved = () => ({ watch, owners, replicas: REPLICAS, withinMs: MOVED_WITHIN_MS })
    await untilMoved(story, `${REPLICAS} owners hold each blob, and nobody else`, nodes, first, moved())
    const load = startLoad(story, () => running, first)

    /** The ranges follow the members, and moved no further than they must. */
    async function change(what: string, host: Host, next: Host[]): Promise<void> {
      const beganMs = performance.now()
      const after = await untilAssigned(story, `after ${what} each owns what follows`, running, next, assigned)
      const assignedMs = Math.round(performance.now() - beganMs)
      const { name } = host.planned
      const moves = movesBetween(owners, after)
      const isJoin = next.includes(host)
      const own = (isJoin ? moves.gained : moves.lost)[name] ?? 0
      check.that(`${what}: no more moves than it must`, isLeast(moves, name, isJoin), JSON.stringify(moves))
      row({ what, members: next.length, shards: own, ofOwnerships: ownerships(isJoin ? after : owners), assignedMs })
      members = next
      owners = after
    }

    for (let round = 1; round <= ROUNDS[depth]; round++) {
      const [newcomer] = random.pick(
        running.filter(node => !members.includes(node)),
        1
      )
      step(`${names([newcomer!])} joins`)
      await operators.register(newcomer!)
      await change(`${names([newcomer!])} joins`, newcomer!, [...members, newcomer!])

      // In a full run the second who leaves is dead by then: nobody hands over what it had.
      const dies = round === 2
      const [leaver] = random.pick(
        members.filter(node => node !== newcomer),
        1
      )
      const what = `${names([leaver!])} ${dies ? 'dies and is taken out' : 'leaves'}`
      step(what)
      if (dies) {
        await nemesis.kill(leaver!.planned.name)
        watch.startAnew()
        running = running.filter(node => node !== leaver)
      }
      const beganMs = performance.now()
      await operators.unregister(leaver!)
      const staying = members.filter(node => node !== leaver)
      await change(what, leaver!, staying)
      const moving = [...load.acknowledged]
      await untilMoved(
        story,
        `after ${what} ${REPLICAS} owners hold each blob, and nobody else`,
        running,
        moving,
        moved()
      )
      row({ what, blobs: moving.length, movedMs: Math.round(performance.now() - beganMs) })
    }

    step('the load ends')
    const { unread, wrong, ...report } = await load.stop()
    row({ what: 'load', ...report, refused: JSON.stringify(report.refused) })
    check.equal(`every acknowledged blob was read within ${READ_AGAIN_FOR_MS} ms at all times`, unread, [])
    check.equal('nothing else was read', wrong, [])
    const share = (load.acknowledged.length - first.length) / report.writes
    check.that('writes went on', share >= ACKNOWLEDGED_SHARE_MIN, `${Math.round(share * 100)} % acknowledged`)
    check.that('reads went on', report.reads > 0, `${report.reads} reads`)
    const all = load.acknowledged
    await untilMoved(story, `${REPLICAS} owners hold each of all blobs, and nobody else`, running, all, moved())
    check.equal(`no blob that had ${REPLICAS} copies had fewer for longer than a look`, watch.fell(), [])
    await readBack(story, 'every blob is read by who has it not', running, all, { withinMs: READ_WITHIN_MS })
  }
})

/** Only who joins gains, and only who leaves loses: each of its shards one owner for another. */
function isLeast({ gained, lost }: Moves, name: string, isJoin: boolean): boolean {
  const [one, others] = isJoin ? [gained, lost] : [lost, gained]
  const sum = Object.values(others).reduce((total, count) => total + count, 0)
  return Object.keys(one).join() === name && others[name] === undefined && sum === one[name]
}

function ownerships(owners: Owners): number {
  return owners.reduce((sum, { size }) => sum + size, 0)
}
