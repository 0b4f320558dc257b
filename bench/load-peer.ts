/** The load of `load.ts` in a process of its own. */
import { type LoadOrder, load } from './load.ts'
import { obeyOrders } from './peers.ts'

obeyOrders<LoadOrder>(async order => ({ ms: await load(order) }))
