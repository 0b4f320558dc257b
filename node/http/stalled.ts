/** An end to clients that ask for a blob and do not take it: each holds an open file, pieces in memory, a place. */
import { type Answer, onceOver } from './request.ts'

const MIB = 1024 * 1024
/** Looks at one answer in the time that a client may take nothing. */
const LOOKS = 4

/**
 * Bytes that the system may still have of what it took from us: it takes more only when about a third of its buffer is
 * free, 4 MiB on Linux at the most, so that a steady slow reader is seen to take nothing for as long.
 */
export const SYSTEM_BUFFER_BYTES = 2 * MIB

export interface StallLimits {
  /** Time a client may take nothing, milliseconds. */
  stallTimeoutMs: number
  /** Time for every MiB that waits for it, on top. */
  bodyMsPerMib: number
  /** For tests. */
  nowMs?: () => number
}

/**
 * End the connection of an answer whose client takes no piece for `stallTimeoutMs` and the time of `bodyMsPerMib` for what
 * waits for it, here and in the system. Waits for the blob itself do not count.
 */
export function endStalled(answer: Answer, limits: StallLimits): void {
  const { res } = answer
  const { stallTimeoutMs, bodyMsPerMib, nowMs = () => performance.now() } = limits
  let takenBytes = -1
  let deadlineMs = Number.POSITIVE_INFINITY
  const timer = setInterval(() => {
    const { socket } = res
    const waitingBytes = socket?.writableLength ?? 0
    const nowTaken = (socket?.bytesWritten ?? 0) - waitingBytes
    if (waitingBytes === 0 || nowTaken !== takenBytes) {
      takenBytes = nowTaken
      deadlineMs = nowMs() + stallTimeoutMs + ((waitingBytes + SYSTEM_BUFFER_BYTES) / MIB) * bodyMsPerMib
    } else if (nowMs() > deadlineMs) res.destroy()
  }, stallTimeoutMs / LOOKS)
  timer.unref()
  onceOver(answer, () => clearInterval(timer))
}
