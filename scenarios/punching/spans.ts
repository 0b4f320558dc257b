/** Things that last, and how many at once. Pure. */

export interface Span {
  /** Spans of one peer are one thing: they count once where they overlap. */
  who: string
  fromMs: number
  toMs: number
}

/** How many different peers' spans overlap at most; one that ends when another begins does not. */
export function mostAtOnce(spans: readonly Span[]): number {
  const turns = spans
    .flatMap(({ who, fromMs, toMs }) => [
      { atMs: fromMs, who, step: 1 },
      { atMs: toMs, who, step: -1 }
    ])
    .sort((a, b) => a.atMs - b.atMs || a.step - b.step)
  const open = new Map<string, number>()
  let most = 0
  for (const { who, step } of turns) {
    const count = (open.get(who) ?? 0) + step
    if (count === 0) open.delete(who)
    else open.set(who, count)
    most = Math.max(most, open.size)
  }
  return most
}
