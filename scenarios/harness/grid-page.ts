/** One self-contained page that shows a grid of pairs. Pure. */

/** One pair by one protocol. */
export interface GridCell {
  a: string
  b: string
  transport: string
  expected: string
  observed: string
  why: string
  ok: boolean
  /** Milliseconds until it was open; null: never. */
  ms: number | null
  /** In place of the milliseconds. */
  shown?: string
  /** Stands out in another way: true to what is known, and short of what could be. */
  isKnownFailure?: boolean
}

/** What stands below the grid. */
export interface PageTable {
  title: string
  note: string
  head: string[]
  rows: string[][]
}

export interface PageOptions {
  /** What the cells show. */
  legend?: string
  tables?: PageTable[]
}

const STYLE = `body { font: 14px system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
table { border-collapse: collapse } th, td { border: 1px solid #ccc; padding: .2rem .35rem; text-align: center; white-space: nowrap }
thead th { writing-mode: vertical-rl; transform: rotate(180deg); font-weight: 500 } tbody th { text-align: right; font-weight: 500 }
.prose td { text-align: left; white-space: normal; max-width: 34rem } .prose th { text-align: left; writing-mode: horizontal-tb; transform: none }
.direct { background: #d6f0d8 } .none, .relayed { background: #eee; color: #777 } .known { background: #fbecc4 } .wrong { background: #f7b5b0; font-weight: 700 } .untried { background: #fff }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } .direct { background: #1f5128 } .none, .relayed { background: #2a2a2a } .known { background: #5a4a14 } .wrong { background: #7d231c } .untried { background: #181818 } }`

/** A row for each `a`, a column for each `b`; cells that differ from what is expected stand out. */
export function gridPage(title: string, about: string, cells: GridCell[], options: PageOptions = {}): string {
  const { legend = LEGEND, tables: below = [] } = options
  const names = (of: (cell: GridCell) => string): string[] => [...new Set(cells.map(of))]
  const columns = names(({ b }) => b)
  const transports = names(({ transport }) => transport)
  const wrong = cells.filter(({ ok }) => !ok).length
  const tables = transports.map(transport => {
    const rows = names(({ a }) => a).map(a => {
      const tds = columns.map(b => {
        const cell = cells.find(each => each.a === a && each.b === b && each.transport === transport)
        if (cell === undefined) return '<td class="untried"></td>'
        const hint = `${a} × ${b} by ${transport}: expected ${cell.expected}, observed ${cell.observed}: ${cell.why}`
        const text = cell.shown ?? (cell.observed === 'direct' ? `${Math.round(cell.ms ?? 0)}` : '–')
        const kind = !cell.ok ? 'wrong' : cell.isKnownFailure === true ? 'known' : cell.observed
        return `<td class="${kind}" title="${escaped(hint)}">${escaped(text)}</td>`
      })
      return `<tr><th>${escaped(a)}</th>${tds.join('')}</tr>`
    })
    const head = columns.map(column => `<th>${escaped(column)}</th>`).join('')
    return `<h2>${escaped(transport.toUpperCase())}</h2>\n<table><thead><tr><th></th>${head}</tr></thead><tbody>\n${rows.join('\n')}\n</tbody></table>`
  })
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escaped(title)}</title><style>${STYLE}</style></head><body>
<h1>${escaped(title)}</h1>
<p>${escaped(about)}</p>
<p>${cells.length} pairs, ${wrong} other than expected. ${escaped(legend)}</p>
${[...tables, ...below.map(tableOf)].join('\n')}
</body></html>
`
}

const LEGEND = 'Numbers are milliseconds until both sides had heard from each other; – is no direct way.'

function tableOf({ title, note, head, rows }: PageTable): string {
  const line = (tag: string, texts: string[]): string =>
    `<tr>${texts.map(text => `<${tag}>${escaped(text)}</${tag}>`).join('')}</tr>`
  const body = rows.map(row => line('td', row)).join('\n')
  return `<h2>${escaped(title)}</h2>\n<p>${escaped(note)}</p>\n<table class="prose"><thead>${line('th', head)}</thead><tbody>\n${body}\n</tbody></table>`
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}
