/** Reports of one run: JSON for programs, JUnit for CI, Markdown for people. Renderers are pure. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CheckResult } from './check.ts'
import { seconds } from './progress.ts'
import type { RuntimeName } from './runtime.ts'
import type { Depth } from './scenario.ts'
import type { Verdict } from './verdict.ts'

/** `report.json`. */
export interface Report {
  scenario: string
  runtime: RuntimeName
  seed: string
  depth: Depth
  /** Environment that it was told to heed, where anything was set. */
  settings?: Record<string, string>
  verdict: Verdict
  durationMs: number
  checks: CheckResult[]
  /** How many of the checks were skipped; they never count as passed. */
  skipped: number
  rows: Array<Record<string, unknown>>
}

const MS_PER_S = 1000

/** The one command that plays a run again: same plan, payloads and choices (not the scheduler). */
export function replayCommand({
  scenario,
  runtime,
  seed,
  depth,
  settings = {}
}: Pick<Report, 'scenario' | 'runtime' | 'seed' | 'depth' | 'settings'>): string {
  const deeper = depth === 'short' ? '' : ` DEPTH=${depth}`
  const words = Object.entries(settings).map(([name, value]) => ` ${name}=${value}`)
  return `make scenarios SCENARIO=${scenario} RUNTIME=${runtime} SEED=${seed}${deeper}${words.join('')}`
}

export function junitOf(report: Report): string {
  const cases = report.checks.map(({ name, verdict, detail }) => {
    const open = `    <testcase classname="${xml(report.scenario)}.${report.runtime}" name="${xml(name)}"`
    if (verdict === 'pass') return `${open}/>`
    const inner =
      verdict === 'skip'
        ? `<skipped message="${xml(detail)}"/>`
        : verdict === 'fail'
          ? `<failure message="${xml(detail)}"/>`
          : `<error message="${xml(`unknown: ${detail}`)}"/>`
    return `${open}>${inner}</testcase>`
  })
  if (report.verdict === 'invalid') {
    const why = report.rows.filter(row => row.ok === false || row.proved === false).map(row => JSON.stringify(row))
    cases.push(
      `    <testcase classname="${xml(report.scenario)}.${report.runtime}" name="the lab is what it claims"><error message="${xml(why.join(' '))}"/></testcase>`
    )
  }
  const count = (verdict: string): number => report.checks.filter(check => check.verdict === verdict).length
  const errors = count('unknown') + (report.verdict === 'invalid' ? 1 : 0)
  const attributes = `tests="${cases.length}" failures="${count('fail')}" errors="${errors}" skipped="${report.skipped}" time="${report.durationMs / MS_PER_S}"`
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n  <testsuite name="${xml(report.scenario)}" ${attributes}>\n${cases.join('\n')}\n  </testsuite>\n</testsuites>\n`
}

export function markdownOf(report: Report): string {
  const lines = [`# ${report.scenario} on ${report.runtime}: ${report.verdict}`, '']
  lines.push(
    `Seed \`${report.seed}\`, ${seconds(report.durationMs)}, ${report.checks.length} checks, ${report.skipped} skipped.`,
    ''
  )
  lines.push(`Again: \`${replayCommand(report)}\``, '')
  lines.push(
    ...markdownTable(
      ['check', 'verdict', 'seen'],
      report.checks.map(({ name, verdict, detail }) => [name, verdict, detail])
    )
  )
  for (const [columns, rows] of tablesOf(report.rows)) {
    lines.push(
      '',
      ...markdownTable(
        columns,
        rows.map(row => columns.map(column => text(row[column])))
      )
    )
  }
  return `${lines.join('\n')}\n`
}

/** @returns the folder the report was written to */
export async function writeReport(folder: string, report: Report): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'report.json'), `${JSON.stringify(report, null, 2)}\n`)
  await writeFile(join(folder, 'junit.xml'), junitOf(report))
  await writeFile(join(folder, 'report.md'), markdownOf(report))
}

/** Rows with the same columns share a table. */
function tablesOf(rows: Report['rows']): Map<string[], Report['rows']> {
  const byColumns = new Map<string, { columns: string[]; rows: Report['rows'] }>()
  for (const row of rows) {
    const columns = Object.keys(row)
    const key = columns.join('\0')
    const table = byColumns.get(key) ?? { columns, rows: [] }
    table.rows.push(row)
    byColumns.set(key, table)
  }
  return new Map([...byColumns.values()].map(table => [table.columns, table.rows]))
}

function markdownTable(head: string[], rows: string[][]): string[] {
  const line = (cells: string[]): string =>
    `| ${cells.map(cell => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)]
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
}

function xml(value: string): string {
  // XML 1.0 allows no control characters but tab, newline and return, even escaped.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
  const allowed = value.replaceAll(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, ' ')
  return allowed.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}
