/** Progress for people: a line a stage with its time, live on a terminal, plain elsewhere. */
import type { Progress } from './runtime.ts'

/** Redraw of the running line on a terminal. */
const REDRAW_EVERY_MS = 200
const MS_PER_S = 1000

export interface ProgressOutput {
  isTTY?: boolean
  columns?: number
  write: (text: string) => unknown
}

export interface ClosableProgress extends Progress {
  /** Stop drawing. Stages that never ended were interrupted and are not reported as done. */
  close: () => void
}

/** Progress written to `output` (standard error by default, so that standard output stays for results). */
export function showProgress(output: ProgressOutput = process.stderr): ClosableProgress {
  const started = performance.now()
  const open = new Map<number, { title: string; since: number }>()
  let lastId = 0
  const live = output.isTTY === true
  const clear = (): void => void (live && output.write('\r\x1b[2K'))
  const draw = (): void => {
    if (!live || open.size === 0) return
    const now = performance.now()
    const text = [...open.values()].map(({ title, since }) => `${title} ${seconds(now - since)}`).join(', ')
    output.write(`\r\x1b[2K  … ${text}`.slice(0, (output.columns ?? 80) + 5))
  }
  const timer = live ? setInterval(draw, REDRAW_EVERY_MS).unref() : null
  const line = (text: string): void => {
    clear()
    output.write(`${text}\n`)
    draw()
  }
  return {
    stage(title) {
      const id = ++lastId
      open.set(id, { title, since: performance.now() })
      draw()
      return detail => {
        const stage = open.get(id)
        if (stage === undefined) return
        open.delete(id)
        const took = seconds(performance.now() - stage.since)
        line(
          `${live ? '  ✔' : `[${seconds(performance.now() - started).padStart(8)}]`} ${title} (${took})${detail === undefined ? '' : ` ${detail}`}`
        )
      }
    },
    note: text => line(`    ${text}`),
    close() {
      if (timer !== null) clearInterval(timer)
      open.clear()
      clear()
    }
  }
}

/** Progress nobody watches. */
export const silentProgress: Progress = { stage: () => () => {}, note: () => {} }

/** `1.2 s`, `2 min 3.4 s`. */
export function seconds(milliseconds: number): string {
  const minutes = Math.floor(milliseconds / (60 * MS_PER_S))
  const rest = ((milliseconds - minutes * 60 * MS_PER_S) / MS_PER_S).toFixed(1)
  return minutes === 0 ? `${rest} s` : `${minutes} min ${rest} s`
}
