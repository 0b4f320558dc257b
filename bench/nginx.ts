/** nginx with sendfile over a folder of plain files, one worker; for the machines that have it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { boundToUs, freePort } from './processes.ts'

const LISTEN_LIMIT_MS = 10_000
const LOOK_EVERY_MS = 50

/** Its version, or null where it is not installed. */
export function nginxVersion(): string | null {
  const { status, stderr } = spawnSync('nginx', ['-v'], { encoding: 'utf8' })
  return status === 0 ? (/nginx\/\S+/.exec(stderr)?.[0] ?? 'nginx') : null
}

/**
 * Starts it; it serves what is in `files` at `/<name>` and keeps its own things in `home`, which does not exist yet. The
 * process that is answered is the only one: without a master there is one that does the work and can be weighed.
 */
export async function startNginx(home: string, files: string): Promise<{ child: ChildProcess; port: number }> {
  await mkdir(home)
  const port = await freePort()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map(name => `${name}_temp_path ${join(home, name)};`)
    .join('\n  ')
  await writeFile(
    join(home, 'nginx.conf'),
    `daemon off;
master_process off;
worker_processes 1;
pid ${join(home, 'nginx.pid')};
error_log stderr;
events {}
http {
  ${temporary}
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  server {
    listen 127.0.0.1:${port};
    root ${files};
  }
}
`
  )
  const child = boundToUs(
    spawn('nginx', ['-p', home, '-c', join(home, 'nginx.conf')], { stdio: ['ignore', 'ignore', 'pipe'] })
  )
  let errors = ''
  child.stderr?.on('data', text => {
    errors = (errors + text).slice(-2000)
  })
  const deadline = performance.now() + LISTEN_LIMIT_MS
  while (!(await answers(port))) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`nginx does not listen: ${errors}`)
    await delay(LOOK_EVERY_MS)
  }
  return { child, port }
}

async function answers(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port })
  const isOpen = await new Promise<boolean>(resolve =>
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
  )
  socket.destroy()
  return isOpen
}
