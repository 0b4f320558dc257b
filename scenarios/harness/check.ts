/** Named questions with verdicts. A check records; only `eventually` stops the story, because what follows needs its answer. */
import { setTimeout as delay } from 'node:timers/promises'
import type { CheckVerdict } from './verdict.ts'

export interface CheckResult {
  name: string
  verdict: CheckVerdict
  detail: string
}

/** Thrown by `eventually` after it recorded the failure: the story cannot go on. */
export class CheckFailedError extends Error {
  override readonly name = 'CheckFailedError'
  readonly code = 'CHECK_FAILED'
}

export interface Checks {
  readonly results: readonly CheckResult[]
  /** Pass when it holds. `detail` says what was seen. */
  that: (name: string, holds: boolean, detail?: string) => boolean
  /** Pass when both are the same: buffers by bytes, all else by JSON. */
  equal: (name: string, got: unknown, expected: unknown) => boolean
  /** Look until `holds`; errors of `look` count as not yet. Resolves to what was seen. */
  eventually: <T>(
    name: string,
    look: () => Promise<T>,
    holds: (seen: T) => boolean,
    options?: { withinMs?: number }
  ) => Promise<T>
  unknown: (name: string, why: string) => void
  skip: (name: string, why: string) => void
}

const LOOK_EVERY_MS = 250
const EVENTUALLY_WITHIN_MS = 30_000
const SHOWN_CHARACTERS = 300

export function startChecks(options: { signal: AbortSignal; onResult?: (result: CheckResult) => void }): Checks {
  const results: CheckResult[] = []
  const record = (name: string, verdict: CheckVerdict, detail: string): void => {
    const result = { name, verdict, detail }
    results.push(result)
    options.onResult?.(result)
  }
  const that = (name: string, holds: boolean, detail = ''): boolean => {
    record(name, holds ? 'pass' : 'fail', detail)
    return holds
  }
  return {
    results,
    that,
    equal: (name, got, expected) =>
      that(name, same(got, expected), same(got, expected) ? '' : `got ${shown(got)}, expected ${shown(expected)}`),
    async eventually(name, look, holds, { withinMs = EVENTUALLY_WITHIN_MS } = {}) {
      const deadline = performance.now() + withinMs
      let last = 'nothing seen'
      for (;;) {
        try {
          const seen = await look()
          if (holds(seen)) {
            record(name, 'pass', shown(seen))
            return seen
          }
          last = shown(seen)
        } catch (error) {
          options.signal.throwIfAborted()
          last = reason(error)
        }
        if (performance.now() > deadline) {
          record(name, 'fail', `not within ${withinMs} ms; last seen: ${last}`)
          throw new CheckFailedError(`${name}: not within ${withinMs} ms; last seen: ${last}`)
        }
        await delay(LOOK_EVERY_MS, undefined, { signal: options.signal })
      }
    },
    unknown: (name, why) => record(name, 'unknown', why),
    skip: (name, why) => record(name, 'skip', why)
  }
}

/** The message of an error with that of its cause, which is where fetch says why. */
export function reason(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { code?: string; message?: string } }
  const deeper = cause?.code ?? cause?.message
  return `${message ?? String(error)}${deeper === undefined ? '' : ` (${deeper})`}`
}

function same(a: unknown, b: unknown): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0
  return JSON.stringify(a) === JSON.stringify(b)
}

function shown(value: unknown): string {
  const text =
    value instanceof Uint8Array
      ? `${value.length} bytes ${Buffer.from(value.subarray(0, 8)).toString('hex')}…`
      : (JSON.stringify(value) ?? String(value))
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text
}
