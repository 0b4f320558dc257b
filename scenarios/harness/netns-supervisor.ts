/**
 * Process 1 of a netns testnet: started by the keeper inside new network, mount and PID namespaces (and a user
 * namespace when nobody is root). It lays the plan out, runs the shapers and the products, and obeys the keeper.
 * Whatever ends it ends everything: the kernel kills all processes of its PID namespace, and with them go the
 * namespaces and mounts. It ends when it loses the keeper.
 */
import { readlinkSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Plan } from '../../netem/index.ts'
import { UnknownHostError, UnknownRouterError } from './errors.ts'
import { startCaptures, takeEvidence } from './netns-captures.ts'
import { applyChange } from './netns-changes.ts'
import { type Lab, layOutLab } from './netns-lab.ts'
import { Product, runToEnd } from './netns-product.ts'
import {
  type Call,
  type Launch,
  type NetworkChange,
  type SupervisorMessage,
  type SupervisorOrder,
  toWireError
} from './netns-protocol.ts'
import type { SocketHandle } from './netns-socket.ts'
import { CAPTURES_FOLDER, CODE_CACHE_FOLDER } from './paths.ts'
import type { TestnetStatus } from './runtime.ts'

const products = new Map<string, Product>()
const running = new Map<number, AbortController>()
const socketWaits = new Map<number, PromiseWithResolvers<SocketHandle>>()
let lab: Lab | null = null
let routers: string[] = []
/** Once it is laid out. */
let standing: { plan: Plan; captures: string } | null = null
let eventFile = ''
let lastId = 0

/** End of everything; the keeper that asked for it, or its loss, is reason enough. */
function end(): never {
  process.exit(0)
}

function tell(message: SupervisorMessage): void {
  if (process.connected) process.send?.(message)
}

function stage(title: string): (detail?: string) => void {
  const id = ++lastId
  tell({ type: 'stage', id, title })
  return detail => tell({ type: 'stage-end', id, ...(detail === undefined ? {} : { detail }) })
}

async function record(event: object): Promise<void> {
  await appendFile(eventFile, `${JSON.stringify({ at: new Date().toISOString(), ...event })}\n`)
}

async function needSocket(port: number): Promise<SocketHandle> {
  const id = ++lastId
  const wait = Promise.withResolvers<SocketHandle>()
  socketWaits.set(id, wait)
  tell({ type: 'need-socket', id, port })
  return await wait.promise
}

async function launch({ plan, means, programs, folder, capture, concurrency }: Launch): Promise<void> {
  eventFile = join(folder, 'events.jsonl')
  routers = plan.routers.map(({ name }) => name)
  const laid = stage(
    `Lay out ${plan.networks.length} networks, ${plan.routers.length} NATs, ${plan.hosts.length} hosts`
  )
  lab = await layOutLab(plan, means, [folder, CODE_CACHE_FOLDER], why => {
    tell({ type: 'note', text: `invalid from now on: ${why}` })
    void record({ event: 'invalid', why })
  })
  laid()
  standing = { plan, captures: join(folder, CAPTURES_FOLDER) }
  if (capture) {
    const recording = stage('Start to record every interface')
    await startCaptures(plan, standing.captures, owner => void record({ event: 'recording ended', owner }))
    recording()
  }
  for (const program of programs) {
    const { host } = program
    const died = (name: string, how: string): void => void record({ event: 'died', host: name, how })
    products.set(host, new Product(program, { namespace: lab.namespaceOf(host), socket: needSocket, died }))
  }
  const started = stage(`Start ${programs.length} hosts`)
  const waiting = [...products.values()]
  const starter = async (): Promise<void> => {
    for (let product = waiting.shift(); product !== undefined; product = waiting.shift()) await product.start()
  }
  await Promise.all(Array.from({ length: concurrency }, starter))
  started()
}

function productOf(host: string): Product {
  const product = products.get(host)
  if (product === undefined) throw new UnknownHostError(host, [...products.keys()])
  return product
}

function status(): TestnetStatus {
  const hosts = [...products].map(([name, { state, cut, unplugged, deaths }]) => {
    const network = lab?.changes.networkOf(name) ?? ''
    return [name, { state, cut, unplugged, network, deaths }] as const
  })
  return { hosts: Object.fromEntries(hosts), invalid: lab?.broken ?? [] }
}

async function obey(call: Call, signal: AbortSignal): Promise<unknown> {
  if (call.method === 'status') return status()
  if (call.method === 'down') end()
  if (call.method === 'evidence') {
    return standing === null ? [] : await takeEvidence(standing.plan, standing.captures, call.lookMs)
  }
  if (call.method === 'router-exec') return await execInRouter(call.router, call.argv, signal)
  if (call.method === 'change') return await change(call.change)
  const product = productOf(call.host)
  if (call.method === 'exec') return await product.exec(call.argv, signal)
  await record({ event: call.method, host: call.host })
  switch (call.method) {
    case 'kill':
      return await product.kill()
    case 'start':
      return await product.start()
    case 'pause':
      return product.pause()
    case 'continue':
      return product.continue()
    case 'restart':
      await product.stop()
      return await product.start()
    case 'cut':
      await lab?.changes.cut(call.host)
      product.cut = true
      return
    case 'heal':
      await lab?.changes.heal(call.host)
      product.cut = false
  }
}

async function change(what: NetworkChange): Promise<unknown> {
  if (lab === null) throw new Error('the networks are not laid out yet')
  if (what.do !== 'router-state' && what.do !== 'network-of') await record({ event: what.do, ...what })
  const result = await applyChange(lab.changes, what)
  if (what.do === 'unplug' || what.do === 'plug') productOf(what.host).unplugged = what.do === 'unplug'
  return result
}

async function execInRouter(router: string, argv: string[], signal: AbortSignal): Promise<unknown> {
  if (lab === null || !routers.includes(router)) throw new UnknownRouterError(router, routers)
  return await runToEnd(['nsenter', `--net=${lab.namespaceOf(router)}`, ...argv], { env: process.env, signal })
}

async function answer(id: number, call: Call): Promise<void> {
  const controller = new AbortController()
  running.set(id, controller)
  try {
    tell({ type: 'answer', id, answer: { ok: true, value: (await obey(call, controller.signal)) ?? null } })
  } catch (error) {
    tell({ type: 'answer', id, answer: { ok: false, error: toWireError(error) } })
  } finally {
    running.delete(id)
  }
}

function settleSocket(order: SupervisorOrder & { type: 'socket' }, handle: SocketHandle | undefined): void {
  const wait = socketWaits.get(order.id)
  socketWaits.delete(order.id)
  if (handle === undefined) wait?.reject(Object.assign(new Error(order.error?.message), { code: order.error?.code }))
  else wait?.resolve(handle)
}

process.on('message', (order: SupervisorOrder, handle: unknown) => {
  switch (order.type) {
    case 'launch':
      launch(order.launch).then(
        () => tell({ type: 'up' }),
        error => tell({ type: 'failed', error: toWireError(error) })
      )
      break
    case 'socket':
      settleSocket(order, handle as SocketHandle | undefined)
      break
    case 'call':
      void answer(order.id, order.call)
      break
    case 'abort':
      running.get(order.id)?.abort()
      break
    case 'end':
      end()
  }
})
process.on('disconnect', end)
process.on('SIGTERM', end)
process.on('uncaughtException', error => {
  process.stderr.write(`${error.stack}\n`)
  process.exit(1)
})
// The keeper may have gone while this file was still being loaded, unheard.
if (!process.connected) end()
tell({ type: 'hello', namespaces: ['pid', 'mnt', 'net'].map(kind => readlinkSync(`/proc/self/ns/${kind}`)) })
