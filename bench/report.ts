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

/** Works out ratio and verdict of a row. A target is missed where the figure or its floor was not measured. */
export function row(init: RowInit): Row {
  const floor = init.floor ?? null
  const ratio = floor === null || floor === 0 ? null : init.value / floor
  const judged = ratio ?? init.value
  const target = init.target ?? null
  const holds = (gate: number) => (init.better === 'lower' ? judged <= gate : judged >= gate)
  const met = target === null ? null : isMeasured(init) && holds(target)
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

/** Nothing is lower than nothing, and anything is higher: neither a figure nor a floor is a gate then. */
function isMeasured({ value, floor = 1, better }: RowInit): boolean {
  return Number.isFinite(value) && (better === 'higher' || value > 0) && Number.isFinite(floor) && floor > 0
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

/** What is noted beside the rows. */
export interface ReportNotes {
  /** What could not be measured here, and why. */
  skipped: string[]
  [note: string]: unknown
}

/** Writes `reports/bench/<name>.json`, and the same to be read as `<name>.md`; answers the path of the first. */
export async function writeReport(name: string, rows: Row[], notes: ReportNotes): Promise<string> {
  await mkdir(REPORTS, { recursive: true })
  const path = join(REPORTS, `${name}.json`)
  await writeFile(path, `${JSON.stringify({ name, rows, ...notes }, null, 2)}\n`)
  await writeFile(join(REPORTS, `${name}.md`), markdownOf(name, rows, notes.skipped))
  return path
}

const figure = (value: number | null, unit = ''): string =>
  value === null ? '' : `${value >= 100 ? value.toFixed(0) : value.toPrecision(3)}${unit && ` ${unit}`}`

const HEAD = ['what', 'value', 'floor', 'ratio', 'target', 'aim', '']

const cellsOf = (r: Row): string[] => [
  r.what,
  figure(r.value, r.unit),
  figure(r.floor, r.unit),
  figure(r.ratio),
  figure(r.target),
  figure(r.aim),
  r.met === null ? '' : r.met ? 'met' : 'MISSED'
]

/** A table for a person. */
export function tableOf(rows: Row[]): string {
  const table = new Table({ head: HEAD, style: { head: [], border: [] } })
  for (const r of rows) table.push(cellsOf(r))
  return table.toString()
}

/** The same for a page, with what was skipped. */
export function markdownOf(name: string, rows: Row[], skipped: string[]): string {
  const line = (cells: string[]) => `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`
  const table = [line(HEAD), line(HEAD.map(() => '---')), ...rows.map(r => line(cellsOf(r)))]
  return [
    `# ${name}`,
    ...(rows.length === 0 ? [] : [table.join('\n')]),
    ...skipped.map(what => `Skipped: ${what}.`),
    ''
  ].join('\n\n')
}
