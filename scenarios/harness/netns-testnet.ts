/** A netns testnet seen from the harness: every act is a call to its keeper. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Plan, PlannedHost } from '../../netem/index.ts'
import { UnknownHostError, UnknownRouterError } from './errors.ts'
import { type NetnsChanges, netnsChanges } from './netns-changes.ts'
import { callKeeper } from './netns-client.ts'
import { removeNetns } from './netns-down.ts'
import type { ExecResult, Host, Progress, Testnet, TestnetStatus, Undo } from './runtime.ts'

export function netnsTestnet(plan: Plan, options: { folder: string; socket: string }): Testnet {
  const { folder, socket } = options
  const changes = netnsChanges(socket)
  const hosts = new Map(plan.hosts.map(planned => [planned.name, netnsHost(planned, folder, socket, changes)]))
  const routers = new Map(plan.routers.map(planned => [planned.name, changes.router(planned)]))
  return {
    plan,
    runtime: 'netns',
    folder,
    host(name) {
      const host = hosts.get(name)
      if (host === undefined) throw new UnknownHostError(name, [...hosts.keys()])
      return host
    },
    hosts: () => [...hosts.values()],
    router(name) {
      const router = routers.get(name)
      if (router === undefined) throw new UnknownRouterError(name, [...routers.keys()])
      return router
    },
    routers: () => [...routers.values()],
    dropBetween: changes.dropBetween,
    impair: changes.impair,
    status: async () => (await callKeeper(socket, { method: 'status' })) as TestnetStatus,
    evidence: async ({ lookMs }) =>
      await callKeeper(socket, { method: 'evidence', lookMs }).then(
        missing => missing as string[],
        (error: Error) => [`everything: ${error.message}`]
      ),
    down: async (how: { progress?: Progress } = {}) => await removeNetns(folder, plan, how.progress)
  }
}

function netnsHost(planned: PlannedHost, folder: string, socket: string, changes: NetnsChanges): Host {
  const { name: host } = planned
  type Method = 'kill' | 'start' | 'pause' | 'continue' | 'restart' | 'cut' | 'heal'
  const act = async (method: Method): Promise<void> => void (await callKeeper(socket, { method, host }))
  const undoable = async (method: Method, undo: Method): Promise<Undo> => {
    await act(method)
    return async () => await act(undo)
  }
  return {
    planned,
    control: `http://127.0.0.1:${planned.controlPort}`,
    exec: async (argv, options) => (await callKeeper(socket, { method: 'exec', host, argv }, options)) as ExecResult,
    logs: async () => await readFile(join(folder, 'logs', `${host}.log`), 'utf8').catch(() => ''),
    kill: async () => await undoable('kill', 'start'),
    pause: async () => await undoable('pause', 'continue'),
    restart: async () => await act('restart'),
    cut: async () => await undoable('cut', 'heal'),
    unplug: async () => await changes.unplug(host),
    move: async network => await changes.move(host, network)
  }
}
