/** Memory for answers that are held whole until their client took them; without room for one its blob is streamed. */
import { SPAN_MAX_BYTES } from '../blobs/sealed-span.ts'
import { type Answer, onceOver } from './request.ts'

/** Most bytes of them in all. */
export const HELD_ANSWERS_MAX_BYTES = 64 * 1024 * 1024

export interface HeldAnswer {
  /** How large it may be; 0: there is no room. */
  bytes: number
  /** How large it is. */
  keep: (bytes: number) => void
}

export interface HeldAnswers {
  /** Room for one, at most as large as a span; given back when it is over. */
  take: (answer: Answer) => HeldAnswer
  /** Bytes taken now. */
  readonly bytes: number
}

/** @param maxBytes only tests ask for another one */
export function createHeldAnswers(maxBytes = HELD_ANSWERS_MAX_BYTES): HeldAnswers {
  let taken = 0
  return {
    take(answer) {
      let own = taken + SPAN_MAX_BYTES > maxBytes ? 0 : SPAN_MAX_BYTES
      const keep = (bytes: number): void => {
        taken += bytes - own
        own = bytes
      }
      const bytes = own
      taken += own
      let isOver = false
      onceOver(answer, () => {
        keep(0)
        isOver = true
      })
      return {
        bytes,
        keep(kept) {
          if (!isOver) keep(kept)
        }
      }
    },
    get bytes() {
      return taken
    }
  }
}
