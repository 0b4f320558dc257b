/** Challenges that were answered here, so that none is answered twice while somebody may still take its answer. */
import { ChallengeReplayedError } from '../errors.ts'
import { CHALLENGE_LIFE_MS } from './statement.ts'

/** Most challenges remembered; of more the oldest is forgotten. Whoever drew a challenge takes one answer anyway. */
export const USED_CHALLENGES_MAX = 10_000

export interface UsedChallenges {
  /** @throws ChallengeReplayedError when it was taken before */
  take: (challenge: string) => void
  /** Its answer did not arrive: it may be asked again. */
  giveBack: (challenge: string) => void
  readonly size: number
}

/** @param now a clock in milliseconds */
export function createUsedChallenges(now: () => number, max = USED_CHALLENGES_MAX): UsedChallenges {
  /** Challenge → when it was taken; in that order. */
  const takenAtMs = new Map<string, number>()
  return {
    take(challenge) {
      for (const [old, atMs] of takenAtMs) {
        if (now() - atMs < CHALLENGE_LIFE_MS && takenAtMs.size <= max) break
        takenAtMs.delete(old)
      }
      if (takenAtMs.has(challenge)) throw new ChallengeReplayedError()
      takenAtMs.set(challenge, now())
    },
    giveBack: challenge => {
      takenAtMs.delete(challenge)
    },
    get size() {
      return takenAtMs.size
    }
  }
}
