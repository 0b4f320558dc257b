/** Who perturbs: acts on hosts, routers and what is between them, each with its undo, all undone at the end. */
import type { DirectedPair, Link, NatSpec } from '../../netem/index.ts'
import type { History } from './history.ts'
import { type Parties, type Partition, type PartitionShape, partition } from './partitions.ts'
import type { Random } from './random.ts'
import type { Testnet, Undo } from './runtime.ts'

type Names = string | readonly string[]

export interface Nemesis {
  kill: (hosts: Names) => Promise<Undo>
  pause: (hosts: Names) => Promise<Undo>
  cut: (hosts: Names) => Promise<Undo>
  restart: (hosts: Names) => Promise<void>
  /** Take the carrier of hosts; see `Host.unplug` for what that means to the control port. */
  unplug: (hosts: Names) => Promise<Undo>
  /** Put hosts on another network. */
  move: (hosts: Names, network: string) => Promise<Undo>
  /** Let routers forget their mappings; nothing to undo. */
  rebind: (routers: Names) => Promise<void>
  /** Give routers another public address. */
  setPublicAddress: (routers: Names) => Promise<Undo>
  setNat: (routers: Names, nat: NatSpec) => Promise<Undo>
  /** Give hosts or routers another link; null is a perfect one. */
  impair: (names: Names, link: Link | null) => Promise<Undo>
  /** Lose what hosts send to each other, by pair. */
  dropBetween: (pairs: readonly DirectedPair[]) => Promise<Undo>
  /** Part hosts; chance, by the run's seed, chooses where plain names leave a choice. Answers who was parted, too. */
  partition: (shape: PartitionShape, parties: Parties) => Promise<{ undo: Undo; partition: Partition }>
  /** Undo, last first, whatever is not undone yet. */
  undoAll: () => Promise<void>
}

export function startNemesis(testnet: Testnet, history: History, random: Random): Nemesis {
  const open: Undo[] = []
  /** @param detail what the history says of the act and of its undo */
  const perturb = async (what: string, detail: unknown, acts: Array<() => Promise<Undo>>): Promise<Undo> => {
    history.event(what, detail)
    const done = await Promise.allSettled(acts.map(async act => await act()))
    const undos = done.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []))
    let undone = false
    const undo = async (): Promise<void> => {
      if (undone) return
      undone = true
      open.splice(open.indexOf(undo), 1)
      history.event(`undo ${what}`, detail)
      await Promise.all(undos.map(async act => await act()))
    }
    open.push(undo)
    const failed = done.find(result => result.status === 'rejected')
    if (failed === undefined) return undo
    // What could be done of it must not stay.
    await undo()
    throw failed.reason
  }
  const onHosts = async (what: 'kill' | 'pause' | 'cut' | 'unplug', hosts: Names): Promise<Undo> => {
    const names = [hosts].flat()
    return await perturb(
      what,
      names,
      names.map(name => async () => await testnet.host(name)[what]())
    )
  }
  const dropBetween = async (pairs: readonly DirectedPair[], what: string, detail: unknown): Promise<Undo> =>
    await perturb(what, detail, [async () => await testnet.dropBetween(pairs)])
  return {
    kill: async hosts => await onHosts('kill', hosts),
    pause: async hosts => await onHosts('pause', hosts),
    cut: async hosts => await onHosts('cut', hosts),
    unplug: async hosts => await onHosts('unplug', hosts),
    async restart(hosts) {
      const names = [hosts].flat()
      history.event('restart', names)
      await Promise.all(names.map(async name => await testnet.host(name).restart()))
    },
    async move(hosts, network) {
      const names = [hosts].flat()
      const acts = names.map(name => async () => await testnet.host(name).move(network))
      return await perturb('move', { hosts: names, network }, acts)
    },
    async rebind(routers) {
      const names = [routers].flat()
      history.event('rebind', names)
      await Promise.all(names.map(async name => await testnet.router(name).rebind()))
    },
    async setPublicAddress(routers) {
      const names = [routers].flat()
      const acts = names.map(name => async () => await testnet.router(name).setPublicAddress())
      return await perturb('set public address', names, acts)
    },
    async setNat(routers, nat) {
      const names = [routers].flat()
      const acts = names.map(name => async () => await testnet.router(name).setNat(nat))
      return await perturb('set NAT', { routers: names, nat }, acts)
    },
    async impair(owners, link) {
      const names = [owners].flat()
      const acts = names.map(name => async () => await testnet.impair(name, link))
      return await perturb('impair', { names, link }, acts)
    },
    dropBetween: async pairs => await dropBetween(pairs, 'drop between', pairs),
    async partition(shape, parties) {
      const parted = partition(shape, parties, random)
      const undo = await dropBetween(parted.pairs, `partition ${shape}`, parted.groups)
      return { undo, partition: parted }
    },
    async undoAll() {
      for (const undo of [...open].reverse()) await undo()
    }
  }
}
