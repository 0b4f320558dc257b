/** Ways to do the same thing, measured by turns in one run. */

/** One measurement of one way. */
export interface Sample {
  /** Operations, or MB, a second. */
  rate: number
  /** CPU time of the process under test for one of them, µs. */
  cpuUs: number
}

export interface RoundsOptions {
  /** Measured rounds; one more comes first and is not counted. */
  rounds: number
  /** No round begins later than this after the first, once there are `ROUNDS_MIN`: ms. */
  budgetMs: number
  say: (text: string) => void
}

/** Fewer say nothing of a median. */
export const ROUNDS_MIN = 3

/** Measures every way once a round, another one first each time. */
export async function byTurns<Name extends string>(
  ways: Record<Name, () => Promise<Sample>>,
  { rounds, budgetMs, say }: RoundsOptions
): Promise<Record<Name, Sample[]>> {
  const names = Object.keys(ways) as Name[]
  const begun = performance.now()
  for (const name of names) await ways[name]()
  const samples = Object.fromEntries(names.map(name => [name, []])) as unknown as Record<Name, Sample[]>
  for (let round = 0; round < rounds; round += 1) {
    if (round >= ROUNDS_MIN && performance.now() - begun > budgetMs) {
      say(`${round} of ${rounds} rounds: the time is up`)
      break
    }
    const first = round % names.length
    for (const name of [...names.slice(first), ...names.slice(0, first)]) samples[name].push(await ways[name]())
  }
  for (const name of names) say(`${name}: ${samples[name].map(({ rate }) => rate.toFixed(0)).join(' ')}`)
  return samples
}
