/** Runs of one pair by one transport as a row of the report. Pure but for the order in which runs are played. */
import type { GridCell } from '../harness/grid-page.ts'
import {
  type Expected,
  expected,
  expectedControl,
  judge,
  type Place,
  type PunchTransport,
  type Stack
} from './expected.ts'
import type { RunResult } from './run.ts'
import { exactInterval, quantile } from './statistics.ts'

export interface Cell {
  a: Place
  b: Place
  transport: PunchTransport
  stack: Stack
}

/** What the control puncher came to; null: it was not asked. */
export type Control = { path: 'direct' | 'none'; problem?: string } | null

export interface CellRow extends Record<string, unknown> {
  a: Place
  b: Place
  transport: PunchTransport
  stack: Stack
  expected: 'direct' | 'relayed'
  method: string | null
  control: 'direct' | 'none' | null
  observed: 'direct' | 'relayed'
  runs: number
  successes: number
  /** Of the chance of success, at 95 %. */
  ci: [low: number, high: number]
  p50Ms: number | null
  p95Ms: number | null
  /** All punches of all runs; null where the stack does not tell. */
  attempts: number | null
  /** Successes on the first attempt; null where the stack does not tell. */
  firstAttempt: number | null
  relayBytesAfter: number
  /** Named causes of failed punches, and how often. */
  failures: Record<string, number>
  why: string
  /** Why it is not what was expected; null when it is. */
  wrong: string | null
}

/** @param results of every run of this cell */
export function rowOf(cell: Cell, control: Control, results: readonly RunResult[]): CellRow {
  const wanted = expected(cell.a, cell.b, cell.transport, cell.stack)
  const direct = results.filter(({ directMs, problem }) => directMs !== null && problem === undefined)
  const times = direct.map(({ directMs }) => directMs!)
  const told = results.filter(({ attempts }) => attempts !== null)
  const relayBytesAfter = results.reduce((sum, each) => sum + each.relayBytesAfter, 0)
  return {
    ...cell,
    expected: wanted.path,
    method: wanted.method,
    control: control?.path ?? null,
    observed: direct.length * 2 > results.length ? 'direct' : 'relayed',
    runs: results.length,
    successes: direct.length,
    ci: exactInterval(direct.length, results.length),
    p50Ms: quantile(times, 0.5),
    p95Ms: quantile(times, 0.95),
    attempts: told.length === 0 ? null : told.reduce((sum, { attempts }) => sum + attempts!, 0),
    firstAttempt: told.length === 0 ? null : direct.filter(({ attempts }) => attempts !== null && attempts <= 1).length,
    relayBytesAfter,
    failures: counted(
      results.flatMap(({ failures, problem }) => [...failures, ...(problem === undefined ? [] : [problem])])
    ),
    why: whyOf(wanted),
    wrong: judge(wanted, direct.length, results.length) ?? strayed(relayBytesAfter)
  }
}

/** Whether the control puncher came to what reason says; null when it did, or was not asked. */
export function controlDiffers(cell: Cell, control: Control): string | null {
  if (control === null) return null
  const wanted = expectedControl(cell.a, cell.b, cell.transport)
  if (control.path === wanted) return null
  return `${nameOf(cell)}: ${control.path} instead of ${wanted}${control.problem === undefined ? '' : ` (${control.problem})`}`
}

export function nameOf({ a, b, transport, stack }: Cell): string {
  return `${a} × ${b} by ${transport}${stack === 'stock' ? ', stock' : ''}`
}

/** A cell of the page's grid. */
export function gridCellOf(row: CellRow): GridCell {
  const { a, b, transport, observed, wrong, runs, successes, p50Ms } = row
  const told = Object.entries(row.failures).map(([cause, times]) => `${cause} ×${times}`)
  const why = [row.method ?? row.why, wrong, ...told].filter(each => each !== null).join('; ')
  return {
    a,
    b,
    transport,
    expected: row.expected,
    observed,
    why: `control ${row.control ?? 'not asked'}; ${successes} of ${runs}, ${row.ci.join(' to ')}; ${why}`,
    ok: wrong === null,
    ms: p50Ms,
    shown: p50Ms === null ? '–' : `${Math.round(p50Ms)}${successes === runs ? '' : ` ${successes}/${runs}`}`,
    isKnownFailure: row.expected === 'relayed' && expected(a, b, transport, row.stack).knownFailure !== undefined
  }
}

function whyOf({ why, knownFailure }: Expected): string {
  return knownFailure === undefined ? why : `known failure: ${knownFailure}`
}

function strayed(bytes: number): string | null {
  return bytes === 0 ? null : `${bytes} bytes crossed the relay after the upgrade`
}

function counted(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1
  return counts
}
