/** Rows of a benchmark: what was measured beside its floor in the same run, and whether the gate holds (design, section 9). */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Table from 'cli-table3'

export interface Row {
  /** What was measured. */
  what: string
  value: number
  unit: string
  /** The reference measured in the same run, same unit; null for an absolute figure that is only shown. */
  floor: number | null
  /** value / floor. */
  ratio: number | null
  better: 'higher' | 'lower'
  /** The gate, as a ratio (or an absolute value where there is no floor); null: shown only. */
  target: number | null
  /** What we hope for, same kind as target. */
  aim: number | null
  /** Whether the target holds; null without one. */
  met: boolean | null
}

export interface RowInit {
  what: string
  value: number
  unit: string
  floor?: number
  better: 'higher' | 'lower'
  target?: number
  aim?: number
}

/** Works out ratio and verdict of a row. */
export function row(init: RowInit): Row {
  const floor = init.floor ?? null
  const ratio = floor === null || floor === 0 ? null : init.value / floor
  const judged = ratio ?? init.value
  const target = init.target ?? null
  const met = target === null ? null : init.better === 'lower' ? judged <= target : judged >= target
  return {
    what: init.what,
    value: init.value,
    unit: init.unit,
    floor,
    ratio,
    better: init.better,
    target,
    aim: init.aim ?? null,
    met
  }
}

/** Middle value of a list; the mean of the two in the middle when even. */
export function median(values: number[]): number {
  if (values.length === 0) throw new RangeError('median of nothing: measure at least once')
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1
    ? (sorted[half] as number)
    : ((sorted[half - 1] as number) + (sorted[half] as number)) / 2
}

const REPORTS = fileURLToPath(new URL('../reports/bench', import.meta.url))

/** Writes `reports/bench/<name>.json` and answers its path. */
export async function writeReport(name: string, rows: Row[], notes: Record<string, unknown>): Promise<string> {
  await mkdir(REPORTS, { recursive: true })
  const path = join(REPORTS, `${name}.json`)
  await writeFile(path, `${JSON.stringify({ name, rows, ...notes }, null, 2)}\n`)
  return path
}

const figure = (value: number | null, unit = ''): string =>
  value === null ? '' : `${value >= 100 ? value.toFixed(0) : value.toPrecision(3)}${unit && ` ${unit}`}`

/** A table for a person. */
export function tableOf(rows: Row[]): string {
  const table = new Table({
    head: ['what', 'value', 'floor', 'ratio', 'target', 'aim', ''],
    style: { head: [], border: [] }
  })
  for (const r of rows) {
    const verdict = r.met === null ? '' : r.met ? 'met' : 'MISSED'
    table.push([
      r.what,
      figure(r.value, r.unit),
      figure(r.floor, r.unit),
      figure(r.ratio),
      figure(r.target),
      figure(r.aim),
      verdict
    ])
  }
  return table.toString()
}
