/** Memory for answers that are held whole until their client took them; without room for one its blob is streamed. */
import { SPAN_MAX_BYTES } from '../blobs/sealed-span.ts'
import { type Answer, onceOver } from './request.ts'

/** Most bytes of them in all. */
export const HELD_ANSWERS_MAX_BYTES = 64 * 1024 * 1024

export interface HeldAnswer {
  /** How large it may be; 0: there is no room. */
  bytes: number
  /** It is this large; the room for it comes back when it is over. */
  keep: (answer: Answer, bytes: number) => void
  /** There is none after all. Does nothing after `keep`. */
  release: () => void
}

export interface HeldAnswers {
  /** Room for one, as large as a span at most. Ends by `keep` or `release`. */
  take: () => HeldAnswer
  /** Bytes taken now. */
  readonly bytes: number
}

/** @param maxBytes only tests ask for another one */
export function createHeldAnswers(maxBytes = HELD_ANSWERS_MAX_BYTES): HeldAnswers {
  let taken = 0
  return {
    take() {
      const bytes = taken + SPAN_MAX_BYTES > maxBytes ? 0 : SPAN_MAX_BYTES
      taken += bytes
      let isOpen = true
      const release = (): void => {
        if (isOpen) taken -= bytes
        isOpen = false
      }
      return {
        bytes,
        keep(answer, kept) {
          release()
          taken += kept
          onceOver(answer, () => {
            taken -= kept
          })
        },
        release
      }
    },
    get bytes() {
      return taken
    }
  }
}
