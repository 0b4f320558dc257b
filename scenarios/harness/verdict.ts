/** Verdicts and how they add up. Pure. */

/** Of one check. */
export type CheckVerdict = 'pass' | 'fail' | 'unknown' | 'skip'
/** Of a run: `invalid` says that the lab was not what it claimed, so nothing was proved. */
export type Verdict = CheckVerdict | 'invalid'

const WORST_FIRST: Verdict[] = ['invalid', 'fail', 'unknown', 'pass']

/** The worst of those that ran; all skipped (or nothing at all) is skip. */
export function worst(verdicts: readonly Verdict[]): Verdict {
  return WORST_FIRST.find(verdict => verdicts.includes(verdict)) ?? 'skip'
}

/** 0 pass, 1 fail or unknown, 2 invalid, 3 skip. */
export function exitCodeOf(verdict: Verdict): number {
  return { pass: 0, fail: 1, unknown: 1, invalid: 2, skip: 3 }[verdict]
}
