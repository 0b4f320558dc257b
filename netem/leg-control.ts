/**
 * How a standing leg is asked to change its links: one JSON line each way on a Unix socket in its own file system, which
 * only who may run commands in the container reaches.
 */
import { rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import type { PlannedLink } from './plan.types.ts'

/** Where a leg listens. */
export const LEG_SOCKET = '/run/leg/control.sock'
/** A link with many peers. */
const LINE_BYTES_MAX = 1 << 20

/** Give the attachment with this address another link. */
export interface LegRequest {
  address: string
  link: PlannedLink
}

export type LegAnswer = { ok: true } | { ok: false; code: string; message: string }

/** Serve requests one after another, in the order they came. */
export async function serveControl(path: string, obey: (request: LegRequest) => Promise<void>): Promise<Server> {
  let turn: Promise<unknown> = Promise.resolve()
  const server = createServer({ allowHalfOpen: true }, socket => {
    let text = ''
    socket.setEncoding('utf8')
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: string) => {
      text += chunk
      if (text.length > LINE_BYTES_MAX) socket.destroy()
      if (!chunk.includes('\n')) return
      const line = text.slice(0, text.indexOf('\n'))
      turn = turn
        .then(async () => await obey(JSON.parse(line) as LegRequest))
        .then(
          (): LegAnswer => ({ ok: true }),
          ({ code = 'INTERNAL', message }): LegAnswer => ({ ok: false, code, message })
        )
        .then(answer => socket.end(`${JSON.stringify(answer)}\n`))
    })
  })
  await rm(path, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  return server
}

/** Self-contained, for `node -e`: send a line, print the answer. */
function askLeg(path: string, line: string): void {
  const socket = process.getBuiltinModule('node:net').connect(path)
  socket.on('error', error => {
    process.stdout.write(JSON.stringify({ ok: false, code: 'NO_ANSWER', message: error.message }))
  })
  socket.pipe(process.stdout)
  socket.write(`${line}\n`)
}

/** The command that asks the leg of the container it is run in; prints a `LegAnswer`. */
export function askLegArgv(request: LegRequest): string[] {
  return ['node', '-e', `(${askLeg})(...${JSON.stringify([LEG_SOCKET, JSON.stringify(request)])})`]
}
