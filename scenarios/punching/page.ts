/** What stands below the grid of the hole-punching page. Pure. */
import type { PageTable } from '../harness/grid-page.ts'
import { type CellRow, nameOf } from './cells.ts'
import { MIXES, PUBLISHED, weigh } from './mix.ts'

/** @param stock rows of stock js-libp2p in the same lab */
export function pageTables(rows: readonly CellRow[], stock: readonly CellRow[]): PageTable[] {
  return [stockTable(stock), methodTable(rows), mixTable(rows), publishedTable()].filter(({ rows }) => rows.length > 0)
}

function stockTable(rows: readonly CellRow[]): PageTable {
  return {
    title: 'Stock js-libp2p',
    note: 'The same lab with nothing of ours in the peers. It must fail where upstream says that it fails, and succeed where no hole is needed: the control that the lab is honest.',
    head: ['pair', 'expected', 'observed', 'direct in', 'why', ''],
    rows: rows.map(row => [
      nameOf(row),
      row.expected,
      row.observed,
      `${row.successes} of ${row.runs}`,
      row.why,
      row.wrong ?? 'as expected'
    ])
  }
}

/** All cells of a method together. */
function methodTable(rows: readonly CellRow[]): PageTable {
  const groups = new Map<string, CellRow[]>()
  for (const row of rows) {
    const key = `${row.method ?? 'stays on the relay'}, ${row.transport}`
    groups.set(key, [...(groups.get(key) ?? []), row])
  }
  return {
    title: 'By method',
    note: 'Pairs that are expected to be opened in the same way, together.',
    head: ['method', 'pairs', 'direct', 'first attempts', 'bytes on the relay after the upgrade'],
    rows: [...groups].map(([key, group]) => {
      const sum = (of: (row: CellRow) => number): number => group.reduce((total, row) => total + of(row), 0)
      const told = group.every(({ firstAttempt }) => firstAttempt !== null)
      return [
        key,
        `${group.length}`,
        `${sum(row => row.successes)} of ${sum(row => row.runs)}`,
        told ? `${sum(row => row.firstAttempt!)}` : 'not told',
        `${sum(row => row.relayBytesAfter)}`
      ]
    })
  }
}

function mixTable(rows: readonly CellRow[]): PageTable {
  const results = MIXES.map(mix => weigh(mix, rows)).filter(({ covered }) => covered > 0)
  return {
    title: 'A model: this grid weighed by what NATs there are',
    note: 'Two peers drawn from a mix of NAT kinds, and how often this grid connects them directly. A model on shares of others and assumptions of ours, no measurement of the internet: real paths lose packets, real NATs are behind other NATs, real peers have both transports and IPv6.',
    head: ['mix', 'TCP', 'QUIC', 'the better of both', 'pairs covered', 'shares from', 'assumed'],
    rows: results.map(({ mix, tcp, quic, either, covered }) => [
      mix.name,
      percent(tcp),
      percent(quic),
      percent(either),
      percent(covered),
      mix.source,
      mix.assumed
    ])
  }
}

function publishedTable(): PageTable {
  return {
    title: 'Published, of peers as they are',
    note: 'Not the same thing as the model above: measured in the field, with whatever mix of networks was there.',
    head: ['what', 'direct'],
    rows: PUBLISHED.map(({ what, figure }) => [what, figure])
  }
}

function percent(share: number | null): string {
  return share === null ? '–' : `${(share * 100).toFixed(1)} %`
}
