/** Changes of a netns testnet's network: what the supervisor does for the keeper, and how the harness asks for it. */
import { randomUUID } from 'node:crypto'
import {
  type DirectedPair,
  type LabChanges,
  type Link,
  linkToBe,
  type NatSpec,
  type PlannedLink,
  type PlannedRouter,
  type RouterState
} from '../../netem/index.ts'
import { callKeeper } from './netns-client.ts'
import type { NetworkChange } from './netns-protocol.ts'
import type { ExecResult, Router, Undo } from './runtime.ts'
import { once } from './undo.ts'

/** Do one change; answers what the harness needs to undo it. */
export async function applyChange(lab: LabChanges, change: NetworkChange): Promise<unknown> {
  switch (change.do) {
    case 'unplug':
      return await lab.unplug(change.host)
    case 'plug':
      return await lab.plug(change.host)
    case 'network-of':
      return lab.networkOf(change.host)
    case 'move': {
      const former = lab.networkOf(change.host)
      await lab.move(change.host, change.network)
      return former
    }
    case 'rebind':
      return await lab.rebind(change.router)
    case 'router-state':
      return lab.routerState(change.router)
    case 'next-address':
      return await lab.setPublicAddress(change.router)
    case 'set-nat':
      return await lab.setNat(change.router, change.nat)
    case 'restore':
      return await lab.restoreRouter(change.router, change.state)
    case 'drop':
      return await lab.drop(change.act, change.pairs)
    case 'undrop':
      return await lab.undrop(change.act)
    case 'impair':
      return await lab.impair(change.owner, change.link)
  }
}

export interface NetnsChanges {
  unplug: (host: string) => Promise<Undo>
  move: (host: string, network: string) => Promise<Undo>
  dropBetween: (pairs: readonly DirectedPair[]) => Promise<Undo>
  impair: (owner: string, link: Link | null) => Promise<Undo>
  router: (planned: PlannedRouter) => Router
}

export function netnsChanges(socket: string): NetnsChanges {
  const ask = async (change: NetworkChange): Promise<unknown> => await callKeeper(socket, { method: 'change', change })
  const undoneBy = (change: NetworkChange): Undo => once(async () => void (await ask(change)))
  return {
    async unplug(host) {
      await ask({ do: 'unplug', host })
      return undoneBy({ do: 'plug', host })
    },
    async move(host, network) {
      const former = (await ask({ do: 'move', host, network })) as string
      return undoneBy({ do: 'move', host, network: former })
    },
    async dropBetween(pairs) {
      const act = randomUUID()
      await ask({ do: 'drop', act, pairs })
      return undoneBy({ do: 'undrop', act })
    },
    async impair(owner, link) {
      const former = (await ask({ do: 'impair', owner, link: linkToBe(owner, link) })) as PlannedLink
      return undoneBy({ do: 'impair', owner, link: former })
    },
    router(planned) {
      const { name: router } = planned
      const restored = (state: unknown): Undo => undoneBy({ do: 'restore', router, state: state as RouterState })
      return {
        planned,
        rebind: async () => void (await ask({ do: 'rebind', router })),
        publicAddress: async () => ((await ask({ do: 'router-state', router })) as RouterState).address,
        setPublicAddress: async () => restored(await ask({ do: 'next-address', router })),
        setNat: async (nat: NatSpec) => restored(await ask({ do: 'set-nat', router, nat })),
        exec: async (argv, options) =>
          (await callKeeper(socket, { method: 'router-exec', router, argv }, options)) as ExecResult
      }
    }
  }
}
