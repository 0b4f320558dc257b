/** What runs of one cell say together: an exact interval of the chance, quantiles of the times. Pure. */

const CONFIDENCE = 0.95
/** Halvings of [0, 1]: finer than any report prints. */
const HALVINGS = 50

/**
 * Clopper and Pearson's interval: the chances of success that this outcome does not contradict at 95 %.
 * `exactInterval(50, 50)` is [0.929, 1].
 */
export function exactInterval(successes: number, runs: number): [low: number, high: number] {
  if (runs === 0) return [0, 1]
  const outside = (1 - CONFIDENCE) / 2
  const low = successes === 0 ? 0 : solve(chance => atLeast(successes, runs, chance) < outside)
  const high = successes === runs ? 1 : solve(chance => 1 - atLeast(successes + 1, runs, chance) > outside)
  return [rounded(low), rounded(high)]
}

/** Nearest-rank quantile, as it is of the measured values; null of none. */
export function quantile(values: readonly number[], share: number): number | null {
  if (values.length === 0) return null
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!
}

/** The chance of at least so many successes. */
function atLeast(successes: number, runs: number, chance: number): number {
  if (chance <= 0) return successes === 0 ? 1 : 0
  if (chance >= 1) return 1
  let logarithm = runs * Math.log1p(-chance)
  let sum = 0
  for (let hits = 0; hits <= runs; hits++) {
    if (hits >= successes) sum += Math.exp(logarithm)
    logarithm += Math.log((runs - hits) / (hits + 1)) + Math.log(chance / (1 - chance))
  }
  return Math.min(1, sum)
}

/** The chance at which `isBelow` turns from true to false. */
function solve(isBelow: (chance: number) => boolean): number {
  let [low, high] = [0, 1]
  for (let n = 0; n < HALVINGS; n++) {
    const middle = (low + high) / 2
    if (isBelow(middle)) low = middle
    else high = middle
  }
  return (low + high) / 2
}

function rounded(share: number): number {
  return Math.round(share * 1000) / 1000
}
