import { equal, match } from 'node:assert/strict'
import { type Cell, rowOf } from './cells.ts'
import { pageTables } from './page.ts'

const row = (more: Partial<Cell>, directMs: number | null) =>
  rowOf({ a: 'full-cone', b: 'full-cone', transport: 'quic', stack: 'warren', ...more }, null, [
    { directMs, attempts: 1, relayBytesAfter: 0, failures: [] }
  ])

describe('the tables below the grid', () => {
  const tables = pageTables([row({}, 200), row({ a: 'symmetric' }, null)], [row({ stack: 'stock' }, null)])
  const text = (title: RegExp): string =>
    tables
      .find(table => title.test(table.title))!
      .rows.flat()
      .join('|')

  it('show stock js-libp2p failing as upstream says', () =>
    match(text(/Stock/), /stock\|relayed\|relayed\|0 of 1\|.*#68.*as expected/))

  it('sum up methods', () => match(text(/By method/), /ordinary, quic\|2\|1 of 2/))

  it('say what the mixes assume, and set the published figures beside', () => {
    match(text(/model/), /homes of 2005\|–\|\d+\.\d %/)
    match(text(/Published/), /70 % ± 7.1 %.*> 90 %/)
  })

  it('leave out what was not run', () =>
    equal(
      pageTables([row({}, 1)], []).some(({ title }) => /Stock/.test(title)),
      false
    ))
})
