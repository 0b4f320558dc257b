/** A process with an engine that is in the middle of a runaway query; it prints its child's pid and waits to be killed. */
import { RUNAWAY, startEngine } from './testing.ts'

const HOUR_MS = 3_600_000

const sql = await startEngine({ folder: process.argv[2] as string, limits: { deadlineMs: HOUR_MS } })
await sql.run('tenant', 'SELECT 1')
void sql.run('tenant', RUNAWAY)
process.stdout.write(`${sql.engine.pids()[0]}\n`)
