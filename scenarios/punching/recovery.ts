/** What a stream of requests tells of an event: when traffic flowed again, when directly, and what was lost. Pure. */
import type { ClockMs, StreamedRequest } from './peer.types.ts'

export interface Recovery {
  requests: number
  lost: number
  /** From the end of the act to the first answer to a request that was begun after it; null: none came. */
  toTrafficMs: number | null
  /** The same over a direct connection from which on nothing was relayed any more; null: it never came to that. */
  toDirectMs: number | null
  /** Why requests were lost, and how many each. */
  problems: Record<string, number>
}

/**
 * @param acted when the act was over: while it lasts nothing crosses
 * @param requests in the order in which they were begun; those without an answer or a problem are still under way
 */
export function recoveryOf(requests: readonly StreamedRequest[], acted: ClockMs): Recovery {
  const after = requests.filter(({ beganAtMs }) => beganAtMs >= acted)
  const answered = after.filter(({ answeredAtMs }) => answeredAtMs !== null)
  const since = (moments: readonly number[]): number | null =>
    moments.length === 0 ? null : Math.round(Math.min(...moments) - acted)
  const lastRelayed = answered.findLastIndex(({ isDirect }) => !isDirect)
  const direct = answered.slice(lastRelayed + 1)
  const problems: Record<string, number> = {}
  for (const { problem } of requests) if (problem !== undefined) problems[problem] = (problems[problem] ?? 0) + 1
  return {
    requests: requests.length,
    lost: requests.filter(({ problem }) => problem !== undefined).length,
    toTrafficMs: since(answered.map(({ answeredAtMs }) => answeredAtMs!)),
    toDirectMs: since(direct.map(({ answeredAtMs }) => answeredAtMs!)),
    problems
  }
}
