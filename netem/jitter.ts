/**
 * How delays spread around their middle: the distributions of `tc netem`, as quantile functions. Pure.
 * netem draws from tables of 4096 values that iproute2 brings along; these are the same curves.
 */

/** How jitter is spread. `uniform` is netem's own when none is named. */
export type Distribution = 'uniform' | 'normal' | 'pareto' | 'paretonormal'

export const DISTRIBUTIONS: readonly Distribution[] = ['uniform', 'normal', 'pareto', 'paretonormal']

const TABLE_SIZE = 4096
/** Values beyond so many jitters are cut off, as in netem's 16-bit tables. */
const CUT = 4
/** Shape of netem's Pareto distribution; 1.5 is its mean. */
const PARETO_SHAPE = 3
const PARETO_MEAN = 1.5
const PARETO_SCALE = 4 / 3
const NORMAL_SHARE = 0.25
const STEPS_PER_JITTER = 1000

const pareto = (chance: number): number =>
  Math.min(CUT, ((1 - chance) ** (-1 / PARETO_SHAPE) - PARETO_MEAN) * PARETO_SCALE)

/** Quantiles of the standard normal distribution, by summing its density up. */
function normalTable(): number[] {
  const density = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)
  const table: number[] = []
  let sum = 0
  for (let step = -CUT * STEPS_PER_JITTER; step < CUT * STEPS_PER_JITTER; step++) {
    const x = (step + 0.5) / STEPS_PER_JITTER
    sum += density(x) / STEPS_PER_JITTER
    while (table.length < TABLE_SIZE && (table.length + 0.5) / TABLE_SIZE <= sum) table.push(x)
  }
  while (table.length < TABLE_SIZE) table.push(CUT)
  return table
}

function tableOf(of: (index: number) => number): Float64Array {
  return Float64Array.from({ length: TABLE_SIZE }, (_, index) => of(index))
}

const normal = Float64Array.from(normalTable())
const paretos = tableOf(index => pareto((index + 0.5) / TABLE_SIZE))

const TABLES: Record<Exclude<Distribution, 'uniform'>, Float64Array> = {
  normal,
  pareto: paretos,
  // iproute2 adds them by quantile, not as two draws.
  paretonormal: tableOf(index => NORMAL_SHARE * normal[index]! + (1 - NORMAL_SHARE) * paretos[index]!)
}

/**
 * The value, in units of the jitter, below which this share of packets are: `jitterQuantile('uniform', 0.75)` is 0.5.
 * With a random share it is a draw.
 * @param share 0 to 1, 1 excluded
 */
export function jitterQuantile(distribution: Distribution, share: number): number {
  if (distribution === 'uniform') return 2 * share - 1
  return TABLES[distribution][Math.floor(share * TABLE_SIZE)]!
}
