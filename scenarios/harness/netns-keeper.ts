/**
 * The process that holds a netns testnet: it lives in the machine's own network, so that hosts' control ports can be
 * bound there, starts the supervisor inside the namespaces, and answers on a Unix socket. While the harness brings the
 * testnet up it depends on it; once released it stands by itself. Its death, however, ends everything.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { unshareArgv } from './netns-probe.ts'
import {
  type Answer,
  type Call,
  type HarnessMessage,
  type KeeperMessage,
  type KeeperRecord,
  LINE_BYTES_MAX,
  type SupervisorMessage,
  type SupervisorOrder,
  toWireError
} from './netns-protocol.ts'
import { bindSocket, sendWithSocket } from './netns-socket.ts'
import { identify } from './processes.ts'

/** How long the supervisor may take to end before it is killed. */
const END_TIMEOUT_MS = 3000

const [folder, socketPath] = process.argv.slice(2) as [string, string]
const waiting = new Map<number, (answer: Answer) => void>()
const record: KeeperRecord = {
  keeper: (await identify(process.pid))!,
  unshare: null,
  socket: socketPath,
  namespaces: null
}
let released = false
let lastId = 0

const supervisor = startSupervisor()
const supervisorEnded = new Promise<string>(resolve => {
  supervisor.once('error', error => resolve(error.message))
  supervisor.once('exit', (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`))
})
record.unshare = supervisor.pid === undefined ? null : await identify(supervisor.pid)
await saveRecord()
const server = net.createServer({ allowHalfOpen: true }, socket => void serve(socket))
server.listen(socketPath)

supervisor.on('message', (message: SupervisorMessage) => {
  switch (message.type) {
    case 'hello':
      record.namespaces = message.namespaces
      void saveRecord()
      break
    case 'need-socket':
      handOver(message.id, message.port)
      break
    case 'answer':
      waiting.get(message.id)?.(message.answer)
      waiting.delete(message.id)
      break
    default:
      tellHarness(message)
  }
})
void supervisorEnded.then(how =>
  leave({ type: 'failed', error: { code: 'SUPERVISOR', message: `the supervisor ended: ${how}` } })
)
process.on('message', (message: HarnessMessage) => {
  if (message.type === 'launch') order(message)
  else released = true
})
process.on('disconnect', () => {
  if (!released) void endAll().then(() => leave(null))
})
// The harness may have gone before anybody listened for it.
if (!process.connected) await endAll().then(() => leave(null))
process.on('SIGTERM', () => void endAll().then(() => leave(null)))
process.on('SIGINT', () => {})

function startSupervisor(): ChildProcess {
  const program = join(import.meta.dirname, 'netns-supervisor.ts')
  const [command, ...args] = [...unshareArgv(), process.execPath, '--disable-warning=ExperimentalWarning', program]
  return spawn(command!, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
}

function order(message: SupervisorOrder): void {
  if (supervisor.connected) supervisor.send(message)
}

function tellHarness(message: KeeperMessage): void {
  if (process.connected) process.send?.(message)
}

function handOver(id: number, port: number): void {
  try {
    sendWithSocket(supervisor, { type: 'socket', id } satisfies SupervisorOrder, bindSocket(port))
  } catch (error) {
    order({ type: 'socket', id, error: toWireError(error) })
  }
}

async function saveRecord(): Promise<void> {
  const file = join(folder, 'keeper.json')
  await writeFile(`${file}.new`, JSON.stringify(record), { mode: 0o600 })
  await rename(`${file}.new`, file)
}

/** One call a connection. */
async function serve(socket: net.Socket): Promise<void> {
  socket.on('error', () => socket.destroy())
  const line = await readLine(socket)
  if (line === null) return void socket.destroy()
  let reply: Answer
  try {
    const call = JSON.parse(line) as Call
    if (call.method === 'down') {
      await endAll()
      reply = { ok: true, value: null }
    } else {
      reply = await callSupervisor(call, socket)
    }
  } catch (error) {
    reply = { ok: false, error: toWireError(error) }
  }
  socket.end(`${JSON.stringify(reply)}\n`)
}

async function callSupervisor(call: Call, socket: net.Socket): Promise<Answer> {
  const id = ++lastId
  const answered = new Promise<Answer>(resolve => waiting.set(id, resolve))
  const ended = supervisorEnded.then(
    (how): Answer => ({ ok: false, error: { code: 'SUPERVISOR', message: `the supervisor ended: ${how}` } })
  )
  socket.once('close', () => order({ type: 'abort', id }))
  order({ type: 'call', id, call })
  return await Promise.race([answered, ended])
}

async function readLine(socket: net.Socket): Promise<string | null> {
  const { promise, resolve } = Promise.withResolvers<string | null>()
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    text += chunk
    const end = text.indexOf('\n')
    if (end !== -1) resolve(text.slice(0, end))
    else if (text.length > LINE_BYTES_MAX) resolve(null)
  })
  socket.once('close', () => resolve(null))
  return await promise
}

/**
 * End the supervisor and wait until it is gone. Its parent `unshare` reports its end only after the kernel has
 * killed and reaped every process of its PID namespace.
 */
async function endAll(): Promise<void> {
  order({ type: 'end' })
  const timer = setTimeout(() => supervisor.kill('SIGKILL'), END_TIMEOUT_MS)
  await supervisorEnded
  clearTimeout(timer)
}

function leave(last: KeeperMessage | null): void {
  if (last !== null) tellHarness(last)
  server.close()
  rmSync(socketPath, { force: true })
  // Whoever asked for `down` still gets the answer: the process ends when its last connection is closed.
  if (process.connected) process.disconnect()
  setTimeout(() => process.exit(0), END_TIMEOUT_MS).unref()
}

process.on('uncaughtException', error => {
  writeFileSync(join(folder, 'keeper.error'), `${error.stack}\n`)
  process.exit(1)
})
