/** Shapes of partitions as Jepsen has them: from names to the pairs of hosts that cannot hear each other. Pure. */
import type { DirectedPair } from '../../netem/index.ts'
import { HarnessError } from './errors.ts'
import type { Random } from './random.ts'

export type PartitionShape =
  /** Groups that hear nothing of each other; of plain names two halves, the first the smaller. */
  | 'halves'
  /** The first and the third group hear nothing of each other, the second hears both; of plain names one host is the bridge. */
  | 'bridge'
  /** What the first group sends does not come to the second; the other way round everything does. */
  | 'one-way'
  /** The first group is alone; of plain names one host. */
  | 'isolate'
  /** Everyone in a ring hears a majority, its nearest on both sides, and nobody the same one. */
  | 'ring'

export const PARTITION_SHAPES: readonly PartitionShape[] = ['halves', 'bridge', 'one-way', 'isolate', 'ring']

/** Who is parted: plain names, which chance sorts into groups, or the groups themselves, in the order the shape names. */
export type Parties = readonly string[] | ReadonlyArray<readonly string[]>

export interface Partition {
  shape: PartitionShape
  groups: string[][]
  /** What is lost, by sender and receiver. */
  pairs: DirectedPair[]
}

/** Thrown when a partition of this shape cannot be made of these hosts; says what it needs. */
export class BadPartitionError extends HarnessError {
  constructor(shape: string, why: string) {
    super('BAD_PARTITION', `no partition '${shape}': ${why}`)
  }
}

/** Fewest groups of each shape; of a ring, where three would all hear each other. */
const GROUPS: Record<PartitionShape, { least: number; most: number }> = {
  halves: { least: 2, most: Number.POSITIVE_INFINITY },
  bridge: { least: 3, most: 3 },
  'one-way': { least: 2, most: 2 },
  isolate: { least: 2, most: Number.POSITIVE_INFINITY },
  ring: { least: 4, most: Number.POSITIVE_INFINITY }
}

/**
 * Work a partition out. The same names and randomness give the same partition.
 * @throws BadPartitionError with what it needs
 */
export function partition(shape: PartitionShape, parties: Parties, random: Random): Partition {
  if (!PARTITION_SHAPES.includes(shape)) {
    throw new BadPartitionError(shape, `the shapes are ${PARTITION_SHAPES.join(', ')}`)
  }
  const isPlain = parties.every(party => typeof party === 'string')
  const groups = isPlain
    ? sorted(shape, random.pick(parties as readonly string[], parties.length))
    : [...parties].map(party => [...party])
  checkGroups(shape, groups)
  return { shape, groups, pairs: pairsOf(shape, groups) }
}

/** Shuffled names as the groups of a shape. */
function sorted(shape: PartitionShape, names: string[]): string[][] {
  switch (shape) {
    case 'halves':
    case 'one-way': {
      const half = Math.floor(names.length / 2)
      return [names.slice(0, half), names.slice(half)]
    }
    case 'bridge': {
      const half = Math.floor((names.length - 1) / 2)
      return [names.slice(0, half), names.slice(-1), names.slice(half, -1)]
    }
    case 'isolate':
      return [names.slice(0, 1), names.slice(1)]
    case 'ring':
      return names.map(name => [name])
  }
}

function checkGroups(shape: PartitionShape, groups: string[][]): void {
  const { least, most } = GROUPS[shape]
  if (groups.length < least || groups.length > most) {
    const needed = most === least ? `${least}` : `${least} or more`
    throw new BadPartitionError(shape, `it needs ${needed} groups, these are ${groups.length}`)
  }
  const empty = groups.findIndex(group => group.length === 0)
  if (empty !== -1) throw new BadPartitionError(shape, `group ${empty + 1} of ${groups.length} has no host; name more`)
  const names = groups.flat()
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw new BadPartitionError(shape, `${twice} is named twice`)
}

function pairsOf(shape: PartitionShape, groups: string[][]): DirectedPair[] {
  const isLost = lostBetween(shape, groups.length)
  return groups.flatMap((senders, from) =>
    groups.flatMap((receivers, to) =>
      from !== to && isLost(from, to) ? senders.flatMap(sender => receivers.map(to => ({ from: sender, to }))) : []
    )
  )
}

/** Whether what one group sends to another is lost, by their places. */
function lostBetween(shape: PartitionShape, groups: number): (from: number, to: number) => boolean {
  switch (shape) {
    case 'halves':
      return () => true
    case 'bridge':
      return (from, to) => from !== 1 && to !== 1
    case 'one-way':
      return (from, to) => from === 0 && to === 1
    case 'isolate':
      return (from, to) => from === 0 || to === 0
    case 'ring': {
      const majority = Math.floor(groups / 2) + 1
      const reach = Math.ceil((majority - 1) / 2)
      return (from, to) => {
        const apart = Math.abs(from - to)
        return Math.min(apart, groups - apart) > reach
      }
    }
  }
}
