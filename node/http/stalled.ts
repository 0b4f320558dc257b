/** An end to clients that ask for a blob and do not take it: each holds an open file, pieces in memory, a place. */
import { type Answer, onceOver } from './request.ts'

const MIB = 1024 * 1024
/** Looks at one answer in the time that a client may take nothing. */
const LOOKS = 4

/**
 * End the connection of an answer whose client takes no piece for `stallTimeoutMs` and the time of `bodyMsPerMib` for what
 * waits for it. Waits for the blob itself do not count.
 */
export function endStalled(answer: Answer, limits: { stallTimeoutMs: number; bodyMsPerMib: number }): void {
  const { res } = answer
  const { stallTimeoutMs, bodyMsPerMib } = limits
  let takenBytes = -1
  let deadlineMs = Number.POSITIVE_INFINITY
  const timer = setInterval(() => {
    const { socket } = res
    const waitingBytes = socket?.writableLength ?? 0
    const nowTaken = (socket?.bytesWritten ?? 0) - waitingBytes
    if (waitingBytes === 0 || nowTaken !== takenBytes) {
      takenBytes = nowTaken
      deadlineMs = performance.now() + stallTimeoutMs + (waitingBytes / MIB) * bodyMsPerMib
    } else if (performance.now() > deadlineMs) res.destroy()
  }, stallTimeoutMs / LOOKS)
  timer.unref()
  onceOver(answer, () => clearInterval(timer))
}
