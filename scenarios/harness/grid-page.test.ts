import { equal, match } from 'node:assert/strict'
import { type GridCell, gridPage } from './grid-page.ts'

const cell = (changes: Partial<GridCell>): GridCell => ({
  a: 'full-cone',
  b: 'symmetric',
  transport: 'udp',
  expected: 'direct',
  observed: 'direct',
  why: 'open',
  ok: true,
  ms: 12.4,
  ...changes
})

describe('the page of a grid', () => {
  const page = gridPage('who <reaches> whom', 'about', [
    cell({}),
    cell({ a: 'none', observed: 'none', ms: null, ok: false })
  ])

  it('shows each pair, and which are not as expected', () => {
    match(page, /class="direct"[^>]*>12</)
    match(page, /class="wrong"[^>]*expected direct, observed none/)
    match(page, /2 pairs, 1 other than expected/)
  })

  it('shows what a cell has to say instead of its time, known failures apart, and tables below', () => {
    const more = gridPage(
      't',
      'a',
      [cell({ shown: '3/3 <12>' }), cell({ b: 'none', observed: 'relayed', isKnownFailure: true })],
      {
        legend: 'successes of runs',
        tables: [{ title: 'Mix', note: 'a model', head: ['mix', 'share'], rows: [['homes', '99 %']] }]
      }
    )
    match(more, /class="direct"[^>]*>3\/3 &lt;12&gt;</)
    match(more, /class="known"/)
    match(more, /0 other than expected. successes of runs/)
    match(more, /<h2>Mix<\/h2>[\s\S]*<th>share<\/th>[\s\S]*<td>99 %<\/td>/)
  })

  it('stands by itself and escapes what it is given', () => {
    match(page, /who &lt;reaches&gt; whom/)
    equal(/(src|href)=/.test(page), false)
  })
})
