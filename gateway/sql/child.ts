/**
 * The process that alone opens one namespace's file. It reads a job, does it, answers, and waits for the next, all of it
 * blocking: there is nothing else to attend to. What has to happen meanwhile is done from outside, by SIGKILL: the
 * gateway keeps the deadline, and a thread watches that the gateway lives.
 */
import { readSync, writeFileSync, writeSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { backup, exportAs, restore } from './copies.ts'
import { openDatabase, problemOf, type TenantDatabase } from './database.ts'
import { ANSWER, COMMITTING, createFrameReader, frame, OUT_OF_MEMORY_SIGNAL, READY } from './frames.ts'
import { SQL_MEMORY_CHECK_MS, SQL_MEMORY_MAX_BYTES } from './limits.ts'
import type { ChildInit, SqlJob } from './wire.types.ts'

const INPUT = 0
const OUTPUT = 1
const READ_BYTES = 64 * 1024

/**
 * The thread that goes on while a statement runs. The gateway holds the other end of descriptor 3: when that is closed, whatever
 * runs here has nobody to answer to. SQLite's own memory limits are off in this build, so it looks at the memory too.
 */
const WATCH = `
const { Socket } = require('node:net')
const die = () => process.kill(process.pid, 'SIGKILL')
new Socket({ fd: 3, readable: true, writable: false }).on('error', die).on('close', die).resume()
setInterval(() => {
  if (process.memoryUsage.rss() > ${SQL_MEMORY_MAX_BYTES}) process.kill(process.pid, '${OUT_OF_MEMORY_SIGNAL}')
}, ${SQL_MEMORY_CHECK_MS})
`

function say(kind: number, json?: string): void {
  const bytes = frame(kind, json)
  for (let at = 0; at < bytes.byteLength; ) at += writeSync(OUTPUT, bytes, at)
}

/** One job's answer. */
function work(database: TenantDatabase, job: SqlJob): string {
  try {
    switch (job.do) {
      case 'query':
        return `{"results":[${database.query(job.statement, job)}]}`
      case 'transaction':
        return `{"results":[${database.transaction(job.statements, job).join(',')}]}`
      case 'backup':
        backup(database, job.path)
        break
      case 'export':
        exportAs(database, job)
        break
      case 'restore':
        restore(database, job.path)
    }
    return '{"results":[]}'
  } catch (error) {
    return JSON.stringify({ problem: problemOf(error) })
  }
}

function serve(database: TenantDatabase): void {
  const jobs: string[] = []
  const reader = createFrameReader((_, json) => jobs.push(json))
  const buffer = Buffer.allocUnsafe(READ_BYTES)
  say(READY)
  for (;;) {
    const count = readSync(INPUT, buffer)
    if (count === 0) return
    reader.push(Buffer.from(buffer.subarray(0, count)))
    for (let json = jobs.shift(); json !== undefined; json = jobs.shift()) {
      say(ANSWER, work(database, JSON.parse(json) as SqlJob))
    }
  }
}

/** When the host runs out of memory, this process goes before the gateway. Linux only; elsewhere nothing is lost. */
function offerToKernel(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '1000')
  } catch {}
}

// systemd and terminals signal every process of a service; this one ends when the gateway has drained.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
process.umask(0o077)
offerToKernel()
const watch = new Worker(WATCH, { eval: true })
watch.once('online', () => {
  const database = openDatabase(JSON.parse(process.argv[2] as string) as ChildInit, () => say(COMMITTING))
  serve(database)
  database.close()
  process.exit(0)
})
