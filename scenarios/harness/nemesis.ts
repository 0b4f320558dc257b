/** Who perturbs: acts on hosts, each with its undo, all undone at the end. */
import type { History } from './history.ts'
import type { Testnet, Undo } from './runtime.ts'

export interface Nemesis {
  kill: (hosts: string | readonly string[]) => Promise<Undo>
  pause: (hosts: string | readonly string[]) => Promise<Undo>
  cut: (hosts: string | readonly string[]) => Promise<Undo>
  restart: (hosts: string | readonly string[]) => Promise<void>
  /** Undo, last first, whatever is not undone yet. */
  undoAll: () => Promise<void>
}

export function startNemesis(testnet: Testnet, history: History): Nemesis {
  const open: Undo[] = []
  const perturb = async (what: 'kill' | 'pause' | 'cut', hosts: string | readonly string[]): Promise<Undo> => {
    const names = [hosts].flat()
    history.event(what, names)
    const undos = await Promise.all(names.map(async name => await testnet.host(name)[what]()))
    let undone = false
    const undo = async (): Promise<void> => {
      if (undone) return
      undone = true
      open.splice(open.indexOf(undo), 1)
      history.event(`undo ${what}`, names)
      await Promise.all(undos.map(async act => await act()))
    }
    open.push(undo)
    return undo
  }
  return {
    kill: async hosts => await perturb('kill', hosts),
    pause: async hosts => await perturb('pause', hosts),
    cut: async hosts => await perturb('cut', hosts),
    async restart(hosts) {
      const names = [hosts].flat()
      history.event('restart', names)
      await Promise.all(names.map(async name => await testnet.host(name).restart()))
    },
    async undoAll() {
      for (const undo of [...open].reverse()) await undo()
    }
  }
}
