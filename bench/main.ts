/** `node bench/main.ts [name …]`: runs the named benchmarks, all of them by default, and writes reports/bench/<name>.json and .md. */
import { loadavg } from 'node:os'
import { type Row, tableOf, writeReport } from './report.ts'

/** A benchmark answers its rows, and what of it could not be measured here; it may skip itself with a reason. */
export type Bench = (
  say: (text: string) => void
) => Promise<Row[] | { rows: Row[]; skipped: string[] } | { skip: string }>

const BENCHES: Record<string, () => Promise<{ default: Bench }>> = {
  node: () => import('./node.ts'),
  startup: () => import('./startup.ts'),
  proofs: () => import('./proofs.ts'),
  'small-blobs': () => import('./small-blobs.ts'),
  put: () => import('./put.ts'),
  get: () => import('./get.ts'),
  replicate: () => import('./replicate.ts'),
  compare: () => import('./compare.ts'),
  kv: () => import('./kv.ts'),
  large: () => import('./large.ts'),
  sql: () => import('./sql.ts'),
  docker: () => import('./docker.ts'),
  'nat-pair': () => import('./nat-pair.ts'),
  links: () => import('./links.ts'),
  transports: () => import('./transports.ts'),
  'fan-out': () => import('./fan-out.ts')
}

const names = process.argv.slice(2)
const unknown = names.filter(name => !(name in BENCHES))
if (unknown.length > 0) {
  console.error(`No benchmark is called ${unknown.join(', ')}. There are: ${Object.keys(BENCHES).join(', ')}.`)
  process.exit(1)
}

let missed = 0
for (const name of names.length > 0 ? names : Object.keys(BENCHES)) {
  console.log(`\n${name}`)
  const { default: bench } = await (BENCHES[name] as () => Promise<{ default: Bench }>)()
  const result = await bench(text => console.log(`  ${text}`))
  if ('skip' in result) {
    console.log(`  skipped: ${result.skip}`)
    await writeReport(name, [], { skipped: [result.skip] })
    continue
  }
  const { rows, skipped } = Array.isArray(result) ? { rows: result, skipped: [] } : result
  const path = await writeReport(name, rows, { node: process.version, load: loadavg(), skipped })
  console.log(tableOf(rows))
  for (const what of skipped) console.log(`  skipped: ${what}`)
  console.log(`  ${path}`)
  missed += rows.filter(row => row.met === false).length
}
process.exitCode = missed > 0 ? 1 : 0
