/**
 * `node node/faults/kill-node.ts --kills 50`: the same as `kill.ts` with the whole node and over HTTP: uploads, pins and
 * kill -9 at random moments. After each start every blob that was answered 201 or 200 is read back, `/pin/list` has every
 * pin that was answered, nothing was set aside. Counts go to `reports/faults/kill-node.json`.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { freePort } from '../free-port.ts'
import { bytesOf, writeReport } from './testing.ts'

const UPLOADERS = 6
const SIZE_MAX = 400_000
const WRITE_MS_MAX = 400
const PIN_ONE_IN = 5
const READY_TIMEOUT_MS = 60_000

export interface KillNodeReport {
  kills: number
  acknowledged: number
  pinned: number
  /** Reads after a start that were not 200 with the right bytes. */
  lost: number
  lostPins: number
  /** Copies the starts set aside. */
  setAside: number
  leftFolders: number
  seconds: number
}

export async function killNodes({ kills }: { kills: number }): Promise<KillNodeReport> {
  const startedMs = performance.now()
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-kill-node-'))
  const report: KillNodeReport = {
    kills: 0,
    acknowledged: 0,
    pinned: 0,
    lost: 0,
    lostPins: 0,
    setAside: 0,
    leftFolders: 0,
    seconds: 0
  }
  const acknowledged = new Map<string, Buffer>()
  const pinned = new Set<string>()
  try {
    for (;;) {
      const { child, url } = await start(dataDir)
      try {
        const authorization = `Bearer ${(await readFile(join(dataDir, 'keys', 'admin.token'), 'utf8')).trim()}`
        await look(url, authorization)
        if (report.kills === kills) break
        let stopped = false
        const uploading = Array.from({ length: UPLOADERS }, (_, lane) =>
          upload(url, authorization, lane, () => stopped)
        )
        await delay(randomInt(WRITE_MS_MAX))
        child.kill('SIGKILL')
        stopped = true
        await once(child, 'exit')
        await Promise.all(uploading)
        report.kills += 1
      } finally {
        child.kill('SIGKILL')
      }
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true, maxRetries: 3 })
  }
  report.pinned = pinned.size
  report.acknowledged = acknowledged.size
  report.seconds = Math.round((performance.now() - startedMs) / 1000)
  return report

  async function upload(url: string, authorization: string, lane: number, stopped: () => boolean): Promise<void> {
    for (let number = 0; !stopped(); number += 1) {
      const body = bytesOf(`${report.kills}-${lane}-${number}`, 1 + randomInt(SIZE_MAX)) as Buffer<ArrayBuffer>
      try {
        const answer = await fetch(`${url}/store`, { method: 'POST', body })
        const { cid } = (await answer.json()) as { cid: string }
        if (answer.ok) acknowledged.set(cid, body)
        if (!answer.ok || randomInt(PIN_ONE_IN) !== 0) continue
        const pin = await fetch(`${url}/pin/${cid}`, { method: 'POST', headers: { authorization } })
        if (pin.ok) pinned.add(cid)
      } catch {
        // The node was killed under it: not acknowledged.
        return
      }
    }
  }

  async function look(url: string, authorization: string): Promise<void> {
    for (const [cid, bytes] of acknowledged) {
      const answer = await fetch(`${url}/retrieve/${cid}?local=1`)
      const right = answer.status === 200 && Buffer.from(await answer.arrayBuffer()).equals(bytes)
      if (!right) report.lost += 1
    }
    const list = await fetch(`${url}/pin/list?limit=1000`, { headers: { authorization } })
    const { pins } = (await list.json()) as { pins: Array<{ cid: string }> }
    const have = new Set(pins.map(({ cid }) => cid))
    report.lostPins += [...pinned].filter(cid => !have.has(cid)).length
    report.setAside += (await readdir(join(dataDir, 'quarantine')).catch(() => [])).length
    report.leftFolders += (await readdir(join(dataDir, 'tmp'))).length
  }
}

async function start(dataDir: string): Promise<{ child: ChildProcess; url: string }> {
  const port = await freePort()
  const child = spawn(process.execPath, [fileURLToPath(new URL('../main.ts', import.meta.url))], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: {
      ...process.env,
      WARREN_OFFLINE: '1',
      DATA_DIR: dataDir,
      PORT: String(port),
      P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0',
      LOG_LEVEL: 'silent'
    }
  })
  const ready = once(createInterface({ input: child.stdout! }), 'line', {
    signal: AbortSignal.timeout(READY_TIMEOUT_MS)
  })
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('the node does not start')))
  ended.catch(() => {})
  await Promise.race([ready, ended])
  return { child, url: `http://127.0.0.1:${port}` }
}

/** Whether a report shows what is promised. Of no kill, or of nothing acknowledged, it shows nothing. */
export function keptAllOver(report: KillNodeReport): boolean {
  const { kills, acknowledged, lost, lostPins, setAside, leftFolders } = report
  if (kills === 0 || acknowledged === 0) return false
  return [lost, lostPins, setAside, leftFolders].every(count => count === 0)
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { kills: { type: 'string', default: '20' } } })
  const report = await killNodes({ kills: Number(values.kills) })
  const path = await writeReport('kill-node', { ...report, verdict: keptAllOver(report) ? 'pass' : 'fail' })
  process.stdout.write(`${JSON.stringify(report)}\n${path}\n`)
  process.exitCode = keptAllOver(report) ? 0 : 1
}
